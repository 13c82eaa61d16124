"""Numbers of SeqIO's own tests of `get_dataset` and of data set providers, restated: its classes are patched there, and cannot be replaced.

GetDatasetTest: enc_dec_unpacked, partial_sequence_length (5), multidimension_sequence_length (4), enc_dec_packed,
both_train_and_validation_splits, enc_dec_sharded, enc_dec_sharded_and_packed. MixturesTest: get_dataset, get_dataset_mix,
get_dataset_passthrough_features, copy_pretokenized, get_rate_with_callable, mixture_of_mixtures, mixture_of_mixtures_dupe.
"""

import numpy as np
import pytest

from tokenreel.tasks import feature_converters, getting, preprocessors
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.features import Feature
from tokenreel.tasks.mixture import Mixture
from tokenreel.tasks.providers import ShardInfo
from tokenreel.tasks.task import Task
from tokenreel.tasks.task_steps import CacheDatasetPlaceholder
from tokenreel.tasks.vocabularies import PassThroughVocabulary

VOCABULARY = PassThroughVocabulary(30, eos_id=1)
ROWS = [([7, 8, 5, 6, 9, 4, 3], [3, 9]), ([8, 4], [4]), ([5, 6, 7], [6, 5])]
ENC_DEC = feature_converters.EncDecFeatureConverter
UNPACKED = [
    ([7, 8, 5, 6, 9, 4, 1], [3, 9, 1, 0, 0], [0, 3, 9, 1, 0], [1, 1, 1, 0, 0]),
    ([8, 4, 1, 0, 0, 0, 0], [4, 1, 0, 0, 0], [0, 4, 1, 0, 0], [1, 1, 0, 0, 0]),
    ([5, 6, 7, 1, 0, 0, 0], [6, 5, 1, 0, 0], [0, 6, 5, 1, 0], [1, 1, 1, 0, 0]),
]
NAMES = ("encoder_input_tokens", "decoder_target_tokens", "decoder_input_tokens", "decoder_loss_weights")


def task(rows=ROWS, validation=(), features=("inputs", "targets")):
    splits = {"train": rows, "validation": validation}

    def make(split, shuffle_files):
        return [{"inputs": inputs, "targets": targets} for inputs, targets in splits[split]]

    steps = [CacheDatasetPlaceholder(), preprocessors.append_eos_after_trim]
    return Task("t", FunctionDataSource(make, list(splits)), {name: Feature(VOCABULARY) for name in features}, steps)


def plain(dataset):
    rows = list(dataset)
    assert all(value.dtype == np.int32 for row in rows for value in row.values())
    return [{name: value.tolist() for name, value in row.items()} for row in rows]


def converted(one, pack=False, **arguments):
    return plain(getting.get_dataset(one, {"inputs": 7, "targets": 5}, ENC_DEC(pack=pack), shuffle=False, **arguments))


def test_enc_dec_unpacked():
    assert converted(task()) == [dict(zip(NAMES, row, strict=True)) for row in UNPACKED]


def test_both_train_and_validation_splits():
    one = task(ROWS[:1], ROWS[1:2])
    assert converted(one) == [dict(zip(NAMES, UNPACKED[0], strict=True))]
    assert converted(one, dataset_split="validation") == [dict(zip(NAMES, UNPACKED[1], strict=True))]


def test_enc_dec_sharded():
    assert converted(task(), shard_info=ShardInfo(0, 2)) == [dict(zip(NAMES, UNPACKED[row], strict=True)) for row in (0, 2)]


def test_enc_dec_packed():
    assert converted(task(), pack=True) == [
        {
            "encoder_input_tokens": [7, 8, 5, 6, 9, 4, 1],
            "encoder_segment_ids": [1, 1, 1, 1, 1, 1, 1],
            "encoder_positions": [0, 1, 2, 3, 4, 5, 6],
            "decoder_target_tokens": [3, 9, 1, 0, 0],
            "decoder_input_tokens": [0, 3, 9, 0, 0],
            "decoder_loss_weights": [1, 1, 1, 0, 0],
            "decoder_segment_ids": [1, 1, 1, 0, 0],
            "decoder_positions": [0, 1, 2, 0, 0],
        },
        {
            "encoder_input_tokens": [8, 4, 1, 5, 6, 7, 1],
            "encoder_segment_ids": [1, 1, 1, 2, 2, 2, 2],
            "encoder_positions": [0, 1, 2, 0, 1, 2, 3],
            "decoder_target_tokens": [4, 1, 6, 5, 1],
            "decoder_input_tokens": [0, 4, 0, 6, 5],
            "decoder_loss_weights": [1, 1, 1, 1, 1],
            "decoder_segment_ids": [1, 1, 2, 2, 2],
            "decoder_positions": [0, 1, 0, 1, 2],
        },
    ]


def test_packing_comes_after_sharding():
    one = task([([7, 8], [3, 9]), ([8, 4], [4]), ([5, 6, 7], [6])])
    assert converted(one, pack=True, shard_info=ShardInfo(0, 2)) == [
        {
            "encoder_input_tokens": [7, 8, 1, 5, 6, 7, 1],
            "encoder_segment_ids": [1, 1, 1, 2, 2, 2, 2],
            "encoder_positions": [0, 1, 2, 0, 1, 2, 3],
            "decoder_target_tokens": [3, 9, 1, 6, 1],
            "decoder_input_tokens": [0, 3, 9, 0, 6],
            "decoder_loss_weights": [1, 1, 1, 1, 1],
            "decoder_segment_ids": [1, 1, 1, 2, 2],
            "decoder_positions": [0, 1, 2, 0, 1],
        }
    ]


