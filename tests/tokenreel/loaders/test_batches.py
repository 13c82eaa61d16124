import functools
import json
import operator
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import verification_datasets
from tests.datasets import random_examples, write_dataset
from tests.tokenreel.loaders.conftest import RUN_COUNT as COUNT
from tests.tokenreel.loaders.conftest import RUN_LENGTH as LENGTH
from tests.tokenreel.loaders.conftest import ids
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format.schema import Feature
from tokenreel.loaders import Lanes, Mixture, load

ORDERS = [True, False, Lanes(lanes=4, mix=2, block=5)]


@pytest.fixture(scope="module")
def arrays():
    return random_examples(COUNT, LENGTH)


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
@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 4)).filter(lambda leg: leg[0] <= leg[1]), min_size=1, max_size=12
    ),
    st.integers(0, 3),
)
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


@pytest.mark.skipif(sys.platform != "linux", reason="the threshold is glibc's")
def test_batches_recycle_memory(tmp_path):
    """In a fresh process, as a trainer is: a batch of this size took 400 page faults, which cost as much as its values."""
    verification_datasets.make(tmp_path / "dataset", documents={"train": 200}, seq_len=2048, provenance=False)
    program = (
        "import resource, sys, tokenreel\n"
        "features = ['inputs', 'targets', 'loss_weights', 'segment_ids', 'positions']\n"
        "batches = tokenreel.load(sys.argv[1]).batches(32, seed=0, prefetch=0, features=features)\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): next(batches)\n"
        "before = faults()\n"
        "for _ in range(50): next(batches)\n"
        "print((faults() - before) / 50)\n"
    )
    result = subprocess.run([sys.executable, "-c", program, tmp_path / "dataset"], capture_output=True, text=True, check=True)
    assert float(result.stdout) < 60


class Lengths:
    """An objective that makes one field."""

    def apply(self, arrays, example_ids, *, seed, variant, epoch):
        return {"length": np.full(len(example_ids), arrays["tokens"].shape[1])}


def kinds_of_runs(dataset):
    """Runs of each kind that ends, whose batches carry their ids and their cursor."""
    names = ["example_id", "cursor"]
    mixture = Mixture({"a": dataset, "b": dataset}, stop="all_used")
    return {
        "dataset": dataset.batches(10, epochs=1, features=names, prefetch=2),
        "lanes": dataset.batches(10, epochs=1, features=names, shuffle=Lanes(lanes=4, mix=2, block=5), skip=[(3, 9)], prefetch=0),
        "last": dataset.batches(10, epochs=1, features=["inputs", *names], drop_remainder=False, hosts=2, host=0),
        "padded": dataset.batches(10, epochs=1, features=names, pad_remainder=True, hosts=2, host=1),
        "rows": dataset.batches(10, epochs=1, features=names, rows=[7, 2]),
        "objective": dataset.batches(10, epochs=1, features=["length", *names], objective=Lengths()),
        "mixture": mixture.batches(10, features=names),
    }


def test_each_batch_carries_its_cursor(dataset):
    for kind, batches in kinds_of_runs(dataset).items():
        expected = kinds_of_runs(dataset)[kind]
        for batch in batches:
            first = expected.cursor
            assert set(batch) >= {"example_id", "cursor"} and next(expected)["example_id"].tolist() == batch["example_id"].tolist()
            assert batch["cursor"].dtype == np.int64 and batch["cursor"].shape == batch["example_id"].shape
            assert batch["cursor"].tolist() == [expected.cursor] * len(batch["example_id"]), kind
            again = batches.batch_at(first, rows=[0, 1])
            assert again["cursor"].tolist() == [expected.cursor] * 2
        assert expected.cursor == batches.cursor >= 90
        assert batches.example_batch()["cursor"].tolist() == [10]
    assert "cursor" not in next(dataset.batches(10)) and list(next(dataset.batches(10, features=["cursor"]))) == ["cursor"]


def test_the_state_after_a_batch_does_not_depend_on_what_was_fetched_since(dataset):
    for kind in kinds_of_runs(dataset):
        batches = kinds_of_runs(dataset)[kind]
        fetched = list(batches)
        for step, batch in enumerate(fetched):
            resumed = kinds_of_runs(dataset)[kind]
            resumed.set_state(json.loads(json.dumps(batches.state_after(batch))))
            assert batches.state_after(batch["cursor"]) == batches.state_after(batch) == resumed.get_state()
            assert ids(resumed) == [other["example_id"].tolist() for other in fetched[step + 1 :]], kind


def test_a_batch_without_a_cursor_gives_no_state(dataset, tmp_path):
    batches = dataset.batches(10)
    with pytest.raises(ConfigError, match=r"carries no cursor: make the run with features=\[..., \"cursor\"\]"):
        batches.state_after(next(batches))
    batches = dataset.batches(10, features=["tokens", "cursor"])
    batch = next(batches)
    del batch["cursor"]
    with pytest.raises(ConfigError, match="carries no cursor"):
        batches.state_after(batch)
    nothing = dataset.batches(10, features=["cursor"], rows=[])
    with pytest.raises(ConfigError, match="no row on this host"):
        nothing.state_after(next(nothing))
    examples = random_examples(20, 8) | {"cursor": np.arange(20)}
    write_dataset(tmp_path / "d", {"train": examples}, extra={"cursor": Feature(name="cursor", dtype="int64")})
    with pytest.raises(ConfigError, match="stores a feature 'cursor'"):
        load(tmp_path / "d").batches(4, features=["tokens", "cursor"])


def test_where_a_pass_begins(dataset):
    """What adapters that pass over a run again and again begin with."""
    for epochs, left in ((1, 0), (None, 20)):
        batches = dataset.batches(10, epochs=epochs)
        assert batches.pass_start == 0
        batches.seek(30)
        assert batches.pass_start == 30
        next(batches)
        assert batches.pass_start == (40 if epochs is None else 0)
        batches.mark_delivered(20)
        assert batches.cursor == 20 and batches.pass_start == left
        batches.set_state(batches.get_state())
        assert batches.pass_start == 20 and ids(batches, 1) == [dataset.batches(10, epochs=epochs).batch_at(20)["example_id"].tolist()]
