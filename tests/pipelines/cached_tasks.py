"""Tasks that tests cache; what they read stands in the environment."""

import os

import numpy as np

from tokenreel import tasks as seqio
from tokenreel.tasks import vocabularies
from tokenreel.tasks.data_sources import FunctionDataSource, JsonLinesDataSource, ParquetDataSource, TextLineDataSource
from tokenreel.tasks.example_keys import seeds
from tokenreel.tasks.task import CacheDatasetPlaceholder, TaskRegistry

DATA = os.environ["TOKENREEL_TEST_DATA"]
FEATURES = {
    "inputs": seqio.Feature(vocabularies.ByteVocabulary(), add_eos=False),
    "targets": seqio.Feature(vocabularies.ByteVocabulary(), add_eos=True),
}


@seqio.numpy_preprocessor
def rename(dataset):
    return dataset.map(_pair)


def _pair(example):
    return {"inputs": example["question"], "targets": example["answer"], "id": np.int64(example["id"]), "answers": example["answers"]}


@seqio.numpy_preprocessor
def encode(dataset, output_features):
    def tokens(example):
        encoded = {}
        for name, feature in output_features.items():
            ids = list(feature.vocabulary.encode(example[name].decode())) + ([feature.vocabulary.eos_id] if feature.add_eos else [])
            encoded |= {name: np.array(ids, np.int32), f"{name}_pretokenized": example[name]}
        return example | encoded

    return dataset.map(tokens)


@seqio.numpy_preprocessor
def draw(dataset):
    def drawn(element):
        return element.value | {"draw": seeds(7, "draw", element.key, element.epoch)[0, 0]}

    return dataset.map_keyed(drawn, "draw")


@seqio.numpy_preprocessor
def fail(dataset):
    def broken(example):
        raise KeyError("no such field")

    return dataset.map(broken)


@seqio.map_examples
def more_of_some(example):
    if example["id"] % 3:
        example["more"] = example["targets"] * int(example["id"] % 5)  # the empty text among them
    return example


STEPS = [rename, encode, draw, CacheDatasetPlaceholder()]
SPLITS = {"train": f"{DATA}/train-*.jsonl", "validation": f"{DATA}/validation.jsonl"}
TaskRegistry.add("qa:json", JsonLinesDataSource(SPLITS), FEATURES, STEPS)
TaskRegistry.add("qa:parquet", ParquetDataSource({"train": f"{DATA}/train-*.parquet"}), FEATURES, STEPS)
TaskRegistry.add("broken", JsonLinesDataSource(SPLITS), FEATURES, [rename, fail, CacheDatasetPlaceholder()])
TaskRegistry.add("uncached", JsonLinesDataSource(SPLITS), FEATURES, [rename, encode])


@seqio.numpy_preprocessor
def as_text(dataset):
    return dataset.map(lambda line: {"targets": line if isinstance(line, bytes) else line["text"]})


TARGETS = {"targets": FEATURES["targets"]}
TaskRegistry.add(
    "lines", TextLineDataSource({"train": f"{DATA}/*.txt"}, skip_header_lines=1), TARGETS, [as_text, encode, CacheDatasetPlaceholder()]
)
TaskRegistry.add(
    "function",
    FunctionDataSource(lambda split, shuffle_files: [{"targets": "abc"}, {"targets": "de"}], ["train"]),
    TARGETS,
    [encode, CacheDatasetPlaceholder(required=True)],
)

TEXTS = vocabularies.SentencePieceVocabulary(f"{DATA}/test.model", extra_ids=4)
TaskRegistry.add(
    "texts",
    JsonLinesDataSource({"train": f"{DATA}/train-*.jsonl"}),
    {"inputs": seqio.Feature(TEXTS, add_eos=False), "targets": seqio.Feature(TEXTS), "more": seqio.Feature(TEXTS, required=False)},
    [rename, more_of_some, seqio.preprocessors.tokenize_and_append_eos, draw, CacheDatasetPlaceholder()],
)
