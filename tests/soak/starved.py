"""Builds of 100,000 tiny files on a starved machine: one core shared with busy loops, processes that stand still now and then, and an
address space that nothing may outgrow.

Each chain is a build; it must end, within its memory, with the bytes of one that nobody disturbed.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import psutil
import yaml

from tests import soak
from tests.conftest import tree_digest
from tests.pipelines import soaking

FILES = 100_000
ADDRESS_SPACE = 6 << 30  # bytes in each process; libraries and some fifty threads reserve 3 GB of it, of which they use 0.2 GB
SECONDS = 3600.0
_BUSY_LOOPS = 2
_WORKERS = (("in_memory", 1), ("multi_threading", 2), ("multi_processing", 2))


def run(count: int, seed: int) -> soak.Result:
    """Starves `count` builds."""
    result = soak.Result()
    with tempfile.TemporaryDirectory() as directory:
        config = write(pathlib.Path(directory), FILES)
        undisturbed = whole(config)
        for chain in range(count):
            found, log, peak = starve(config, seed + chain)
            result.chains += 1
            result.identical += found == undisturbed
            result.refused += found is None
            result.tracebacks += log.count("Traceback")
            print(
                f"chain {chain}: {'ended as it should' if found == undisturbed else log}, at most {peak / 1e6:,.0f} MB in a process",
                flush=True,
            )
    return result


def write(directory: pathlib.Path, files: int) -> pathlib.Path:
    """Writes tiny files and the config of a build of them."""
    text = directory / "text"
    text.mkdir()
    for number in range(files):
        (text / f"{number:06d}.txt").write_bytes(b"%d" % number)
    config = directory / "config.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "output": str(directory / "dataset"),
                "sources": [{"files": [str(text)], "format": "text"}],
                "vocabulary": {"kind": "bytes"},
                "packing": {"seq_len": 128},
            }
        )
    )
    return config


def whole(config: pathlib.Path) -> dict[str, str]:
    """Builds undisturbed; gives the digests of the dataset's files."""
    output = config.parent / "whole"
    command = [sys.executable, "-m", "pipelines.cli", "build", str(config), "--output", str(output), "--direct_num_workers=1"]
    subprocess.run(command, check=True, capture_output=True)
    return tree_digest(output)


def starve(config: pathlib.Path, seed: int) -> tuple[dict[str, str] | None, str, int]:
    """Builds on a starved machine.

    Returns:
      the digests of the dataset's files, None if the build failed; the log; the most bytes resident in any of its processes.
    """
    chance = random.Random(seed)
    mode, workers = chance.choice(_WORKERS)
    output, log = config.parent / f"starved-{seed}", config.parent / f"log-{seed}"
    core = chance.choice(sorted(os.sched_getaffinity(0)))
    command = [sys.executable, "-m", "pipelines.cli", "build", str(config), "--output", str(output)]
    command += [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]

    def confine() -> None:
        os.sched_setaffinity(0, {core})
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))

    with _busy(core), log.open("wb") as words:
        process = subprocess.Popen(command, stdout=words, stderr=words, start_new_session=True, preexec_fn=confine)
        peak, end = 0, time.monotonic() + SECONDS
        while process.poll() is None:
            pids = soaking.session(process.pid)
            peak = max([peak, *map(_resident, pids)])
            if time.monotonic() > end:
                for pid in pids:
                    soaking.kill(pid)
            elif pids:
                pid = chance.choice(pids)
                soaking.kill(pid, signal.SIGSTOP)
                time.sleep(chance.choice((0.01, 0.1, 1.0)))
                soaking.kill(pid, signal.SIGCONT)
            time.sleep(chance.random())
    said = log.read_text(errors="replace")
    return (tree_digest(output) if process.returncode == 0 else None), f"{mode} {workers}: {said[-2000:]}", peak


def _resident(pid: int) -> int:
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(pid).memory_info().rss)
    return 0


@contextlib.contextmanager
def _busy(core: int) -> Iterator[None]:
    """Keeps a core busy."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=lambda: os.sched_setaffinity(0, {core}))
        for _ in range(_BUSY_LOOPS)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
