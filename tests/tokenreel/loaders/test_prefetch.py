import gc
import os
import subprocess
import sys
import threading
import time

import pytest

from tests.tokenreel.loaders.conftest import ids
from tokenreel.loaders import load


def test_a_fork_starts_a_thread_of_its_own(dataset):
    batches = dataset.batches(8, seed=1)
    expected = ids(dataset.batches(8, seed=1), 5)
    ids(batches, 2)
    producer = batches._producers[0]
    producer._process = -1  # as it is in a forked child
    assert ids(batches, 3) == expected[2:] and batches._producers[0] is not producer
    producer._process = os.getpid()
    producer.stop()


@pytest.mark.parametrize("backend", ["mmap", "pread"])
def test_read_ahead_asks_for_what_comes_and_only_while_reading_waits(dataset, backend, monkeypatch):
    from tokenreel.loaders import prefetch as module

    opened = load(dataset.path, backend=backend)
    asked, waits = [], [0]
    real = opened.records.will_need
    monkeypatch.setattr(opened.records, "will_need", lambda examples: (asked.append(examples.tolist()), real(examples)))
    monkeypatch.setattr(module, "_waits", lambda: waits[0])
    monkeypatch.setattr(module, "_PROBE_EVERY", 20)
    monkeypatch.setattr(module, "_LOOK_EVERY", 4)
    expected = ids(dataset.batches(8, seed=1), 60)
    batches = opened.batches(8, seed=1, prefetch=0)
    assert ids(batches, 6) == expected[:6] and asked == []  # warm: nothing is asked for
    waits[0] += 5
    assert ids(batches, 1) == expected[6:7] and asked == []
    assert ids(batches, 13) == expected[7:20]  # every fourth batch it is looked at, so before the first of these
    assert asked == expected[8:24]  # the four batches ahead, each once
    asked.clear()
    assert ids(batches, 20) == expected[20:40] and asked == []  # it was tried without, and nothing waited
    waits[0] += 1
    ids(batches, 4)
    first = expected.index(asked[0])
    assert first > 40 and asked == expected[first : first + len(asked)]  # again, from where it was noticed


def test_the_prefetch_thread_ends_with_its_iterator(dataset):
    before = set(threading.enumerate())  # other tests' iterators may still be alive

    def threads():
        return [thread for thread in threading.enumerate() if thread.name == "tokenreel-prefetch" and thread not in before]

    batches = dataset.batches(8)
    next(batches)
    assert len(threads()) == 1
    batches.seek(0)
    next(batches)
    del batches
    gc.collect()
    deadline = time.monotonic() + 60
    while threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert threads() == []


def test_an_error_in_the_thread_reaches_the_consumer(dataset):
    class Failing:
        calls = 0

        def apply(self, arrays, example_ids, *, seed, variant, epoch):
            self.calls += 1
            if self.calls == 3:
                raise ValueError("the third")
            return arrays

    batches = dataset.batches(8, objective=Failing())
    expected = ids(dataset.batches(8), 4)
    assert ids(batches, 2) == expected[:2]
    with pytest.raises(ValueError, match="the third"):
        next(batches)
    assert ids(batches, 2) == expected[2:]  # nothing was lost


def test_a_batch_read_alone_is_planned_with_few_others_and_a_run_in_bulk(dataset, monkeypatch):
    batches = dataset.batches(8, seed=1, prefetch=0)
    planned, locate = [], batches.plan.locate
    monkeypatch.setattr(batches.plan, "locate", lambda samples: planned.append(len(samples)) or locate(samples))
    found = ids(batches, (256 + 1024 + 4096) // 8 + 1)
    assert planned == [256, 1024, 4096, 4096]
    planned.clear()
    assert [batches.batch_at(8 * k)["example_id"].tolist() for k in (300, 5)] == [found[300], found[5]]
    assert planned == [256]  # the other lies in a chunk that is still there


LEFT_RUNNING = """
import atexit, sys, threading
atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))  # the first registered runs last
import tokenreel
batches = tokenreel.load(sys.argv[1]).batches(8, seed=1, prefetch=2)
next(batches)
print([thread.name for thread in threading.enumerate()])
"""


def test_the_interpreter_ends_after_the_thread(dataset):
    # A thread in the midst of a batch would be unwound through NumPy's C++, which aborts the process, once in some ten ends.
    command = [sys.executable, "-c", LEFT_RUNNING, dataset.path]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["['MainThread', 'tokenreel-prefetch']", "['MainThread']"]
