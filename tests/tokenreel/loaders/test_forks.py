"""Children that are forked while another thread of their parent holds a lock."""

import os
import signal
import threading

import numpy as np
import pytest

from tests.buckets import storage, upload
from tests.datasets import random_examples, write_dataset
from tests.tokenreel.loaders.conftest import ids
from tokenreel.loaders import load
from tokenreel.loaders.records import local_files

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def in_child(action) -> int:
    """Runs an action in a fork; gives 0 if it returned true, 1 if not, and -14 if it hung for 20 seconds."""
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            os._exit(0 if action() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Held:
    """Another thread, that holds a lock for as long as the body runs."""

    def __init__(self, lock):
        self.lock, self.taken, self.done = lock, threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._hold)

    def _hold(self):
        with self.lock:
            self.taken.set()
            self.done.wait(60)

    def __enter__(self):
        self.thread.start()
        assert self.taken.wait(10)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def test_a_child_plans_while_a_thread_of_its_parent_does(dataset):
    batches = dataset.batches(8, seed=1, prefetch=0)
    expected = ids(dataset.batches(8, seed=1), 60)
    with Held(batches._planner._lock):
        assert in_child(lambda: batches.batch_at(8 * 50)["example_id"].tolist() == expected[50]) == 0
    assert batches.batch_at(8 * 50)["example_id"].tolist() == expected[50]


def test_a_child_opens_shards_while_a_thread_of_its_parent_does(dataset):
    opened = load(dataset.path)
    with Held(local_files.OPEN_SHARDS._lock):
        assert in_child(lambda: len(opened.take(np.arange(100))["tokens"]) == 100) == 0
    assert len(opened.take(np.arange(100))["tokens"]) == 100


def test_a_child_leaves_its_parents_thread_alone(dataset):
    batches = dataset.batches(8, seed=1)
    expected = ids(dataset.batches(8, seed=1), 5)
    assert ids(batches, 2) == expected[:2]
    with Held(batches._producers[0]._stopped._cond):
        assert in_child(lambda: (batches.seek(24), ids(batches, 2))[1] == expected[3:5]) == 0
        assert in_child(lambda: ids(batches, 3) == expected[2:]) == 0
    assert ids(batches, 3) == expected[2:]


@pytest.mark.parametrize("cached", [False, True])
def test_a_child_reads_from_a_bucket_while_its_parent_does(tmp_path, cached):
    arrays = random_examples(64, 16)
    write_dataset(tmp_path / "d", {"train": arrays}, per_shard=16)
    with storage() as address:
        upload(tmp_path / "d", f"{address}/d")
        dataset = load(f"{address}/d", **({"cache": tmp_path / "cache"} if cached else {}))
        dataset.records.will_need(np.array([3]))
        assert np.array_equal(dataset.take([3])["tokens"], arrays["tokens"][[3]])

        def read():
            dataset.records.will_need(np.array([40]))
            return np.array_equal(dataset.take([40])["tokens"], arrays["tokens"][[40]])

        with Held(dataset.records._cache._mutex if cached else dataset.records._lock):
            assert in_child(read) == 0
        assert read()
