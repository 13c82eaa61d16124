import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError
from tokenreel.loaders import load

COUNT, LENGTH = 64, 128


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": random_examples(COUNT, LENGTH)})
    return load(path)


@pytest.mark.parametrize("name", ["bert", "electra", "roberta"])
def test_on_the_fly_equals_the_objective_applied_to_the_examples(dataset, name):
    objective = dataset.objective(name, mask_id=3)
    plan = dataset.plan(seed=6)
    seen = {}
    for number, batch in zip(range(15), dataset.batches(10, seed=6, objective=objective), strict=False):
        located = plan.locate(np.arange(number * 10, number * 10 + 10))
        for row, (example, epoch) in enumerate(zip(located.example.tolist(), located.epoch.tolist(), strict=True)):
            expected = objective.apply(dataset.take([example]), np.array([example]), seed=6, epoch=epoch)
            for field, values in expected.items():
                assert np.array_equal(batch[field][row], values[0])
            assert batch["tokens"].dtype == np.int32
            seen.setdefault(example, []).append(batch["tokens"][row].tolist())
    twice = [versions for versions in seen.values() if len(versions) > 1]
    assert len(twice) == 64 and sum(versions[0] != versions[1] for versions in twice) > 30  # masked anew in each epoch


def test_lengths_must_fit(dataset):
    corruption = {"first_sentinel_id": 999, "num_sentinels": 100}
    fitting = next(length for length in range(64, LENGTH) if dataset.objective("t5", seq_len=length, **corruption).raw_length() == LENGTH)
    batch = next(dataset.batches(8, objective=dataset.objective("t5", seq_len=fitting, **corruption)))
    assert batch["inputs"].shape == (8, fitting) and batch["targets"].dtype == np.int32
    with pytest.raises(ConfigError, match=r"takes examples of \d+ tokens and those of .* hold 128"):
        dataset.batches(8, objective=dataset.objective("t5", **corruption))
