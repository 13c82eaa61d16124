import os
import pickle
import signal
import threading
import time

import pytest

from tokenreel.errors import StorageError
from tokenreel.loaders.records import host_locks
from tokenreel.loaders.records.host_locks import HostLocks

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def fork(action) -> int:
    child = os.fork()
    if not child:
        try:
            action()
        finally:
            os._exit(0)
    return child


def end(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_lock_keeps_others_out_until_it_is_given_back(tmp_path):
    locks, others = HostLocks(str(tmp_path)), pickle.loads(pickle.dumps(HostLocks(str(tmp_path))))
    with locks.hold("a") as held:
        assert held
        with others.hold("a", wait=False) as other:
            assert not other
        with others.hold("b", wait=False) as other:
            assert other
    with others.hold("a", wait=False) as other:
        assert other


def test_a_child_that_was_forked_meanwhile_holds_nothing(tmp_path):
    """As a worker does that is forked while a thread of the trainer fetches a shard, and then lives for as long as the trainer."""
    locks, forked, done = HostLocks(str(tmp_path)), threading.Event(), threading.Event()

    def fetch():
        with locks.hold("a"):
            forked.set()
            done.wait(30)

    thread = threading.Thread(target=fetch)
    thread.start()
    assert forked.wait(10)
    child = fork(lambda: time.sleep(60))
    try:
        done.set()
        thread.join()
        with HostLocks(str(tmp_path)).hold("a", wait=False) as held:
            assert held
    finally:
        end(child)


def test_a_child_of_a_parent_that_is_killed_holds_nothing(tmp_path):
    read, write = os.pipe()

    def parent():
        locks, forked = HostLocks(str(tmp_path)), threading.Event()

        def fetch():
            with locks.hold("a"):
                forked.set()
                time.sleep(60)

        threading.Thread(target=fetch, daemon=True).start()
        forked.wait(10)
        grandchild = fork(lambda: time.sleep(60))
        os.write(write, f"{grandchild}\n".encode())
        time.sleep(60)

    child = fork(parent)
    grandchild = int(os.read(read, 32))
    try:
        locks = HostLocks(str(tmp_path))
        with locks.hold("a", wait=False) as held:
            assert not held
        end(child)
        with locks.hold("a", wait=False) as held:
            assert held
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.close(read), os.close(write)


def test_waiting_for_a_holder_that_is_stuck_ends_with_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(host_locks, "PATIENCE", 0.5)
    locks = HostLocks(str(tmp_path))
    read, write = os.pipe()

    def hold():
        with HostLocks(str(tmp_path)).hold("a"):
            os.write(write, b"x")
            time.sleep(60)

    child = fork(hold)
    try:
        os.read(read, 1)
        os.kill(child, signal.SIGSTOP)
        started = time.monotonic()
        expected = rf"a: process {child} of this host has held this lock .* without getting on"
        with pytest.raises(StorageError, match=expected), locks.hold("a"):
            pass
        assert 0.5 <= time.monotonic() - started < 60
        # One that gets on is waited for.
        count = iter(range(1 << 30))
        threading.Timer(1.5, end, [child]).start()
        with locks.hold("a", progress=lambda: next(count)) as held:
            assert held and time.monotonic() - started > 1.5
    finally:
        os.close(read), os.close(write)
