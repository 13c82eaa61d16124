import threading
import time

import pytest

from tests.buckets import storage, upload
from tests.datasets import random_examples, write_dataset
from tokenreel.loaders.records import retrying

COUNT, LENGTH, PER_SHARD = 200, 64, 32


@pytest.fixture(scope="module")
def bucket_arrays():
    return random_examples(COUNT, LENGTH)


@pytest.fixture(scope="module")
def local(bucket_arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "d"
    write_dataset(path, {"train": bucket_arrays}, per_shard=PER_SHARD)
    return path


@pytest.fixture(scope="module")
def bucket(local):
    with storage() as address:
        upload(local, f"{address}/d")
        yield f"{address}/d"


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(retrying, "DELAYS", (0.001,) * len(retrying.DELAYS))


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self):
        self.now, self.lock = 0.0, threading.Lock()

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        with self.lock:
            self.now += seconds


@pytest.fixture
def clock(monkeypatch):
    """Stands in for the clock of the storage library too."""
    made = Clock()
    monkeypatch.setattr(time, "monotonic", made.monotonic)
    monkeypatch.setattr(time, "sleep", made.sleep)
    return made
