import gc
import subprocess
import sys
import threading
import time

import pytest

from tokenreel.errors import StorageError
from tokenreel.loaders.records import fetch_threads
from tokenreel.loaders.records.fetch_threads import FetchThreads, result_of


def test_results_and_errors_come_back():
    threads = FetchThreads(2, "t")
    assert [result_of(threads.submit(divmod, n, 3), threads) for n in range(5)] == [divmod(n, 3) for n in range(5)]
    for error in (ZeroDivisionError, TimeoutError):
        with pytest.raises(error):
            result_of(threads.submit(fail, error), threads)


def fail(error):
    raise error("here")


def test_threads_end_with_their_owner():
    before = set(threading.enumerate())
    threads = FetchThreads(3, "t")
    for _ in range(5):
        result_of(threads.submit(time.sleep, 0), threads)
    assert 1 <= len(set(threading.enumerate()) - before) <= 3
    del threads
    gc.collect()
    deadline = time.monotonic() + 60
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert set(threading.enumerate()) <= before


def test_waiting_ends_when_no_thread_is_left(monkeypatch):
    monkeypatch.setattr(fetch_threads, "_LOOK_SECONDS", 0.05)
    threads = FetchThreads(1, "t")
    threads._queue.put(None)  # as at the end of the interpreter: the thread goes, and what is queued stays
    future = threads.submit(time.sleep, 0)
    with pytest.raises(StorageError, match="have ended before this read"):
        result_of(future, threads)


def test_a_script_that_fails_does_not_wait_for_what_is_queued():
    program = (
        "import time\n"
        "from tokenreel.loaders.records.fetch_threads import FetchThreads\n"
        "threads = FetchThreads(2, 't')\n"
        "for _ in range(5): threads.submit(time.sleep, 60)\n"
        "raise SystemExit('failed early')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert (result.returncode, result.stderr) == (1, "failed early\n")
