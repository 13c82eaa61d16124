"""SeqIO's own introduction, run with `import tokenreel.tasks as seqio`: the blocks of the installed package's description, as they stand.

Data sets that would be downloaded, and vocabularies at `/path/to`, have stand-ins of the same form. What is wrong in the text itself is put
right by `MISPRINTS`, each of which must still be there.
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import string
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from tokenreel import tasks

pytestmark = pytest.mark.interop

NO_CODE = {"pip install seqio": "shell", "git clone": "shell", " u1   u2": "a drawing", "@article": "a citation"}
MISPRINTS = [  # of a block with the first text, the second is wrong and the third is meant
    ("def random_chunk(", '"""Takes a random chunk', '  """Takes a random chunk'),  # a docstring before its indentation
    ("def random_chunk(", "(length + 1))", "(length + 1), dtype=tf.int32)"),  # a float between integers
    ("def random_chunk(", "\nreturn take_chunk", "\n  return take_chunk"),  # outside of the function
    ("def tqa_map(ex: Mapping", "\nreturn tqa_map", "\n  return tqa_map"),
    ("def tqa_metric(", "MetricValueValue", "MetricValue"),
    ("def tqa_metric(", '" ", s)', '" ", text)'),  # no name of anything
    ("def tqa_metric(", "s.split()", "text.split()"),
    ("some mlm task", "some mlm task", "some_mlm_task"),  # the name of no task has spaces
]


def blocks() -> list[str]:
    metadata = importlib.metadata.metadata("seqio")
    text = metadata.get_payload() or metadata["Description"]
    found = [textwrap.dedent(block) for _, block in re.findall(r"```(\w*)\n(.*?)```", text, re.DOTALL)]
    for part, wrong, right in MISPRINTS:
        hit = [number for number, block in enumerate(found) if part in block and wrong in block]
        for number in hit:
            found[number] = found[number].replace(wrong, right)
        assert hit, (part, wrong)
    return found


TEXTS = {"de": "das ist gut", "en": "that is good"}
ANSWER = {"value": "Mary Kate", "aliases": ["Mary Kate", "the Olsen"]}


@pytest.fixture
def namespace(monkeypatch: pytest.MonkeyPatch, unigram_model: str) -> dict[str, Any]:
    """What the text takes for granted: imports, three tasks, data sets without their download."""
    import sacrebleu
    import scipy
    import tensorflow as tf

    for registry in (tasks.TaskRegistry, tasks.MixtureRegistry):
        monkeypatch.setattr(registry, "_REGISTRY", {}, raising=False)
    vocabulary = tasks.SentencePieceVocabulary(unigram_model)

    def source(tfds_name: str, splits: Any = None) -> Any:
        """Stands for the data set of that name."""
        example = TEXTS if "wmt" in tfds_name else {"question": "who is it", "answer": ANSWER}

        def read(split: str, shuffle_files: bool, seed: int | None = None) -> Any:
            return tf.data.Dataset.from_tensors(example).repeat(30)

        return tasks.FunctionDataSource(read, splits=list(splits or ["train"]), num_input_examples=None)

    monkeypatch.setattr(tasks, "TfdsDataSource", source)
    monkeypatch.setattr(tasks, "SentencePieceVocabulary", lambda path: vocabulary)
    for name in ("task1", "task2", "task3", "wmt_t2t_ende_v003", "standard_lm", "some_mlm_task"):
        features = ("targets",) if name == "standard_lm" else ("inputs", "targets")

        def read(split: str, shuffle_files: bool, seed: int | None = None, features: Sequence[str] = features) -> Any:
            return tf.data.Dataset.range(30).map(lambda n: {name: tf.fill([3], tf.cast(n, tf.int32) + 10) for name in features})

        add_source = tasks.FunctionDataSource(read, splits=["train"], num_input_examples={"train": 30})
        tasks.TaskRegistry.add(
            name, source=add_source, preprocessors=[], output_features={feature: tasks.Feature(vocabulary) for feature in features}
        )
    names = {"functools": functools, "Mapping": Mapping, "Sequence": Sequence, "np": np, "re": re, "string": string}
    return {**names, "tf": tf, "seqio": tasks, "sacrebleu": sacrebleu, "scipy": scipy}


def run(code: str, namespace: dict[str, Any]) -> None:
    for name in re.findall(r'MixtureRegistry\.add\(\s*"(\w+)"', code):
        tasks.MixtureRegistry.remove(name)  # the text shows several ways to make one
    exec(compile(code, "<SeqIO's README>", "exec", dont_inherit=True), namespace)


def run_all(code: list[str], namespace: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Runs each block once, after those that define what it uses; gives the examples that are shown before and after packing."""
    packed: dict[str, tuple[Any, Any]] = {}
    waiting = code
    while waiting:
        later = []
        for block in waiting:
            try:
                run(block, namespace)
            except NameError:
                later.append(block)
            if "converted_dataset" in block:
                kind = "encoder" if "encoder_target_tokens" in block else "encoder_decoder"
                packed[kind] = namespace["dataset"], namespace["converted_dataset"]
        assert len(later) < len(waiting), later[0]
        waiting = later
    return packed


def test_every_block_runs(namespace: dict[str, Any], counted: Callable[[str, int, int], None], capsys: pytest.CaptureFixture[str]) -> None:
    found = blocks()
    assert len(found) == 33
    code = [block for block in found if not any(part in block for part in NO_CODE)]
    packed = run_all(code, namespace)
    counted(f"README, blocks of code ({len(found) - len(code)} of {len(found)} hold none)", len(code), len(code))
    assert len(code) == 29
    assert capsys.readouterr().out.count("{'inputs'") == 5, "the first examples of a mixture are printed"
    vocabulary = tasks.SentencePieceVocabulary("")
    example = next(iter(tasks.TaskRegistry.get("wmt19_ende").get_dataset(split="train", sequence_length=None)))
    assert vocabulary.decode(example["inputs"].tolist()) == "translate en to de: that is good"
    assert example["targets"].tolist() == [*vocabulary.encode("das ist gut"), vocabulary.eos_id]
    example = next(iter(tasks.TaskRegistry.get("trivia_qa_open").get_dataset(split="validation", sequence_length=None)))
    assert namespace["tqa_open_postprocessor"]("x", example=example, is_target=True) == ANSWER["aliases"]
    metric = namespace["tqa_metric"]([ANSWER["aliases"], ["no"]], ["Olsen.", "yes"])["exact_match"]
    assert float(getattr(metric, "value", metric)) == 0.5
    assert namespace["bleu"](["das ist sehr gut"], ["das ist sehr gut"])["bleu"] == pytest.approx(100)
    assert float(namespace["perplexity"]([], [0.0, 0.0])["perplexity"].value) == 1
    mixture = tasks.MixtureRegistry.get("mix3")
    assert sorted(task.name for task in mixture.tasks) == ["task1", "task2", "task3"]
    with_end = [{name: [*ids, 1] for name, ids in example.items()} for example in packed["encoder_decoder"][0]]
    rows = tasks.EncDecFeatureConverter()(tasks.ExampleStream.from_examples(with_end), {"inputs": 10, "targets": 7})
    assert [{name: array.tolist() for name, array in row.items()} for row in rows] == packed["encoder_decoder"][1]
    with_end = [{name: [*ids, 1] for name, ids in example.items()} for example in packed["encoder"][0]]
    (row,) = tasks.EncoderFeatureConverter(9)(tasks.ExampleStream.from_examples(with_end), {"inputs": 11, "targets": 11})
    assert {name: array.tolist() for name, array in row.items()} == packed["encoder"][1]
