"""Tasks that tests build; what they read stands in the environment."""

import os

import numpy as np

from tokenreel import tasks as seqio
from tokenreel.tasks.feature_converters.rows import pad_rows

DATA = os.environ["TOKENREEL_TEST_DATA"]
VOCABULARY = seqio.ByteVocabulary()
FEATURES = {"inputs": seqio.Feature(VOCABULARY), "targets": seqio.Feature(VOCABULARY)}


@seqio.map_examples
def rename(example):
    return {"inputs": example["question"], "targets": example["answer"]}


@seqio.numpy_preprocessor
def keep_most(dataset):
    return dataset.filter(lambda example: len(example["inputs"]) % 5)


@seqio.map_examples(num_seeds=1)
def rotate(example, seed):
    return example | {"targets": np.roll(example["targets"], int(seed[0]) % 7)}


@seqio.numpy_preprocessor
def in_pairs(dataset):
    def pairs(elements):
        for first in elements:
            second = next(elements, first)
            yield {"targets": np.concatenate([first.value["targets"], second.value["targets"]])}

    return dataset.regroup(pairs, "in_pairs")


STEPS = [
    rename,
    seqio.preprocessors.tokenize,
    keep_most,
    seqio.CacheDatasetPlaceholder(),
    rotate,
    seqio.preprocessors.append_eos_after_trim,
]
SPLITS = {"train": f"{DATA}/train-*.jsonl", "validation": f"{DATA}/validation.jsonl"}
SOURCE = seqio.JsonLinesDataSource(SPLITS)
seqio.TaskRegistry.add("qa", SOURCE, FEATURES, STEPS)
seqio.TaskRegistry.add("more_qa", SOURCE, FEATURES, [rename, seqio.preprocessors.tokenize, seqio.preprocessors.append_eos])
seqio.TaskRegistry.add(
    "paired",
    SOURCE,
    {"targets": seqio.Feature(VOCABULARY)},
    [rename, seqio.preprocessors.tokenize, in_pairs, seqio.CacheDatasetPlaceholder()],
)
seqio.TaskRegistry.add(
    "pairs_behind",
    SOURCE,
    {"targets": seqio.Feature(VOCABULARY)},
    [rename, seqio.preprocessors.tokenize, seqio.CacheDatasetPlaceholder(), in_pairs],
)
seqio.TaskRegistry.add("broken", SOURCE, FEATURES, [seqio.map_examples(lambda example: example["no such field"])])
seqio.MixtureRegistry.add("both", [("qa", 2), ("more_qa", 1)])


class Reversed(seqio.LMFeatureConverter):
    """A converter of one's own that makes whole blocks into rows."""

    def convert_rows(self, block, task_feature_lengths):
        rows = pad_rows({"targets": block["targets"]}, task_feature_lengths)
        names = ("decoder_target_tokens", "decoder_input_tokens", "decoder_loss_weights")
        return {name: rows["targets"][:, ::-1].copy() for name in names}


class NotOne:
    """No feature converter."""
