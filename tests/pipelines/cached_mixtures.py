"""Mixtures that tests cache; what their tasks read stands in the environment."""

import functools
import os

import numpy as np

from tokenreel import tasks as seqio
from tokenreel.tasks.example_keys import seeds

DATA = os.environ["TOKENREEL_TEST_DATA"]
FEATURES = {"targets": seqio.Feature(seqio.PassThroughVocabulary(10**6))}


@seqio.numpy_preprocessor
def tokens(dataset):
    return dataset.map(lambda example: {"targets": np.arange(1 + example["n"] % 4, dtype=np.int32) + np.int32(example["n"]), **example})


@seqio.numpy_preprocessor
def draw(dataset, sequence_length):
    def drawn(element):
        return {**element.value, "draw": seeds(sequence_length["targets"], "draw", element.key, element.epoch)[0, 0]}

    return dataset.map_keyed(drawn, "draw")


@seqio.numpy_preprocessor
def odd(dataset):
    return dataset.filter(lambda example: int(example["n"]) % 2)


def made(split, shuffle_files, first, count):
    return [{"n": np.int64(first + n)} for n in range(count)]


STEPS = [tokens, seqio.CacheDatasetPlaceholder(), draw]
files = seqio.JsonLinesDataSource({"train": f"{DATA}/a-*.jsonl", "validation": f"{DATA}/a-0.jsonl"})
A = seqio.TaskRegistry.add("m:a", files, FEATURES, STEPS)
B = seqio.TaskRegistry.add("m:b", seqio.FunctionDataSource(functools.partial(made, first=1000, count=7), ["train"]), FEATURES, STEPS)
C = seqio.TaskRegistry.add("m:c", seqio.FunctionDataSource(functools.partial(made, first=2000, count=25), ["train"]), FEATURES, STEPS)
seqio.TaskRegistry.add("m:odd", seqio.FunctionDataSource(functools.partial(made, first=0, count=9), ["train"]), FEATURES, [*STEPS, odd])
seqio.TaskRegistry.add("m:plain", seqio.FunctionDataSource(functools.partial(made, first=0, count=9), ["train"]), FEATURES, [tokens])

seqio.MixtureRegistry.add("inner", ["m:a", ("m:b", 2)], default_rate=1)
seqio.MixtureRegistry.add("mix:nested", [("inner", 0.6), ("m:c", 0.3), ("m:a", 0.1)])
seqio.MixtureRegistry.add("mix:sizes", ["m:a", "m:b", "m:c"], default_rate=seqio.mixing_rate_num_examples)
seqio.MixtureRegistry.add("mix:odd", ["m:a", "m:odd"], default_rate=1)
seqio.MixtureRegistry.add("mix:plain", ["m:a", "m:plain"], default_rate=1)
seqio.MixtureRegistry.add("m:c", ["m:a", "m:c"], default_rate=1)
