import itertools
import json

import numpy as np
import pytest

from tests.tokenreel.tasks.caches import write_cache, write_seqio
from tests.tokenreel.tasks.test_example_stream import check_states
from tokenreel.tasks import cache_directories, caching, feature_converters, getting
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.features import Feature
from tokenreel.tasks.mixture import Mixture
from tokenreel.tasks.preprocessor_marks import numpy_preprocessor
from tokenreel.tasks.providers import ShardInfo
from tokenreel.tasks.rates import mixing_rate_num_examples
from tokenreel.tasks.task import Task
from tokenreel.tasks.task_steps import CacheDatasetPlaceholder
from tokenreel.tasks.vocabularies import PassThroughVocabulary

COUNT = 300
ROWS = [
    {
        "inputs": np.arange(n % 11, dtype=np.int32) + 2,
        "targets": np.arange(n % 5, dtype=np.int32) + n + 2,
        "n": np.int32(n),
        "text": b"t%d" % n,
    }
    for n in range(COUNT)
]
FEATURES = {name: Feature(PassThroughVocabulary(1000)) for name in ("inputs", "targets")}
LENGTHS = {"inputs": 8, "targets": 4}


def never(split, shuffle_files):
    raise AssertionError("the source is read")


@numpy_preprocessor
def longer(dataset):
    return dataset.map(lambda example: {**example, "targets": np.append(example["targets"], np.int32(1))})


def task(*steps, name="ns:cached"):
    placeholder = CacheDatasetPlaceholder(required=True)
    return Task(name, FunctionDataSource(never, ["train", "test"]), FEATURES, [placeholder, *steps])


@pytest.fixture(autouse=True)
def directory(tmp_path):
    write_cache(tmp_path / "ns" / "cached", {"train": [ROWS[:100], ROWS[100:]], "test": [ROWS[:3]]})
    cache_directories.set_global_cache_dirs([str(tmp_path)])
    yield tmp_path
    cache_directories.set_global_cache_dirs([])


def numbers(dataset):
    return [int(example["n"]) for example in dataset]


def test_a_cache_is_read_in_any_order_and_shared_evenly():
    assert numbers(task().get_dataset(None, "train", use_cached=True, shuffle=False)) == list(range(COUNT))
    shuffled = numbers(task().get_dataset(None, "train", use_cached=True, seed=1, num_epochs=2))
    first, second = shuffled[:COUNT], shuffled[COUNT:]
    assert sorted(first) == sorted(second) == list(range(COUNT)) and first != second
    assert np.abs(np.array(first[:100]).mean() - COUNT / 2) < 40, "it is shuffled as a whole, and not among neighbours"
    shares = [numbers(task().get_dataset(None, "train", use_cached=True, seed=1, shard_info=ShardInfo(i, 4))) for i in range(4)]
    assert [len(share) for share in shares] == [75] * 4 and sorted(itertools.chain(*shares)) == list(range(COUNT))
    assert [share[0] for share in shares] == first[:4], "four hosts read the order of one"
    plain = next(iter(task().get_dataset({"inputs": 2, "targets": 1}, "train", use_cached=True, shuffle=False).skip(9)))
    assert plain["inputs"].tolist() == [2, 3] and len(plain["targets"]) == 1 and plain["text"] == b"t9"
    assert task().get_cached_stats("train")["examples"] == COUNT and mixing_rate_num_examples(task()) == COUNT
    with pytest.raises(ValueError, match="Stats do not exist for 'validation' split"):
        task().get_cached_stats("validation")


def rows(steps, pack, converter=feature_converters.EncDecFeatureConverter, **arguments):
    return getting.get_dataset(task(*steps), LENGTHS, converter(pack=pack), use_cached=True, shuffle=True, seed=3, **arguments)


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("steps", [(), (longer,)], ids=["blocks", "examples"])
def test_blocks_and_examples_give_the_same_rows_and_states(pack, steps, monkeypatch):
    found = [{name: value.tolist() for name, value in row.items()} for row in rows(steps, pack, num_epochs=2)]
    batches = [batch["decoder_target_tokens"].tolist() for batch in rows(steps, pack, num_epochs=2, batch_size=16)]
    assert batches == [[row["decoder_target_tokens"] for row in found[start : start + 16]] for start in range(0, len(found) - 15, 16)]
    walk = iter(rows(steps, pack, num_epochs=2))
    assert pack or len(found) == 2 * COUNT
    states = []
    for place in range(0, len(found), 41):
        states.append((place, json.dumps(walk.get_state())))
        for _ in range(41):
            next(walk, None)
    monkeypatch.setattr("tokenreel.tasks.stream_nodes._IndexedCursor.reads_blocks", False)
    one_by_one = rows(steps, pack, num_epochs=2)
    assert [{name: value.tolist() for name, value in row.items()} for row in one_by_one] == found
    for place, state in states:
        other = iter(one_by_one)
        other.set_state(json.loads(state))
        assert [row["decoder_target_tokens"].tolist() for row in other] == [row["decoder_target_tokens"] for row in found[place:]]


DEALT = [{"inputs": np.full(n % 7 + 1, n + 2, np.int32), "targets": np.full(n % 3 + 1, n + 2, np.int32)} for n in range(151)]


