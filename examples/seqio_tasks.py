"""SeqIO's tasks, on files that this program writes: translation, questions, a mixture, every converter, evaluation, a cache.

    python examples/seqio_tasks.py

takes half a minute; everything lands in ./demo/tasks. Put the model's functions in the place of the stand-ins below, and it evaluates a
model.
"""

import functools
import json
import math
import os
import pathlib
import re
import string
import subprocess
import sys
from typing import Any

import numpy as np

import tokenreel.tasks as seqio

DIRECTORY = pathlib.Path("demo/tasks")
PAIRS = [
    ("the house is small", "das Haus ist klein"),
    ("the house is old", "das Haus ist alt"),
    ("the dog sleeps", "der Hund schläft"),
    ("the dog is small", "der Hund ist klein"),
    ("a book is old", "ein Buch ist alt"),
    ("a man reads a book", "ein Mann liest ein Buch"),
]
QUESTIONS = [
    {"question": "Which planet is closest to the sun?", "answers": ["Mercury", "the planet Mercury"]},
    {"question": "Who wrote Faust?", "answers": ["Goethe", "Johann Wolfgang von Goethe"]},
    {"question": "What is the capital of Austria?", "answers": ["Vienna", "Wien"]},
]
VOCABULARY = seqio.ByteVocabulary()
FEATURES = {"inputs": seqio.Feature(VOCABULARY), "targets": seqio.Feature(VOCABULARY)}
LENGTHS = {"inputs": 64, "targets": 48}


