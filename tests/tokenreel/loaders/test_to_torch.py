import functools
import json
import operator
import pickle

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.loaders import load, to_torch

pytestmark = pytest.mark.torch
COUNT, LENGTH = 60, 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": random_examples(COUNT, LENGTH)}, per_shard=16)
    return load(path)


def ids(loader):
    return [batch["example_id"].tolist() for batch in loader]


def loader_of(data, workers, **options):
    """A DataLoader whose workers are spawned: this process has had other frameworks' threads, which a fork does not survive."""
    import torch

    return torch.utils.data.DataLoader(data, num_workers=workers, multiprocessing_context="spawn" if workers else None, **options)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_order_of_the_run_for_any_number_of_workers(dataset, workers):
    import torch

    expected = list(dataset.batches(8, seed=4, epochs=2, drop_remainder=False))
    batches = to_torch.TorchBatches(dataset.batches(8, seed=4, epochs=2, drop_remainder=False))
    found = list(loader_of(batches, workers, batch_size=None))
    assert len(found) == len(expected) == 15
    for batch, other in zip(expected, found, strict=True):
        for name, values in batch.items():
            assert isinstance(other[name], torch.Tensor) and np.array_equal(other[name].numpy(), values)
    assert found[0]["tokens"].dtype == torch.int32


def test_states_resume_at_every_step(dataset):
    def make():
        return to_torch.TorchBatches(dataset.batches(8, seed=4, epochs=1))

    expected = ids(make())
    running = make()
    iterator = iter(running)
    for step in range(len(expected) + 1):
        state = json.loads(json.dumps(running.state_dict()))
        other = make()
        other.load_state_dict(state)
        assert ids(loader_of(other, 0, batch_size=None)) == expected[step:]
        ahead = make()
        ahead.load_state_dict(make().state_dict(steps=step))
        assert ids(loader_of(ahead, 0, batch_size=None)) == expected[step:]
        if step < len(expected):
            assert next(iterator)["example_id"].tolist() == expected[step]


def test_map_style(dataset):
    import torch

    examples = to_torch.TorchExamples(dataset, ["tokens", "example_id"])
    assert len(examples) == COUNT and examples[3]["tokens"].shape == (LENGTH,)
    loader = loader_of(examples, 0, batch_size=8, shuffle=True)
    seen = torch.cat([batch["example_id"] for batch in loader])
    assert sorted(seen.tolist()) == list(range(COUNT))
    plain = torch.utils.data.DataLoader(dataset, batch_size=8)  # the dataset itself is map-style too
    assert functools.reduce(operator.iadd, ids(plain), []) == list(range(COUNT))


def test_they_pickle_by_name(dataset):
    examples = pickle.loads(pickle.dumps(to_torch.TorchExamples(dataset)))
    assert examples[5]["example_id"] == 5
    assert ids(pickle.loads(pickle.dumps(to_torch.TorchBatches(dataset.batches(8, epochs=1))))) == ids(dataset.batches(8, epochs=1))
    with pytest.raises(AttributeError, match="Nothing"):
        to_torch.Nothing  # noqa: B018