def documents(dataset, pack):
    """The number of each example in rows of `LENGTHS`, in their order; inputs and targets of each must lie in one segment of their row."""
    found = []
    for row in dataset:
        ends = row["decoder_segment_ids" if pack else "decoder_loss_weights"].max() + 1
        for segment in range(1, ends):
            sides = [
                row[tokens][row[f"{side}_segment_ids"] == segment] if pack else row[tokens][row[tokens] > 0]
                for side, tokens in (("encoder", "encoder_input_tokens"), ("decoder", "decoder_target_tokens"))
            ]
            (number,) = {*np.unique(sides[0]).tolist(), *np.unique(sides[1]).tolist()}
            assert [len(side) for side in sides] == [min(8, (number - 2) % 7 + 1), (number - 2) % 3 + 1]
            found.append(number - 2)
    return found


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize(("use_cached", "shuffle"), [(True, True), (True, False), (False, False), (False, True)])
def test_two_hosts_draw_together_the_sequence_of_one(directory, use_cached, shuffle, pack):
    write_cache(directory / "dealt", {"train": [DEALT[:60], DEALT[60:]]})
    source = FunctionDataSource(lambda split, shuffle_files: DEALT, ["train"])
    dealt = Task("dealt", source, FEATURES, [CacheDatasetPlaceholder()], shuffle_buffer_size=40)

    def drawn(shard_info=None):
        converter = feature_converters.EncDecFeatureConverter(pack=pack)
        arguments = {"use_cached": use_cached, "shuffle": shuffle, "seed": 5, "num_epochs": 2, "shard_info": shard_info}
        return documents(getting.get_dataset(dealt, LENGTHS, converter, **arguments), pack)

    whole, shares = drawn(), [drawn(ShardInfo(host, 2)) for host in (0, 1)]
    epochs = [whole[:151], whole[151:]]
    if use_cached or not shuffle:
        assert shares == [[*epochs[0][host::2], *epochs[1][host::2]] for host in (0, 1)], "they deal each epoch out in turns"
        assert [sorted(epoch) for epoch in epochs] == [list(range(151))] * 2 and (epochs[0] != epochs[1]) == shuffle
    else:  # each shuffles its own share
        assert sorted(itertools.chain(*shares)) == sorted(whole) == sorted([*range(151)] * 2)
        assert {n % 2 for n in shares[0]} == {0} and {n % 2 for n in shares[1]} == {1}


@pytest.mark.parametrize("pack", [False, True])
def test_a_state_is_restored_without_reading_what_went_before(pack, monkeypatch):
    walk = iter(rows((), pack, num_epochs=None))
    for _ in range(20 * COUNT):
        next(walk)
    state, expected = walk.get_state(), [next(walk)["decoder_target_tokens"].tolist() for _ in range(5)]
    other = iter(rows((), pack, num_epochs=None))
    read = []
    take = caching.CachedSplit.take
    monkeypatch.setattr(caching.CachedSplit, "take", lambda self, indices: read.append(len(indices)) or take(self, indices))
    other.set_state(state)
    assert [next(other)["decoder_target_tokens"].tolist() for _ in range(5)] == expected
    assert 0 < sum(read) < 4 * COUNT, "two blocks at most, of twenty epochs"


def test_batches_straight_from_the_cache():
    dataset = task().get_dataset({"inputs": 2, "targets": 1}, "train", use_cached=True, shuffle=False).skip(2)
    assert [len(batch["n"]) for batch in dataset.map(only_n).batch(100)] == [100, 100, 98]
    check_states(dataset.map(only_n).batch(100), 3)
    even = task().get_dataset({"inputs": 0, "targets": 0}, "train", use_cached=True, shuffle=False).batch(128)
    assert [batch["n"][0] for batch in even] == [0, 128, 256] and next(iter(even))["text"][5] == b"t5"


def only_n(example):
    return {"n": example["n"]}


def test_directories_that_seqio_wrote(tmp_path):
    told = {"inputs": ("int32", [None]), "targets": ("int32", [None]), "n": ("int32", []), "text": ("string", [])}
    write_seqio(tmp_path / "theirs", "train", [ROWS[:7], ROWS[7:20]], told)
    found = list(task(name="theirs").get_dataset(None, "train", use_cached=True, shuffle=False))
    assert [int(row["n"]) for row in found] == list(range(20)) and found[9]["inputs"].tolist() == ROWS[9]["inputs"].tolist()
    both = Mixture("m", [task(name="theirs"), task()], default_rate=mixing_rate_num_examples)
    assert [int(both.get_rate(one)) for one in both.tasks] == [COUNT, 20]
    mixed = both.get_dataset(None, "train", use_cached=True, num_epochs=1, passthrough_features=["n"])
    assert sorted(numbers(mixed)) == sorted([*range(COUNT), *range(20)])


def test_many_examples_at_once_are_those_that_come_one_by_one(tmp_path):
    lacking = [
        {name: value for name, value in row.items() if (number + len(name)) % 3 or name == "inputs"} for number, row in enumerate(ROWS[:40])
    ]
    write_cache(tmp_path / "lacking", {"train": [lacking[:9], lacking[9:]]})
    cached = caching.open_cached(str(tmp_path / "lacking"), "train")
    order = [39, 3, 3, *range(40)]
    for found, number in zip(cached.examples(order), order, strict=True):
        one = cached[number]
        assert sorted(found) == sorted(one) == sorted(lacking[number])
        for name, value in one.items():
            np.testing.assert_array_equal(found[name], value)
            assert type(found[name]) is type(value) and getattr(found[name], "dtype", None) == getattr(value, "dtype", None)
    with pytest.raises(IndexError):
        cached.examples([40])
