"""Trains keras-hub's T5 on span corruption, and lets the Evaluator score what it decodes for held-out text.

    python -m examples.models.t5 --steps 800

The text is the alphabet over and over, from any letter on, so a model that has learned anything can fill the spans in.
"""

from __future__ import annotations

import json
import pathlib
import string
from typing import Any

import keras
import keras_hub
import numpy as np

import tokenreel
import tokenreel.tasks as seqio
from examples.models import common
from tokenreel.loaders.to_keras import KerasBatches

EOS = 1


def write_letters(path: pathlib.Path) -> None:
    """Writes 1,300 documents of 200 letters, each beginning with another letter than the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for number in range(1300):
            text = "".join(string.ascii_lowercase[(number + place) % 26] for place in range(200))
            print(json.dumps({"id": f"letters-{number}", "text": text}), file=file)


def make_task(vocab_size: int) -> Any:
    """Makes a small T5 of random weights, always the same, that generates the likeliest tokens."""
    keras.utils.set_random_seed(0)
    sizes = {"num_layers": 2, "num_heads": 4, "hidden_dim": 64, "intermediate_dim": 128, "key_value_dim": 16, "dropout": 0.0}
    body = keras_hub.models.T5Backbone(vocabulary_size=vocab_size, **sizes)
    # keras-hub 0.32 draws new embeddings from 0.9 to 1.1 (TruncatedNormal(1.0) is a mean), which hardly tell tokens apart.
    body.token_embedding.embeddings.assign(keras.random.normal((vocab_size, body.hidden_dim), seed=0))
    task = keras_hub.models.T5Seq2SeqLM(body, preprocessor=None)
    task.compile(sampler="greedy")
    return task


def shift_right(targets: np.ndarray) -> np.ndarray:
    """Gives what the decoder reads: the padding id, and each target but the last."""
    return np.pad(targets[:, :-1], ((0, 0), (1, 0)))


def real(field: str) -> Any:
    """Makes the function of a batch that marks the tokens of a field, which `num_FIELD` counts."""
    return lambda batch: (np.arange(batch[field].shape[1]) < batch[f"num_{field}"][:, None]).astype(np.int32)


INPUTS = {
    "encoder_token_ids": "inputs",
    "encoder_padding_mask": real("inputs"),
    "decoder_token_ids": lambda batch: shift_right(batch["targets"]),
    "decoder_padding_mask": real("targets"),
}


def task_of(held_out: Any) -> seqio.Task:
    """Makes a task of the examples of a split, for the Evaluator."""
    found = held_out.take(np.arange(len(held_out)), ["inputs", "targets", "num_inputs", "num_targets"])
    rows = [{name: found[name][row, : found[f"num_{name}"][row]] for name in ("inputs", "targets")} for row in range(len(held_out))]
    vocabulary = seqio.PassThroughVocabulary(held_out.manifest.vocabulary.vocab_size)
    return seqio.Task(
        "filled_letters",
        source=seqio.FunctionDataSource(lambda split, shuffle_files: rows, splits=["validation"]),
        output_features={name: seqio.Feature(vocabulary, add_eos=False) for name in ("inputs", "targets")},
        metric_fns=[filled],
    )


def filled(targets: list[Any], predictions: list[Any]) -> dict[str, float]:
    """Gives the share of examples in which every span is filled in right."""
    right = sum(list(target) == list(prediction) for target, prediction in zip(targets, predictions, strict=True))
    return {"filled": right / len(targets)}


def decoder_of(task: Any) -> Any:
    """Makes the function that decodes greedily: each token is the likeliest after those before it, until eos."""

    @seqio.numpy_model_fn
    def predict(dataset: Any) -> list[tuple[int, list[int]]]:
        found = []
        for indices, batch in dataset.batch(64):
            tokens = np.asarray(batch["encoder_input_tokens"])
            width = np.shape(batch["decoder_target_tokens"])[1] + 1  # the first is the padding id that decoding begins with
            start = np.zeros((len(tokens), width), np.int32)
            answer = task.generate(
                {
                    "encoder_token_ids": tokens,
                    "encoder_padding_mask": (tokens != 0).astype(np.int32),
                    "decoder_token_ids": start,
                    "decoder_padding_mask": np.arange(width)[None].repeat(len(tokens), 0) < 1,
                },
                max_length=width,
                stop_token_ids=[EOS],
            )
            for index, row in zip(indices, np.asarray(answer["decoder_token_ids"])[:, 1:], strict=True):
                end = np.flatnonzero(row == EOS)
                found.append((index, row[: end[0] + 1 if len(end) else len(row)].tolist()))
        return found

    return predict


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the command."""
    options = common.parser(__doc__.splitlines()[0], steps=800).parse_args(argv)
    letters = options.folder / "letters.jsonl"
    if not letters.exists():
        write_letters(letters)
    directory = str(options.folder / "t5")
    common.run("build", common.HERE / "t5.yaml", "--input", letters, "--output", directory)
    train, held_out = tokenreel.load(directory), tokenreel.load(directory, "validation")
    task = make_task(train.manifest.vocabulary.vocab_size)
    model = keras.Model(task.input, task.output)  # the same layers: fit() of keras-hub's classes takes no PyDataset
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    model.compile(keras.optimizers.Adam(3e-3), loss)
    evaluator = seqio.Evaluator(task_of(held_out), seqio.EncDecFeatureConverter(pack=False))

    def evaluate() -> float:
        metrics, _ = evaluator.evaluate(compute_metrics=True, predict_fn=decoder_of(task))
        return float(metrics.result()["filled_letters"]["filled"])

    before = evaluate()
    batches = train.batches(32, seed=0, features=["inputs", "targets", "num_inputs", "num_targets", "loss_weights"])
    data = KerasBatches(batches, model, inputs=INPUTS)
    losses = model.fit(data, steps_per_epoch=1, epochs=options.steps, shuffle=False, verbose=0).history["loss"]
    after = evaluate()
    print(f"loss {losses[0]:.3f} at first, {losses[-1]:.3f} after {len(losses)} steps")
    print(f"held-out examples with every span filled in right: {before:.1%} before training, {after:.1%} after")
    return {"losses": losses, "before": before, "after": after}


if __name__ == "__main__":
    main()
