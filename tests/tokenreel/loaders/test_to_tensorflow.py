import functools
import operator

import numpy as np
import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.errors import ConfigError
from tokenreel.format import schema
from tokenreel.format.manifest import FIXED, INT64_LIST
from tokenreel.loaders import load
from tokenreel.loaders.to_tensorflow import exact, parsed

pytestmark = pytest.mark.tensorflow
COUNT, LENGTH = 50, 13


@pytest.fixture(scope="module")
def arrays():
    return random_examples(COUNT, LENGTH, padded=True) | {"scores": np.random.default_rng(0).random((COUNT, 3), dtype=np.float32)}


def write(path, arrays, record_format):
    extra = {"scores": schema.Feature(name="scores", dtype="float32", shape=(3,))}
    write_dataset(path, {"train": arrays}, per_shard=16, extra=extra, record_format=record_format)


@pytest.mark.parametrize("record_format", [FIXED, INT64_LIST])
def test_the_native_graph_reads_both_formats(arrays, tmp_path, record_format):
    write(tmp_path / "d", arrays, record_format)
    found = list(parsed(tmp_path / "d", batch_size=8, drop_remainder=False).as_numpy_iterator())
    assert [len(batch["tokens"]) for batch in found] == [8] * 6 + [2]
    for name, values in arrays.items():
        assert np.array_equal(np.concatenate([batch[name] for batch in found]), values)
    assert np.array_equal(np.concatenate([batch["example_id"] for batch in found]), np.arange(COUNT))
    assert (found[0]["tokens"].dtype, found[0]["document_starts"].dtype) == (np.int32, bool)
    shuffled = parsed(tmp_path / "d", batch_size=10, shuffle_buffer=20, seed=3, features=["example_id"])
    ids = [batch["example_id"].tolist() for batch in shuffled.as_numpy_iterator()]
    assert sorted(functools.reduce(operator.iadd, ids, [])) == list(range(COUNT)) and functools.reduce(operator.iadd, ids, []) != list(
        range(COUNT)
    )
    with pytest.raises(ConfigError, match="no feature 'x'"):
        parsed(tmp_path / "d", batch_size=8, features=["x"])
    with pytest.raises(ConfigError, match="no split 'test'"):
        parsed(tmp_path / "d", "test", batch_size=8)


def test_the_exact_order(arrays, tmp_path):
    import tensorflow as tf

    write(tmp_path / "d", arrays, FIXED)
    dataset = load(tmp_path / "d")
    expected = list(dataset.batches(8, seed=2, epochs=2))
    pipeline = exact(dataset.batches(8, seed=2, epochs=2))
    assert pipeline.element_spec["tokens"] == tf.TensorSpec((8, LENGTH), tf.int32)
    found = list(pipeline.as_numpy_iterator())
    assert len(found) == len(expected) == 12
    for batch, other in zip(expected, found, strict=True):
        assert all(np.array_equal(values, other[name]) for name, values in batch.items())
    running = dataset.batches(8, seed=2, epochs=2)
    next(running), next(running)
    rest = list(exact(running).as_numpy_iterator())
    assert [batch["example_id"].tolist() for batch in rest] == [batch["example_id"].tolist() for batch in expected[2:]]
    ragged_end = list(exact(dataset.batches(8, epochs=1, drop_remainder=False)).as_numpy_iterator())
    assert [len(batch["tokens"]) for batch in ragged_end] == [8] * 6 + [2]
    endless = exact(dataset.batches(8, seed=2)).take(20)
    assert sum(1 for _ in endless) == 20
    half = exact(dataset.batches(8, hosts=2, host=1))
    assert half.element_spec["tokens"].shape == (4, LENGTH)


def test_the_exact_order_is_checkpointed_by_its_index(arrays, tmp_path):
    import tensorflow as tf

    write(tmp_path / "d", arrays, FIXED)
    dataset = load(tmp_path / "d")
    expected = [batch["example_id"].tolist() for batch in dataset.batches(8, seed=2, epochs=1)]
    iterator = iter(exact(dataset.batches(8, seed=2, epochs=1)))
    next(iterator), next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "checkpoint"))
    again = iter(exact(dataset.batches(8, seed=2, epochs=1)))
    tf.train.Checkpoint(iterator=again).restore(path)
    assert [batch["example_id"].numpy().tolist() for batch in again] == expected[2:]