LENGTHS = [
    {"inputs": 7, "targets": 2},
    {"inputs": None, "targets": 2},
    {"inputs": 7, "targets": None},
    {"inputs": None, "targets": None},
    None,
]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_partial_sequence_length(lengths):
    trims = {name for name, length in (lengths or {}).items() if length}
    assert plain(task().get_dataset(lengths, shuffle=False)) == [
        {
            "inputs": [7, 8, 5, 6, 9, 4, 1] if "inputs" in trims else [7, 8, 5, 6, 9, 4, 3, 1],
            "targets": [3, 1] if "targets" in trims else [3, 9, 1],
        },
        {"inputs": [8, 4, 1], "targets": [4, 1]},
        {"inputs": [5, 6, 7, 1], "targets": [6, 1] if "targets" in trims else [6, 5, 1]},
    ]


@pytest.mark.parametrize(("inputs", "targets"), [((2, 5), 2), ((2, 5), None), (None, 2), (None, None)])
def test_multidimension_sequence_length(inputs, targets):
    rows = [
        ([[7, 8, 5, 6, 9, 4, 3], [2, 3, 4, 5, 0, 0, 0], [6, 7, 1, 0, 0, 0, 0]], [3, 9]),
        ([[8, 4], [1, 0], [2, 3]], [4]),
        ([[5, 6, 7]], [6, 5, 1]),
        ([[7, 8, 9, 1, 2, 3, 4, 5, 6]], [10, 11, 1]),
    ]
    source = FunctionDataSource(lambda split, shuffle_files: [{"inputs": i, "targets": t} for i, t in rows], ["train"])
    one = Task("t", source, {"inputs": Feature(VOCABULARY, rank=2), "targets": Feature(VOCABULARY)}, [CacheDatasetPlaceholder()])
    found = plain(one.get_dataset({"inputs": inputs, "targets": targets}, shuffle=False))
    trimmed = [[[7, 8, 5, 6, 9], [2, 3, 4, 5, 0]], [[8, 4], [1, 0]], [[5, 6, 7]], [[7, 8, 9, 1, 2]]]
    assert [row["inputs"] for row in found] == (trimmed if inputs else [row[0] for row in rows])
    assert [row["targets"] for row in found] == ([[3, 9], [4], [6, 5], [10, 11]] if targets else [row[1] for row in rows])


def constant(value):
    def make(split, shuffle_files):
        row = {"inputs": [value], "targets": [value], "feature": [value], "inputs_pretokenized": f"inputs_{value}"}
        return [{**row, "targets_pretokenized": f"targets_{value}"}] * 3

    names = {2: "two_task", 3: "three_task"}
    features = {name: Feature(VOCABULARY) for name in ("inputs", "targets")}
    return Task(names[value], FunctionDataSource(make, ["train"]), features)


def test_mixtures():
    mixture = Mixture("test_mix", [(constant(2), 1), (constant(3), 1)])
    arguments = {"sequence_length": {"inputs": 2, "targets": 2}, "split": "train", "seed": 13}
    assert sum(int(row["inputs"][0]) for row in mixture.get_dataset(**arguments).take(1000)) == 2500, (
        "500 of each, where SeqIO drew 519 of 2"
    )
    passed = mixture.get_dataset(**arguments, passthrough_features=["feature"]).take(1000)
    assert sum(int(row["feature"][0]) for row in passed) == 2500
    for copied in (True, False):
        rows = list(mixture.get_dataset(**arguments, copy_pretokenized=copied).take(1000))
        assert {row.get("inputs_pretokenized") for row in rows} == ({b"inputs_2", b"inputs_3"} if copied else {None})
        assert {row.get("targets_pretokenized") for row in rows} == ({b"targets_2", b"targets_3"} if copied else {None})
    alone = Mixture("test_mix3", [(task(), 1)]).get_dataset(None, "train", shuffle=False)
    assert plain(alone.take(6)) == plain(task().get_dataset(None, "train", shuffle=False).repeat(2))


@pytest.mark.tensorflow
def test_the_sum_of_a_mixture_as_in_seqio():
    mixture = Mixture("test_mix", [(constant(2), 1), (constant(3), 1)], compat="seqio")
    dataset = mixture.get_dataset({"inputs": 2, "targets": 2}, "train", seed=13)
    assert sum(int(row["inputs"][0]) for row in dataset.take(1000)) == 2481


def test_rates():
    one, two, three = (task().replace(name=name) for name in ("a", "b", "c"))
    assert Mixture("m", [one], default_rate=lambda t: 42).get_rate(one) == 42
    mix = Mixture("m", [one, two], default_rate=1)
    above = Mixture("s", [(mix, 1), (three, 1)])
    assert [above.get_rate(t) for t in above.tasks] == [0.5, 0.5, 1]
    dupe = Mixture("d", [(mix, 1), (three, 1), (one, 1)])
    assert [dupe.get_rate(t) for t in dupe.tasks] == [1.5, 0.5, 1]
