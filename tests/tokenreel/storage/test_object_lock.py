import json
import os
import subprocess
import sys
import time

import pytest

from tests import buckets
from tokenreel.errors import BuildError
from tokenreel.storage import files, gcs, object_lock

PATH = f"gs://{buckets.BUCKET}/d/.tokenreel.lock"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(object_lock, "HEARTBEAT", 0.05)
    monkeypatch.setattr(object_lock, "STALE", 0.3)
    with buckets.server() as state:
        yield state


def stranger(**changes):
    """What a build on another machine writes."""
    return json.dumps({"boot": "elsewhere", "host": "far", "id": "1", "pid": 5, "started": "1", "written": 0, **changes}).encode()


def test_it_is_there_while_it_is_held(server):
    with object_lock.hold(PATH):
        first = files.remote_stat(PATH)
        time.sleep(0.2)
        assert files.remote_stat(PATH)[1] != first[1], "no heartbeat"
        with (
            pytest.raises(BuildError, match=rf"another job is writing here \(process {os.getpid()} on .*remove {PATH}"),
            object_lock.hold(PATH),
        ):
            pass
    assert files.size(PATH) is None
    with pytest.raises(RuntimeError), object_lock.hold(PATH):
        raise RuntimeError
    assert files.size(PATH) is None


def test_the_lock_of_a_killed_process_of_this_machine_is_free(server):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = {
        "boot": object_lock._boot(),
        "host": object_lock.socket.gethostname(),
        "pid": process.pid,
        "started": object_lock._started(process.pid),
    }
    files.write_bytes(PATH, stranger(**here))
    with pytest.raises(BuildError, match=str(process.pid)), object_lock.hold(PATH):
        pass
    process.kill()
    process.wait()
    with object_lock.hold(PATH):
        pass
    files.write_bytes(PATH, stranger(**here, id="2") if False else stranger(**{**here, "pid": os.getpid()}))  # a number given away again
    with object_lock.hold(PATH):
        pass


def test_a_lock_without_a_sign_of_life_is_taken_over(server, capsys):
    files.write_bytes(PATH, stranger())
    with pytest.raises(BuildError, match="process 5 on far, last sign of life 0 s ago"), object_lock.hold(PATH):
        pass
    time.sleep(0.35)
    with object_lock.hold(PATH):
        assert json.loads(files.read_bytes(PATH))["pid"] == os.getpid()
    assert "looks abandoned" in capsys.readouterr().err


def test_clocks_that_differ_steal_no_lock(server, monkeypatch):
    monkeypatch.setattr(gcs.Object, "used", 0.0)  # by this clock it is as old as can be
    with object_lock.hold(PATH), pytest.raises(BuildError, match="another job"), object_lock.hold(PATH):
        pass


def test_who_lost_the_lock_stops(server):
    messages = []
    with object_lock.hold(PATH, lost=messages.append):
        files.write_bytes(PATH, stranger())
        deadline = time.monotonic() + 60
        while not messages and time.monotonic() < deadline:
            time.sleep(0.01)
    assert messages and "another job took the lock over" in messages[0]
    assert json.loads(files.read_bytes(PATH))["host"] == "far", "the lock of another was removed"


def test_a_process_that_lost_the_lock_ends(server):
    program = (
        "import time\nfrom tokenreel.storage import object_lock\nobject_lock.HEARTBEAT = 0.1\n"
        f"with object_lock.hold({PATH!r}):\n    print('held', flush=True)\n    time.sleep(300)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    files.write_bytes(PATH, stranger())
    _, error = process.communicate(timeout=300)
    assert process.returncode == object_lock.EXIT_LOST
    assert "another job took the lock over" in error


def test_failures_that_pass_lose_no_lock(server, monkeypatch):
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.005)
    messages = []
    server.every(2, 503, buckets.DROP, 429)
    with object_lock.hold(PATH, lost=messages.append):
        time.sleep(0.6)
    assert not messages
    server.calm()
    assert files.size(PATH) is None