def write_files() -> None:
    """Writes what the tasks read."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for split, pairs in (("train", PAIRS), ("validation", PAIRS[:3])):
        text = "".join(f"{english}\t{german}\n" for english, german in pairs)
        (DIRECTORY / f"pairs-{split}.tsv").write_text(text, encoding="utf-8")
        (DIRECTORY / f"questions-{split}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS), encoding="utf-8")


# Steps: functions of one example, in NumPy. Texts are bytes.


@seqio.map_examples
def ask_for_german(example: dict[str, Any]) -> dict[str, Any]:
    """Puts the task into the input."""
    return {**example, "inputs": b"translate English to German: " + example["inputs"]}


@seqio.map_examples
def ask(example: dict[str, Any]) -> dict[str, Any]:
    """Asks without a text to look into; the other answers travel along."""
    answers = [bytes(answer) for answer in example["answers"]]
    return {"inputs": b"trivia question: " + example["question"], "targets": answers[0], "answers": np.array(answers, dtype=object)}


# Postprocessors and metrics.


def normalize(answer: str) -> str:
    """Writes an answer as those of TriviaQA are compared: without case, articles, punctuation and double spaces."""
    kept = "".join(letter for letter in answer.lower() if letter not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def normalized(answer: str, example: dict[str, Any], is_target: bool) -> Any:
    """Gives a target's answers, all of them, and a prediction's one."""
    return [normalize(text.decode()) for text in example["answers"]] if is_target else normalize(answer)


def exact_match(targets: Any, predictions: Any) -> dict[str, float]:
    """Counts predictions that are one of the answers, in percent."""
    right = [
        prediction in (target if isinstance(target, list) else [target]) for target, prediction in zip(targets, predictions, strict=True)
    ]
    return {"exact_match": 100 * float(np.mean(right))}


def bleu(targets: list[str], predictions: list[str]) -> dict[str, Any]:
    """Compares translations as sacrebleu does."""
    import sacrebleu

    found = sacrebleu.corpus_bleu(predictions, [targets])
    return {"bleu": found.score, "signature": seqio.metrics.Text(str(found))}


def perplexity(targets: Any, scores: Any) -> dict[str, float]:
    """Takes the mean log probability of a token for each example."""
    return {"perplexity": math.exp(-float(np.mean(scores)))}


SPLITS = ("train", "validation")
STEPS = [seqio.preprocessors.tokenize, seqio.CacheDatasetPlaceholder(), seqio.preprocessors.append_eos_after_trim]


def register() -> None:
    """Makes the tasks and the mixture known by their names."""
    seqio.TaskRegistry.add(
        "demo_translation",
        source=seqio.TextLineDataSource({split: str(DIRECTORY / f"pairs-{split}.tsv") for split in SPLITS}),
        preprocessors=[seqio.preprocessors.parse_tsv, ask_for_german, *STEPS],
        output_features=FEATURES,
        metric_fns=[bleu, exact_match, perplexity],
    )
    seqio.TaskRegistry.add(
        "demo_questions",
        source=seqio.JsonLinesDataSource(
            {split: str(DIRECTORY / f"questions-{split}.jsonl") for split in SPLITS},
            num_input_examples={"train": len(QUESTIONS)},  # a rate that counts examples asks for it, where there is no cache
        ),
        preprocessors=[ask, *STEPS],
        output_features=FEATURES,
        postprocess_fn=normalized,
        metric_fns=[exact_match, perplexity],
    )
    seqio.MixtureRegistry.add("demo_mixture", [("demo_translation", 2), ("demo_questions", seqio.mixing_rate_num_examples)])


# What a model reads.


def show_converters() -> None:
    """Prints the first row that each converter makes."""
    both = {
        "EncDec": seqio.EncDecFeatureConverter,
        "PrefixLM": seqio.PrefixLMFeatureConverter,
        "Decoder": seqio.DecoderFeatureConverter,
    }
    for name, converter in both.items():
        for pack in (False, True):
            dataset = seqio.get_dataset("demo_translation", LENGTHS, converter(pack=pack), seed=0)
            show(f"{name}, {'packed' if pack else 'padded'}", dataset)
    # The others take other features: a variant of the task gives them, or rows that were packed before.
    only_targets = seqio.get_mixture_or_task("demo_translation").replace(output_features={"targets": FEATURES["targets"]})
    packed = seqio.get_dataset(only_targets, {"targets": 48}, seqio.LMFeatureConverter(pack=True))
    show("LM, packed", packed)
    show("PrePackedLM", seqio.PrePackedLMFeatureConverter(pack=False)(packed, {"targets": 48}))
    packed = seqio.get_dataset("demo_translation", LENGTHS, seqio.PrefixLMFeatureConverter(pack=True))
    show("PrePackedPrefixLM", seqio.PrePackedPrefixLMFeatureConverter(pack=False)(packed, LENGTHS))
    row = np.array([5, 6, 7, 1], np.int32)
    pair = ("inputs", "targets")
    parts = tuple(name + part for name in pair for part in ("", "_segment_ids", "_positions"))
    for name, converter, features in (
        ("PrePackedEncDec", seqio.PrePackedEncDecFeatureConverter(pack=False), parts),
        ("PrefixSuffixLM", seqio.PrefixSuffixLMFeatureConverter(pack=True), (*pair, "suffixes")),
        ("Encoder", seqio.EncoderFeatureConverter(mask_id=6, pack=True), pair),
        ("PassThrough", seqio.PassThroughFeatureConverter(), pair),
    ):
        taken = seqio.ExampleStream.from_examples([dict.fromkeys(features, row)])
        show(name, converter(taken, dict.fromkeys(features, 6)))


def show(name: str, dataset: Any) -> None:
    """Prints how long each feature of a row is."""
    rows = list(dataset)
    print(f"{name}: {len(rows)} x " + ", ".join(f"{feature} {list(np.shape(value))}" for feature, value in rows[0].items()))


# A model's functions. A real one generates and scores; these look into a table, and find every token as likely as any other.

TABLE = {f"translate English to German: {english}": german for english, german in PAIRS[1:]} | {
    "trivia question: Who wrote Faust?": "Johann Wolfgang von Goethe.",
    "trivia question: What is the capital of Austria?": "Salzburg",
}


@seqio.numpy_model_fn
def predict(dataset: Any) -> list[tuple[int, list[int]]]:
    """Gives the token ids of an answer to each input, of whatever length."""
    found = []
    for indices, batch in dataset.batch(2):
        for index, tokens in zip(indices, batch["encoder_input_tokens"], strict=True):
            found.append((index, VOCABULARY.encode(TABLE.get(VOCABULARY.decode(tokens), "das Haus ist rot"))))
    return found


@seqio.numpy_model_fn
def score(dataset: Any) -> list[tuple[int, float]]:
    """Gives the mean log probability of the target tokens."""
    found = []
    for index, row in dataset:
        weights = row["decoder_loss_weights"]
        log_probabilities = np.full(len(weights), -math.log(VOCABULARY.vocab_size))
        found.append((index, float((log_probabilities * weights).sum() / weights.sum())))
    return found


def evaluate(use_cached: bool = False) -> dict[str, Any]:
    """Evaluates the stand-in on both tasks."""
    evaluator = seqio.Evaluator(
        "demo_mixture",
        seqio.EncDecFeatureConverter(pack=False),
        use_cached=use_cached,
        logger_cls=[functools.partial(seqio.JSONLogger, write_n_results=2)],
        log_dir=str(DIRECTORY / "logs"),
    )
    future, _ = evaluator.evaluate(compute_metrics=True, step=1, predict_fn=predict, score_fn=score)
    found: dict[str, Any] = future.result()
    evaluator.close()
    return found


def cache() -> None:
    """Runs the steps before the placeholder once and for all."""
    command = [sys.executable, "-m", "pipelines.cli", "cache-tasks", "--tasks", "demo_.*", "--module_import", "seqio_tasks"]
    command += ["--output_cache_dir", str(DIRECTORY / "cache"), "--overwrite", "--direct_num_workers=1"]
    here = os.pathsep.join([str(pathlib.Path(__file__).parent), *sys.path[1:]])
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": here})
    seqio.add_global_cache_dirs([str(DIRECTORY / "cache")])


def main() -> None:
    """Does everything once."""
    write_files()
    for example in seqio.get_mixture_or_task("demo_questions").get_dataset(LENGTHS, "train", shuffle=False).take(1):
        print(f"a question: {example['inputs_pretokenized'].decode()!r}, and its answers: {[text.decode() for text in example['answers']]}")
    mixture = seqio.get_mixture_or_task("demo_mixture").get_dataset(LENGTHS, "train", shuffle=False, num_epochs=1)
    print(f"the mixture: {sum(1 for _ in mixture)} examples, each once")
    show_converters()
    for task, values in evaluate().items():
        print(f"{task}: " + ", ".join(f"{name} {value:.2f}" for name, value in values.items() if isinstance(value, float)))
    cache()
    print(f"the same from the cache: {evaluate(use_cached=True) == evaluate()}")


if __name__ == "__main__":
    import seqio_tasks  # its steps are then called seqio_tasks.ask and so on, by which the cache knows them

    seqio_tasks.main()
else:
    register()
