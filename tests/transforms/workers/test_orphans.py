"""No process of a build outlives it, whatever the build dies of and whatever the process is at."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from transforms.workers import orphans

# Starts a worker as a build does, and goes on until it is killed.
BUILD = f"""
import os, subprocess, sys
os.environ[{orphans.BUILD!r}] = str(os.getpid())
worker = subprocess.Popen([sys.executable, "-c", sys.argv[1]])
worker.wait()
"""
WORKERS = {
    "waits": "import os, time, transforms; print(os.getpid(), flush=True); time.sleep(600)",
    "ignores signals": "import os, signal, time, transforms\n"
    "for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)\n"
    "print(os.getpid(), flush=True); time.sleep(600)",
}
if sys.platform == "linux":
    # A tokenizer may hold Python's lock for many seconds, in which no thread of Python runs.
    WORKERS["holds the lock"] = (
        "import ctypes, os; from transforms.workers import orphans; orphans.end_with_parent(); print(os.getpid(), flush=True); "
        "ctypes.PyDLL(None).sleep(600)"
    )


@pytest.mark.parametrize("worker", WORKERS)
def test_a_worker_ends_with_its_build(worker: str) -> None:
    with subprocess.Popen([sys.executable, "-c", BUILD, WORKERS[worker]], stdout=subprocess.PIPE) as build:
        assert build.stdout
        pid = int(build.stdout.readline())
        time.sleep(0.2)
        assert orphans.alive(pid)
        build.kill()
        build.wait()
        gone_within(pid, 60)


def gone_within(pid: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while orphans.alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def test_a_worker_whose_build_is_gone_already_does_not_start() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as build:
        build.wait()
    environment = {**os.environ, orphans.BUILD: str(build.pid)}
    started = subprocess.run([sys.executable, "-m", "transforms.workers.worker"], env=environment, timeout=300, capture_output=True)
    assert (started.returncode, started.stderr) == (1, b"")


def test_other_processes_of_the_environment_are_left_alone() -> None:
    """Workers on other machines and the build itself import the same modules."""
    code = f"import os; os.environ[{orphans.BUILD!r}] = str(os.getpid()); import transforms, threading; print(threading.active_count())"
    for program in (code, "import transforms, threading; print(threading.active_count())"):
        environment = {name: value for name, value in os.environ.items() if name != orphans.BUILD}
        assert subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True).stdout == b"1\n"
