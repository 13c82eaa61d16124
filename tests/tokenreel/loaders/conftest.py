import itertools
import pathlib
import shutil

import pytest

from tests.datasets import random_examples, write_dataset
from tokenreel.loaders import load

COUNT, LENGTH, PER_SHARD = 150, 24, 16


@pytest.fixture(scope="module")
def arrays():
    return random_examples(COUNT, LENGTH)


@pytest.fixture(scope="module")
def directory(arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": arrays, "validation": random_examples(20, LENGTH, seed=5)}, per_shard=PER_SHARD)
    return path


@pytest.fixture
def copy(directory, tmp_path):
    return pathlib.Path(shutil.copytree(directory, tmp_path / "copy"))


def shards(directory):
    return sorted(directory.glob("train.tfrecord-*"))


RUN_COUNT, RUN_LENGTH = 103, 16  # of `dataset`: no round number of batches or lanes


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """An opened dataset for tests of runs."""
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": random_examples(RUN_COUNT, RUN_LENGTH)}, per_shard=16)
    return load(path)


def ids(batches, count=None):
    """The ids of the examples in each batch, or in the first `count`."""
    return [batch["example_id"].tolist() for batch in itertools.islice(batches, count)]
