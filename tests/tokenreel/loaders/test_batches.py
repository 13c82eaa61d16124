import dataclasses
import functools
import gc
import itertools
import json
import operator
import pickle
import threading
import time
import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders import Lanes, Mixture, load
from tokenreel.loaders.run_options import DatasetKeywords, MixtureKeywords, RunOptions

COUNT, LENGTH = 103, 16
ORDERS = [True, False, Lanes(lanes=4, mix=2, block=5)]


@pytest.fixture(scope="module")
def arrays():
    return random_examples(COUNT, LENGTH)


@pytest.fixture(scope="module")
def dataset(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": arrays}, per_shard=16)
    return load(path)


def ids(batches, count=None):
    return [batch["example_id"].tolist() for batch in itertools.islice(batches, count)]


@pytest.mark.parametrize("shuffle", ORDERS)
@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_epoch_holds_every_example_once(arrays, dataset, shuffle, prefetch):
    batches = dataset.batches(10, seed=3, shuffle=shuffle, epochs=2, drop_remainder=False, prefetch=prefetch)
    found = list(batches)
    assert batches.num_batches == len(found) == 21 and len(found[-1]["tokens"]) == 6
    seen = np.concatenate([batch["example_id"] for batch in found])
    for epoch in np.split(seen, 2):
        assert np.array_equal(np.sort(epoch), np.arange(COUNT))
    assert np.array_equal(np.concatenate([batch["tokens"] for batch in found]), arrays["tokens"][seen])
    assert len(list(dataset.batches(10, epochs=2, prefetch=prefetch))) == 20
    with pytest.raises(StopIteration):
        next(batches)


@pytest.mark.parametrize("shuffle", ORDERS)
def test_resuming_at_every_step_equals_going_on(dataset, shuffle):
    options = {"seed": 5, "shuffle": shuffle, "epochs": 2, "skip": [(13, 20), (100, 117)], "drop_remainder": False}
    undisturbed = ids(dataset.batches(9, **options, prefetch=0))
    running = dataset.batches(9, **options)
    for step in range(len(undisturbed) + 1):
        state = json.loads(json.dumps(running.get_state()))
        other = dataset.batches(9, **options, prefetch=step % 3)
        other.set_state(state)
        assert ids(other) == undisturbed[step:]
        if step < len(undisturbed):
            assert next(running)["example_id"].tolist() == undisturbed[step]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 4)), min_size=1, max_size=12), st.integers(0, 3))
