import functools
import operator

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError
from tokenreel.loaders import load, to_grain

COUNT, LENGTH = 60, 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": random_examples(COUNT, LENGTH)}, per_shard=16)
    return load(path)


def test_examples_as_a_source(dataset):
    import grain

    for source in (dataset, to_grain.ExampleSource(dataset, ["tokens", "example_id", "positions"])):
        pipeline = grain.MapDataset.source(source).shuffle(seed=1).batch(8).to_iter_dataset(grain.ReadOptions(num_threads=0))
        seen = [batch["example_id"].tolist() for batch in pipeline]
        assert sorted(functools.reduce(operator.iadd, seen, [])) == list(range(COUNT))
        several = list(grain.MapDataset.source(source))
        assert [int(example["example_id"]) for example in several] == list(range(COUNT))
    loader = grain.DataLoader(
        data_source=to_grain.ExampleSource(dataset),
        sampler=grain.samplers.IndexSampler(COUNT, shard_options=grain.sharding.NoSharding(), shuffle=False, num_epochs=1),
        worker_count=0,
    )
    assert [int(example["example_id"]) for example in loader] == list(range(COUNT))


def test_batches_as_a_source_keep_the_exact_order_and_resume(dataset):
    import grain

    expected = [batch["example_id"].tolist() for batch in dataset.batches(8, seed=3, epochs=2, drop_remainder=False)]
    source = to_grain.BatchSource(dataset.batches(8, seed=3, epochs=2, drop_remainder=False))
    pipeline = grain.MapDataset.source(source).map(lambda batch: batch["example_id"]).to_iter_dataset()
    iterator = iter(pipeline)
    assert [next(iterator).tolist() for _ in range(5)] == expected[:5]
    state = iterator.get_state()
    again = iter(pipeline)
    again.set_state(state)
    assert [ids.tolist() for ids in again] == expected[5:]
    assert np.array_equal(source[14]["example_id"], expected[14])
    with pytest.raises(IndexError, match="steps 0 to 14"):
        source[15]
    with pytest.raises(ConfigError, match="never ends"):
        to_grain.BatchSource(dataset.batches(8))
    assert dataset.path not in repr(source) and "order-" in repr(source)
