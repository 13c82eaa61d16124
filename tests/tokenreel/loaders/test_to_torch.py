import functools
import itertools
import json
import operator
import pickle

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders import load, to_torch

pytestmark = pytest.mark.torch
COUNT, LENGTH = 60, 16
WORKERS = [(0, False), (1, False), (1, True), (2, False), (2, True), (3, False)]  # how many, and whether they persist


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": random_examples(COUNT, LENGTH)}, per_shard=16)
    return load(path)


def ids(loader, count=None):
    return [batch["example_id"].tolist() for batch in itertools.islice(loader, count)]


def options(workers, persistent):
    return {"num_workers": workers, "persistent_workers": persistent}


def order(dataset, count):
    """The ids in the first batches of the run that the tests below make."""
    return ids(dataset.batches(8, seed=4, prefetch=0), count)


def test_batches_are_those_of_the_run(dataset):
    import torch

    expected = list(dataset.batches(8, seed=4, epochs=2, drop_remainder=False))
    loader = to_torch.TorchBatches(dataset.batches(8, seed=4, epochs=2, drop_remainder=False))
    found = list(loader)
    assert isinstance(loader, torch.utils.data.DataLoader) and len(found) == len(expected) == len(loader) == 15
    for batch, other in zip(expected, found, strict=True):
        assert batch.keys() == other.keys()
        for name, values in batch.items():
            assert isinstance(other[name], torch.Tensor) and np.array_equal(other[name].numpy(), values)
    assert found[0]["tokens"].dtype == torch.int32


def passes(dataset, settings):
    """What comes out of five loaders: passes over a run that ends; over one that ends in short batches; partial ones over both kinds."""
    found = {}
    for name, run, counts in (
        ("finite", {"epochs": 1}, [None] * 3),
        ("short", {"epochs": 2, "drop_remainder": False}, [None] * 2),
        ("begun", {"epochs": 1}, [3, 0, 2]),
        ("endless", {}, [5, 0, 1, 5, 9]),
    ):
        batches = dataset.batches(8, seed=4, **run)
        loader = to_torch.TorchBatches(batches, **settings)
        found[name] = [(ids(loader, count), batches.get_state()["cursor"]) for count in counts]
    return found


@pytest.mark.parametrize("workers", WORKERS)
def test_passes_are_the_same_for_any_number_of_workers(dataset, elsewhere, workers):
    found = elsewhere(passes, dataset, options(*workers))
    expected = order(dataset, 20)
    assert found["finite"] == [(expected[:7], 56)] * 3
    whole = ids(dataset.batches(8, seed=4, epochs=2, drop_remainder=False))
    assert found["short"] == [(whole, 120)] * 2
    assert found["begun"] == [(expected[:3], 24), ([], 24), (expected[:2], 16)]
    assert [cursor for _, cursor in found["endless"]] == [40, 40, 48, 88, 160]
    assert functools.reduce(operator.iadd, [part for part, _ in found["endless"]]) == expected


def resumed(dataset, settings, others):
    """[steps, what comes after a state, and in the pass behind that]: states of loaders with `settings`, resumed with `others`."""
    found = []
    for epochs, step in ((1, 4), (1, 7), (None, 0), (None, 5)):
        batches = dataset.batches(8, seed=4, epochs=epochs, features=["example_id", "cursor"])
        ahead = iter(to_torch.TorchBatches(batches, **settings))
        fetched = list(itertools.islice(ahead, 7))  # the trainer fetches ahead of what it trains on
        state = batches.state_after(fetched[step - 1]) if step else dataset.batches(8, seed=4, epochs=epochs).get_state()
        again = dataset.batches(8, seed=4, epochs=epochs)
        loader = to_torch.TorchBatches(again, **others)
        again.set_state(json.loads(json.dumps(state)))
        found.append((epochs, step, ids(loader, 5), ids(loader, 8)))
    return found


@pytest.mark.parametrize(("workers", "others"), zip(WORKERS, WORKERS[2:] + WORKERS[:2], strict=True))
def test_a_trainer_that_fetches_ahead_resumes_by_the_cursor_of_its_batch(dataset, elsewhere, workers, others):
    expected = order(dataset, 30)
    for epochs, step, first, second in elsewhere(resumed, dataset, options(*workers), options(*others)):
        end = 7 if epochs else 30
        assert first == expected[step : min(step + 5, end)]
        assert second == (expected[:7] if epochs else expected[step + 5 : step + 13])


def test_states_resume_at_every_step(dataset):
    expected = ids(dataset.batches(8, seed=4, epochs=1))
    running = dataset.batches(8, seed=4, epochs=1)
    iterator = iter(to_torch.TorchBatches(running))
    for step in range(len(expected) + 1):
        other = dataset.batches(8, seed=4, epochs=1)
        other.set_state(json.loads(json.dumps(running.get_state())))
        loader = to_torch.TorchBatches(other)
        assert ids(loader) == expected[step:]
        assert ids(loader) == expected  # a pass that had nothing left is one as well
        if step < len(expected):
            assert next(iterator)["example_id"].tolist() == expected[step]


