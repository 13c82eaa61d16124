"""Builds in children of a warm interpreter, so that hundreds can be started and killed in minutes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pathlib
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess

import psutil

from transforms.workers import orphans

# What a build imports, so that the server has it all when it forks.
PRELOAD = [
    "apache_beam.runners.portability.fn_api_runner.fn_runner",
    "google_crc32c",
    "orjson",
    "pipelines.build",
    "pyarrow.parquet",
    "sentencepiece",
    "tests.pipelines.soaking",
    "yaml",
]


def run(argv: Sequence[str], log: str) -> None:
    """Runs the command line in a session of its own, with everything it prints in a file."""
    from pipelines import cli

    os.setsid()
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(fd, stream)
    code = cli.main(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def start(argv: Sequence[str], log: pathlib.Path) -> BaseProcess:
    """Starts `tokenreel ARGV` in a fork of a warm interpreter."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=run, args=(list(argv), str(log)))
    process.start()
    return process


def session(leader: int) -> list[int]:
    """The living processes of a session, its leader included."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError):
            if os.getsid(pid) == leader and orphans.alive(pid):
                found.append(pid)
    return found


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Sends a signal, unless the process was faster."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def join(process: BaseProcess, seconds: float) -> int:
    """Waits for a build's end; returns its exit code.

    Raises:
      TimeoutError: it is still there; it is killed.
    """
    process.join(seconds)
    if process.exitcode is None:
        for pid in session(process.pid or -1):
            kill(pid)
        raise TimeoutError(f"the build did not end within {seconds} s")
    return process.exitcode


def survivors(leader: int, seconds: float) -> list[int]:
    """What is left of a session after some seconds at most."""
    deadline = time.monotonic() + seconds
    while (left := session(leader)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
