"""Hostile inputs for everything that reads what others wrote: source files of every format, models, configs, manifests, tables, shards.

Each chain damages a sound input, or makes one of nothing, and hands it to its reader in a child process of little memory. The reader may
take it, or refuse it with one of the project's errors, which names the place; files of text also give the same documents and faults
whatever the size of blocks. What is found: crashes of the process, hangs over a minute, more than a gigabyte of memory, exceptions of
others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import random
import resource
import signal
import sys
import tempfile
import traceback

from tests.soak import hostile_inputs

BATCH = 100  # inputs of one child
HANG_SECONDS = 60  # of the processor: on a loaded machine a minute on the clock says nothing
WAIT_SECONDS = 900  # on the clock: for what waits for ever
MOST_BYTES = 1 << 30  # of memory, beyond what the child begins with


@dataclasses.dataclass
class Result:
    """How the inputs ended.

    Attributes:
      chains: how many were tried.
      taken, refused: by their readers.
      crashes: children that died, by a signal or for lack of memory.
      hangs: inputs that took more than a minute of the processor, or never ended.
      large: children that took more than a gigabyte.
      tracebacks: exceptions of others, laws that were broken, and errors that name no place.
    """

    chains: int = 0
    taken: int = 0
    refused: int = 0
    crashes: int = 0
    hangs: int = 0
    large: int = 0
    tracebacks: int = 0

    def __str__(self) -> str:
        return (
            f"{self.chains:,} chains: {self.taken:,} taken, {self.refused:,} refused, {self.crashes:,} crashes, {self.hangs:,} hangs, "
            f"{self.large:,} over a gigabyte, {self.tracebacks:,} tracebacks"
        )

    @property
    def sound(self) -> bool:
        """Says whether all went well."""
        return not (self.crashes or self.hangs or self.large or self.tracebacks)


def run(count: int, seed: int) -> Result:
    """Tries `count` inputs, drawn by `seed`: the same number is the same input, whatever the count."""
    result = Result()
    with tempfile.TemporaryDirectory() as folder:
        kinds = hostile_inputs.prepare(pathlib.Path(folder))
        first = 0
        while first < count:
            done = _run_child(kinds, pathlib.Path(folder), seed, range(first, min(count, first + BATCH)), result)
            first += done
            result.chains += done
    return result


def _run_child(kinds: dict[str, hostile_inputs.Kind], folder: pathlib.Path, seed: int, numbers: range, result: Result) -> int:
    """Tries inputs in one child; gives how many it got through, the one that it died of included."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.close(reading)
        _work(kinds, folder, seed, numbers, writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().split()
    _, status, usage = os.wait4(child, 0)
    result.taken += lines.count("taken")
    result.refused += lines.count("refused")
    result.tracebacks += lines.count("traceback")
    begun = lines.count("begin")
    if usage.ru_maxrss * 1024 - _rss() > MOST_BYTES:
        result.large += 1
        print(f"inputs {numbers.start} to {numbers.start + begun - 1}: {usage.ru_maxrss >> 10:,} MB", flush=True)
    if os.waitstatus_to_exitcode(status):
        number = numbers.start + begun - 1
        hung = os.waitstatus_to_exitcode(status) in (-signal.SIGPROF, -signal.SIGALRM)
        result.hangs += hung
        result.crashes += not hung
        what = "hung" if hung else f"ended the process with {os.waitstatus_to_exitcode(status)}"
        print(f"input {number} of seed {seed}, {_kind_of(kinds, seed, number)[0]}: {what}", flush=True)
    return max(1, begun)


def _rss() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def _kind_of(kinds: dict[str, hostile_inputs.Kind], seed: int, number: int) -> tuple[str, random.Random]:
    draw = random.Random(f"{seed}:{number}")
    return draw.choice(sorted(kinds)), draw


def _work(kinds: dict[str, hostile_inputs.Kind], folder: pathlib.Path, seed: int, numbers: range, pipe: int) -> None:
    """Tries inputs, and never returns."""
    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 3 * MOST_BYTES, size + 3 * MOST_BYTES))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 2)  # what libraries print of damage
    for number in numbers:
        os.write(pipe, b"begin ")
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
        signal.alarm(WAIT_SECONDS)
        name, draw = _kind_of(kinds, seed, number)
        place = folder / "input"
        try:
            with contextlib.redirect_stderr(None), tempfile.TemporaryDirectory(dir=folder) as fresh:
                place = pathlib.Path(fresh)
                word = kinds[name](place, draw)
        except BaseException as error:  # also those of libraries that are no Exception
            word = "traceback"
            print(f"input {number} of seed {seed}, {name}: {error!r}\n{''.join(traceback.format_tb(error.__traceback__)[-4:])}", flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        os.write(pipe, f"{word} ".encode())
    sys.stdout.flush()
    os._exit(0)
