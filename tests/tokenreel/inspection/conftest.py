import shutil

import pytest

from tests import verification_datasets as datasets

SHARD = "train.tfrecord-00001-of-00016"

TABLE = "provenance/train-00001-of-00016.parquet"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dataset")
    datasets.make(directory, overlap=1, dead_letters=3)
    return directory


@pytest.fixture
def dataset(original, tmp_path):
    return shutil.copytree(original, tmp_path / "dataset")


def flip(path, at, bits):
    data = bytearray(path.read_bytes())
    data[at] ^= bits
    path.write_bytes(data)