def test_any_sequence_of_hosts_and_batch_sizes_gives_one_stream(dataset, legs, seed):
    expected = dataset.plan(seed=seed).locate(np.arange(2000)).example
    cursor, state = 0, None
    for hosts, batch_size, steps in legs:
        iterators = [dataset.batches(batch_size, seed=seed, hosts=hosts, host=host, prefetch=0) for host in range(hosts)]
        for iterator in iterators:
            if state is not None:
                iterator.set_state(state)
        for _ in range(steps):
            got = np.concatenate([next(iterator)["example_id"] for iterator in iterators])
            assert np.array_equal(got, expected[cursor : cursor + batch_size])
            cursor += batch_size
        state = iterators[-1].get_state()
        assert state["cursor"] == cursor


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_lanes_give_hosts_whole_blocks_and_all_the_same_batches(dataset, hosts):
    lanes = Lanes(lanes=4, mix=2, block=5)
    whole = ids(dataset.batches(8, shuffle=lanes, epochs=1, prefetch=0))
    parts = [ids(dataset.batches(8, shuffle=lanes, epochs=1, hosts=hosts, host=host, prefetch=0)) for host in range(hosts)]
    assert [functools.reduce(operator.iadd, rows, []) for rows in zip(*parts, strict=True)] == whole
    dealt = 103 // 5 // 4 * 4 * 5 // 8  # batches before the blocks that are left over
    blocks = [{example // 5 for batch in part[:dealt] for example in batch} for part in parts]
    assert sum(map(len, blocks)) == len(set().union(*blocks))


def test_hosts_of_a_short_last_batch_take_the_same_steps(dataset):
    parts = [list(dataset.batches(10, epochs=1, hosts=4, host=host, drop_remainder=False, prefetch=0)) for host in range(4)]
    assert [len(part) for part in parts] == [11] * 4
    assert sum(len(part[-1]["example_id"]) for part in parts) == 3
    assert parts[0][-1]["tokens"].shape == (0, LENGTH)


@pytest.mark.parametrize("hosts", [1, 4])
@pytest.mark.parametrize("prefetch", [0, 2])
def test_the_last_batch_filled_up(dataset, hosts, prefetch):
    features = ["inputs", "example_id", "loss_weights", "document_starts"]
    plain = list(dataset.batches(20, epochs=1, features=features, drop_remainder=False))
    options = {"epochs": 1, "features": features, "pad_remainder": True, "prefetch": prefetch}
    parts = [list(dataset.batches(20, **options, hosts=hosts, host=host)) for host in range(hosts)]
    for step, batch in enumerate(plain):
        rows = [part[step] for part in parts]
        assert all(len(part["inputs"]) == 20 // hosts for part in rows)
        whole = {name: np.concatenate([part[name] for part in rows]) for name in features}
        real = len(batch["inputs"])
        assert all(np.array_equal(whole[name][:real], values) for name, values in batch.items())
        assert (whole["example_id"][real:] == -1).all() and not whole["loss_weights"][real:].any() and not whole["inputs"][real:].any()
    running = dataset.batches(20, **options)
    assert sum(1 for _ in running) == 6 == running.num_batches and running.cursor == COUNT


def test_a_fork_starts_a_thread_of_its_own(dataset):
    batches = dataset.batches(8, seed=1)
    expected = ids(dataset.batches(8, seed=1), 5)
    ids(batches, 2)
    producer = batches._producers[0]
    producer._process = -1  # as it is in a forked child
    assert ids(batches, 3) == expected[2:] and batches._producers[0] is not producer
    producer.stop()


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_read_ahead_asks_for_what_comes_and_only_while_reading_waits(dataset, backend, monkeypatch):
    from tokenreel.loaders import prefetch as module

    opened = load(dataset.path, backend=backend)
    asked, waits = [], [0]
    real = opened.records.will_need
    monkeypatch.setattr(opened.records, "will_need", lambda examples: (asked.append(examples.tolist()), real(examples)))
    monkeypatch.setattr(module, "_waits", lambda: waits[0])
    monkeypatch.setattr(module, "_PROBE_EVERY", 20)
    monkeypatch.setattr(module, "_LOOK_EVERY", 4)
    expected = ids(dataset.batches(8, seed=1), 60)
    batches = opened.batches(8, seed=1, prefetch=0)
    assert ids(batches, 6) == expected[:6] and asked == []  # warm: nothing is asked for
    waits[0] += 5
    assert ids(batches, 1) == expected[6:7] and asked == []
    assert ids(batches, 13) == expected[7:20]  # every fourth batch it is looked at, so before the first of these
    assert asked == expected[8:24]  # the four batches ahead, each once
    asked.clear()
    assert ids(batches, 20) == expected[20:40] and asked == []  # it was tried without, and nothing waited
    waits[0] += 1
    ids(batches, 4)
    first = expected.index(asked[0])
    assert first > 40 and asked == expected[first : first + len(asked)]  # again, from where it was noticed


def test_given_rows(dataset):
    whole = ids(dataset.batches(12, epochs=1, prefetch=0))
    some = ids(dataset.batches(12, epochs=1, rows=[7, 0, 11], prefetch=0))
    assert some == [[batch[7], batch[0], batch[11]] for batch in whole]
    assert dataset.batches(12, rows=[2], prefetch=0).batch_at(24)["example_id"].tolist() == [whole[2][2]]
    assert dataset.batches(12).batch_at(24, rows=range(12))["example_id"].tolist() == whole[2]
    nothing = next(dataset.batches(12, rows=[]))
    assert nothing["tokens"].shape == (0, LENGTH)


def test_batch_k_does_not_depend_on_what_came_before(dataset):
    batches = dataset.batches(7, seed=1)
    sequence = ids(batches, 40)
    order = np.random.default_rng(0).permutation(40).tolist()
    assert [batches.batch_at(7 * k)["example_id"].tolist() for k in order] == [sequence[k] for k in order]


def test_a_state_of_another_run_is_refused(dataset, tmp_path):
    running = dataset.batches(8, seed=1)
    ids(running, 3)
    state = running.get_state()
    assert {"format", "order_version", "fingerprint", "seed", "mixture", "skip", "cursor"} == set(state)
    before = dict(state)
    ids(running, 1)
    assert {name for name, value in running.get_state().items() if value != before[name]} == {"cursor"}
    write_dataset(tmp_path / "other", {"train": random_examples(COUNT, LENGTH, seed=9)}, per_shard=16)
    for other, what in (
        (load(tmp_path / "other").batches(8, seed=1), "fingerprint"),
        (dataset.batches(8, seed=2), "seed"),
        (dataset.batches(8, seed=1, shuffle=False), "mixture"),
        (dataset.batches(8, seed=1, skip=[(40, 50)]), "skip"),
    ):
        with pytest.raises(ManifestError, match=f"run with {what}"):
            other.set_state(state)
        other.set_state(state, allow_changes=True)
        assert other.cursor == 24
    with pytest.raises(ManifestError, match="order_version"):
        dataset.batches(8, seed=1).set_state(state | {"order_version": "order-0"})
    with pytest.raises(ManifestError, match="of format None"):
        dataset.batches(8, seed=1).set_state({})
    with pytest.raises(ManifestError, match="stands at sample 24, this run ends at 20"):
        dataset.batches(8, seed=1, epochs=1, skip=[(20, 103)]).set_state(state | {"skip": [[20, 103]]})


def test_skipping_what_lies_ahead_of_a_checkpoint(dataset):
    plain = functools.reduce(operator.iadd, ids(dataset.batches(10, seed=1, prefetch=0), 30), [])
    running = dataset.batches(10, seed=1)
    ids(running, 5)
    skipping = dataset.batches(10, seed=1, skip=[(70, 95)])
    skipping.set_state(running.get_state(), allow_changes=True)
    assert functools.reduce(operator.iadd, ids(skipping, 10), []) == plain[50:70] + plain[95:175]
    again = dataset.batches(10, seed=1, skip=[(20, 30), (70, 95)])  # a range before the checkpoint moves the numbers, not the place
    again.set_state(running.get_state(), allow_changes=True)
    assert again.cursor == 40 and functools.reduce(operator.iadd, ids(again, 1), []) == plain[50:60]


def test_iterators_pickle_with_their_place(dataset):
    batches = dataset.batches(8, seed=1)
    expected = ids(dataset.batches(8, seed=1), 10)
    ids(batches, 4)
    assert ids(pickle.loads(pickle.dumps(batches)), 6) == expected[4:]


def test_the_prefetch_thread_ends_with_its_iterator(dataset):
    before = set(threading.enumerate())  # other tests' iterators may still be alive

    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "tokenreel-prefetch" and thread not in before]

    batches = dataset.batches(8)
    next(batches)
    assert len(threads()) == 1
    batches.seek(0)
    next(batches)
    del batches
    gc.collect()
    deadline = time.monotonic() + 5
    while threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threads() == []


def test_an_error_in_the_thread_reaches_the_consumer(dataset):
    class Failing:
        calls = 0

        def apply(self, arrays, example_ids, *, seed, variant, epoch):
            self.calls += 1
            if self.calls == 3:
                raise ValueError("the third")
            return arrays

    batches = dataset.batches(8, objective=Failing())
    expected = ids(dataset.batches(8), 4)
    assert ids(batches, 2) == expected[:2]
    with pytest.raises(ValueError, match="the third"):
        next(batches)
    assert ids(batches, 2) == expected[2:]  # nothing was lost


def test_objectives_are_computed_on_the_fly_with_the_epoch(arrays, dataset):
    class Recording:
        def apply(self, arrays, example_ids, *, seed, variant, epoch):
            assert np.array_equal(arrays["example_id"], example_ids)
            return {
                "tokens": arrays["tokens"] + 1,
                "key": example_ids * 10 + epoch,
                "seed": np.full(len(example_ids), seed * 100 + variant),
            }

    batches = dataset.batches(25, seed=4, epochs=3, objective=Recording(), variant=2, drop_remainder=False)
    located = dataset.plan(seed=4).locate(np.arange(3 * COUNT))
    found = list(batches)
    assert np.array_equal(np.concatenate([batch["key"] for batch in found]), located.example * 10 + located.epoch)
    assert np.array_equal(np.concatenate([batch["tokens"] for batch in found]), arrays["tokens"][located.example] + 1)
    assert np.array_equal(np.concatenate([batch["example_id"] for batch in found]), located.example)
    assert (found[0]["seed"] == 402).all()
    only = next(dataset.batches(5, objective=Recording(), features=["key", "targets"]))
    assert list(only) == ["key", "targets"]
    with pytest.raises(ConfigError, match="no feature 'mask': the objective makes tokens, key, seed, example_id"):
        next(dataset.batches(5, objective=Recording(), features=["mask"], prefetch=0))


def test_options_are_checked(dataset):
    for options, message in (
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 4, "host": 2, "hosts": 2}, "host must lie between 0 and hosts - 1 = 1, got 2"),
        ({"batch_size": 4, "rows": [4]}, "rows must lie between 0 and batch_size - 1 = 3"),
        ({"batch_size": 4, "epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 4, "prefetch": -1}, "prefetch must be at least 0"),
        ({"batch_size": 4, "features": ["nope"]}, "no feature 'nope'"),
    ):
        with pytest.raises(ConfigError, match=message):
            dataset.batches(**options)


def test_the_keywords_for_type_checkers_are_the_options(dataset):
    options = typing.get_type_hints(RunOptions)
    assert typing.get_type_hints(DatasetKeywords) | {"batch_size": int} == options
    assert set(typing.get_type_hints(MixtureKeywords)) == set(options) - {"batch_size", "epochs"}
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        dataset.batches(4, epoch=1)
    with pytest.raises(TypeError, match="take no epochs: give them to the mixture"):
        Mixture({"a": dataset}).batches(4, epochs=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunOptions(batch_size=4).batch_size = 5


def test_a_batch_read_alone_is_planned_with_few_others_and_a_run_in_bulk(dataset, monkeypatch):
    batches = dataset.batches(8, seed=1, prefetch=0)
    planned, locate = [], batches.plan.locate
    monkeypatch.setattr(batches.plan, "locate", lambda samples: planned.append(len(samples)) or locate(samples))
    found = ids(batches, (256 + 1024 + 4096) // 8 + 1)
    assert planned == [256, 1024, 4096, 4096]
    planned.clear()
    assert [batches.batch_at(8 * k)["example_id"].tolist() for k in (300, 5)] == [found[300], found[5]]
    assert planned == [256]  # the other lies in a chunk that is still there