def test_each_rank_gets_its_rows(dataset):
    whole = order(dataset, 7)
    parts = [ids(to_torch.TorchBatches(dataset.batches(8, seed=4, epochs=1, hosts=2, host=host))) for host in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole


class Renamed:
    """A function for `collate_fn` that is found again in a spawned process."""

    def __call__(self, batch):
        return {"input_ids": batch["tokens"].long()}


def test_spawned_workers_and_a_function_on_each_batch(dataset):
    import torch

    loader = to_torch.TorchBatches(dataset.batches(8, epochs=1), collate_fn=Renamed(), num_workers=2, multiprocessing_context="spawn")
    expected = [batch["tokens"].tolist() for batch in dataset.batches(8, epochs=1)]
    found = [batch["input_ids"] for batch in loader]
    assert [values.tolist() for values in found] == expected and found[0].dtype == torch.int64


def test_what_would_change_the_order_or_the_rows_is_refused(dataset):
    import torch

    batches = dataset.batches(8, epochs=1)
    for wrong in ({"sampler": [0]}, {"shuffle": True}, {"batch_size": 4}, {"dataset": [1]}):
        with pytest.raises(ConfigError, match=r"was given to the batches of a run.*hosts=.*use_distributed_sampler=False"):
            to_torch.TorchBatches(batches, **wrong)
    with pytest.raises(ConfigError, match="in_order=False"):
        to_torch.TorchBatches(batches, in_order=False)
    loader = to_torch.TorchBatches(batches)
    with pytest.raises(ConfigError, match="TorchBatches is a DataLoader itself"):
        list(torch.utils.data.DataLoader(loader, batch_size=None))
    with pytest.raises(ConfigError, match="taken apart"):  # as accelerate would for each process
        list(torch.utils.data.DataLoader(loader.dataset, sampler=loader.sampler, batch_size=None))
    with pytest.raises(TypeError, match="a run without end has no length"):
        len(to_torch.TorchBatches(dataset.batches(8)))


def test_map_style(dataset):
    import torch

    examples = to_torch.TorchExamples(dataset, ["tokens", "example_id"])
    assert len(examples) == COUNT and examples[3]["tokens"].shape == (LENGTH,)
    loader = torch.utils.data.DataLoader(examples, batch_size=8, shuffle=True)
    seen = torch.cat([batch["example_id"] for batch in loader])
    assert sorted(seen.tolist()) == list(range(COUNT))
    plain = torch.utils.data.DataLoader(dataset, batch_size=8)  # the dataset itself is map-style too
    assert functools.reduce(operator.iadd, ids(plain), []) == list(range(COUNT))


def test_they_pickle_by_name(dataset):
    examples = pickle.loads(pickle.dumps(to_torch.TorchExamples(dataset)))
    assert examples[5]["example_id"] == 5
    with pytest.raises(AttributeError, match="Nothing"):
        to_torch.Nothing  # noqa: B018


def stateful(dataset, settings):
    """[epochs, steps, what comes after torchdata's state, and in the passes behind that]."""
    found = []
    for epochs, step in ((1, 0), (1, 7), (None, 1), (None, 4)):
        loader = to_torch.StatefulTorchBatches(dataset.batches(8, seed=4, epochs=epochs), **settings)
        running = iter(loader)
        for _ in range(step):
            next(running)
        state = pickle.loads(pickle.dumps(loader.state_dict()))
        other = to_torch.StatefulTorchBatches(dataset.batches(8, seed=4, epochs=epochs), **settings)
        other.load_state_dict(state)
        found.append((epochs, step, ids(other, 5), ids(other, 8)))
    return found


@pytest.mark.parametrize(("workers", "every"), [(workers, 1) for workers in WORKERS] + [((0, False), 3), ((2, True), 3)])
def test_states_of_torchdata_resume_at_the_batch_handed_out_last(dataset, elsewhere, workers, every):
    expected = order(dataset, 30)
    for epochs, step, first, second in elsewhere(stateful, dataset, options(*workers) | {"snapshot_every_n_steps": every}):
        end = 7 if epochs else 30
        assert first == expected[step : min(step + 5, end)], (epochs, step)
        assert second == (expected[:7] if epochs else expected[step + 5 : step + 13])


def test_a_state_of_torchdata_at_the_end_of_a_pass_begins_the_next(dataset):
    loader = to_torch.StatefulTorchBatches(dataset.batches(8, seed=4, epochs=1))
    expected = ids(loader)
    other = to_torch.StatefulTorchBatches(dataset.batches(8, seed=4, epochs=1))
    other.load_state_dict(loader.state_dict())
    assert len(other) == 7 and ids(other) == expected == order(dataset, 7)


def test_asking_for_a_state_early_does_not_fix_where_the_first_pass_begins(dataset):
    batches = dataset.batches(8, seed=4)
    loader = to_torch.StatefulTorchBatches(batches)
    nothing = loader.state_dict()
    batches.seek(16)
    assert ids(loader, 2) == order(dataset, 4)[2:]
    loader.load_state_dict(nothing)
    loader.state_dict()
    assert ids(loader, 2) == order(dataset, 2)


def test_a_state_of_torchdata_from_another_run_is_refused(dataset):
    state = to_torch.StatefulTorchBatches(dataset.batches(8, seed=4)).state_dict()
    other = to_torch.StatefulTorchBatches(dataset.batches(8, seed=5))
    other.load_state_dict(state)
    with pytest.raises(ManifestError, match="saved by a run with seed 4, this one has 5"):
        next(iter(other))


def test_torchdata_refuses_another_number_of_workers_and_the_cursor_does_not(dataset):
    batches = dataset.batches(8, seed=4, features=["example_id", "cursor"])
    loader = to_torch.StatefulTorchBatches(batches)
    fetched = list(itertools.islice(loader, 3))
    other = to_torch.StatefulTorchBatches(dataset.batches(8, seed=4), num_workers=1, multiprocessing_context="spawn")
    other.load_state_dict(loader.state_dict())
    with pytest.raises(AssertionError):
        iter(other)
    again = dataset.batches(8, seed=4)
    again.set_state(batches.state_after(fetched[1]))
    resumed = to_torch.StatefulTorchBatches(again, num_workers=1, multiprocessing_context="spawn")
    assert ids(resumed, 3) == order(dataset, 5)[2:]
