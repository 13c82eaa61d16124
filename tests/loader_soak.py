"""Hundreds of short trainings, each disturbed in one way or another: `python -m tests.loader_soak --count 200 --seed 0`.

A training reads batches of a dataset and compares each row with what its build held. Meanwhile it forks workers that read the same run,
kills some, has a sibling killed in the middle of filling the shared cache, loses its descriptors, and finds the link to its dataset moved
or the dataset overwritten by another build. It must end within a minute: with every row right, or with an error that names the cause.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests import buckets
from tests.datasets import random_examples, write_dataset
from tokenreel.errors import TokenreelError
from tokenreel.format import naming
from tokenreel.loaders import Mixture, load
from tokenreel.storage import files

COUNT, LENGTH, PER_SHARD, BATCH = 320, 32, 8, 8  # 40 shards
HANG_SECONDS = 60.0
DISTURBANCES = ("nothing", "link", "overwrite", "half", "limits")
STORES = ("mmap", "pread", "crc", "cache", "bucket", "bucket-cache")
# What an error may say, by what was done. Nothing else may be the end of a training.
CAUSES = {
    "nothing": (),
    "link": (),
    "limits": (),
    "overwrite": ("replaced by another build", "is gone or being replaced"),
    # The emulator of a bucket does not replace objects in one step: a reader may find neither the old one nor the new.
    "half": ("overwritten after the dataset was opened", "crc32c", "vanished after the dataset was opened"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One training, and how it is disturbed."""

    store: str
    disturbance: str
    steps: int
    prefetch: int
    mixed: bool  # two datasets in place of one
    forks: tuple[int, ...]  # steps at which a worker is forked
    kills: tuple[int, ...]  # those of them whose worker is killed at once
    sibling: bool  # whether another process fills the same cache, and is killed
    seed: int


def draw(rng: random.Random) -> Job:
    """Draws a job; the same numbers give the same job."""
    steps = rng.randint(15, 50)
    forks = tuple(sorted(rng.sample(range(steps), rng.randint(0, 4))))
    store = rng.choice(STORES)
    return Job(
        store=store,
        disturbance=rng.choice(DISTURBANCES),
        steps=steps,
        prefetch=rng.choice([0, 1, 3]),
        mixed=rng.random() < 0.3,
        forks=forks,
        kills=tuple(step for step in forks if rng.random() < 0.4),
        sibling="cache" in store and rng.random() < 0.5,
        seed=rng.randrange(1 << 30),
    )


def options(job: Job, cache: pathlib.Path) -> dict[str, Any]:
    """What `load` is given."""
    return {
        "mmap": {"backend": "mmap"},
        "pread": {"backend": "pread"},
        "crc": {"crc": "always"},
        "bucket": {},
    }.get(job.store, {"cache": cache, "cache_bytes": 40_000})


class Wrong(Exception):
    """A row of another build."""


def compare(batch: dict[str, Any], tokens: np.ndarray) -> None:
    """Compares a batch with the tokens of the build that was opened."""
    if not np.array_equal(batch["tokens"], tokens[batch["example_id"]]):
        raise Wrong("a row is of another build")


def guarded(action: Callable[[], None]) -> str:
    """Calls an action; gives "" or what went wrong."""
    try:
        action()
    except TokenreelError as error:
        return f"{type(error).__name__}: {error}"
    except BaseException as error:
        return f"unexpected {type(error).__name__}: {error}"
    return ""


def fork(action: Callable[[], None], write: int) -> int:
    """Forks a process that calls an action and writes down what went wrong; gives its number."""
    child = os.fork()
    if not child:
        os.write(write, (json.dumps(guarded(action)) + "\n").encode())
        os._exit(0)
    return child


def train(job: Job, path: str, cache: pathlib.Path, tokens: np.ndarray, write: int) -> None:
    """The training: reads, compares, forks workers and kills some."""
    if job.disturbance == "limits":
        # Beside what is open already: a process that ran other tests before may hold dozens, and the numbers of files count.
        limit = random.Random(job.seed).choice([32, 48, 64]) + len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    dataset = load(path, **options(job, cache))
    other = load(path, **options(job, cache))
    run = Mixture({"a": dataset, "b": other}, by="examples") if job.mixed else dataset
    batches = run.batches(BATCH, seed=job.seed, prefetch=job.prefetch)
    started = []

    def work() -> None:
        for step in range(3):
            compare(batches.batch_at(BATCH * (job.steps + step)), tokens)
            compare(next(batches), tokens)

    if job.sibling:
        sibling = fork(lambda: [compare(batch, tokens) for batch in other.batches(BATCH)], write)
        started.append(sibling)
    os.write(write, b'"started"\n')
    for step in range(job.steps):
        compare(next(batches), tokens)
        if step in job.forks:
            started.append(fork(work, write))
            if step in job.kills:
                os.kill(started[-1], signal.SIGKILL)
        if job.sibling and step == job.steps // 2:
            os.kill(sibling, signal.SIGKILL)
        time.sleep(0.002)
    for child in started:
        os.waitpid(child, 0)


class Soak:
    """The two builds, the bucket, and what came of each training."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.arrays = [random_examples(COUNT, LENGTH, seed=seed)["tokens"] for seed in (1, 2)]
        self.builds = [directory / name for name in "ab"]
        for seed, build in zip((1, 2), self.builds, strict=True):
            write_dataset(build, {"train": random_examples(COUNT, LENGTH, seed=seed)}, per_shard=PER_SHARD)
        self.outcomes: collections.Counter[tuple[str, str]] = collections.Counter()
        self.faults: list[str] = []

    def run(self, number: int, job: Job) -> None:
        """Runs a training; disturbs it once it has started."""
        place = self.directory / str(number)
        place.mkdir()
        path = str(place / "dataset")
        if "bucket" in job.store:
            path = f"gs://{buckets.BUCKET}/{number}"
            buckets.upload(self.builds[0], path)
        elif job.disturbance == "link":
            pathlib.Path(path).symlink_to(self.builds[0])
        else:
            shutil.copytree(self.builds[0], path)
        read, write = os.pipe()
        began = time.monotonic()
        trainer = os.fork()
        if not trainer:
            os.setsid()
            os.close(read)
            os.write(write, (json.dumps(guarded(lambda: train(job, path, place / "cache", self.arrays[0], write))) + "\n").encode())
            os._exit(0)
        os.close(write)
        said: list[str] = []
        with os.fdopen(read, "rb") as stream:
            os.set_blocking(read, False)
            disturbed = False
            rest = b""
            while time.monotonic() - began < HANG_SECONDS:
                data = stream.read()
                if data == b"":
                    break
                rest += data or b""
                *lines, rest = rest.split(b"\n")
                said += map(json.loads, lines)
                if "started" in said and not disturbed:
                    time.sleep(random.Random(job.seed + 1).random() * 0.08)
                    self.disturb(job, path)
                    disturbed = True
                time.sleep(0.002)
            hung = data != b""
        with contextlib.suppress(ProcessLookupError):  # and whatever worker it has left behind
            os.killpg(trainer, signal.SIGKILL)
        os.waitpid(trainer, 0)
        self.judge(number, job, [message for message in said if message not in ("", "started")], hung)
        shutil.rmtree(place)

    def disturb(self, job: Job, path: str) -> None:
        """Does to the dataset at a path what the job says."""
        remote = files.is_remote(path)
        if job.disturbance == "link" and not remote:
            new = pathlib.Path(path).with_name("new")
            new.symlink_to(self.builds[1])
            os.replace(new, path)
        elif job.disturbance == "overwrite":  # as a build does: the manifest goes first, and comes last
            names = sorted(
                (found.relative_to(self.builds[1]).as_posix() for found in self.builds[1].rglob("*") if found.is_file()),
                key=lambda name: name == naming.MANIFEST,
            )
            files.remove(files.join(path, naming.MANIFEST))
            for name in names[:-1]:
                files.remove(files.join(path, name))
            for name in names:
                files.write_bytes(files.join(path, name), (self.builds[1] / name).read_bytes())
        elif job.disturbance == "half":  # as a careless copy does: some shards, and the manifest stays
            for index in range(0, COUNT // PER_SHARD, 3):
                name = naming.shard("train", index, COUNT // PER_SHARD)
                files.write_bytes(files.join(path, name), (self.builds[1] / name).read_bytes())

    def judge(self, number: int, job: Job, messages: list[str], hung: bool) -> None:
        """Notes how a training ended, and whether it may end so."""
        wrong = [message for message in messages if not any(cause in message for cause in CAUSES[job.disturbance])]
        if hung or wrong:
            self.faults.append(f"run {number}: {'hung; ' if hung else ''}{'; '.join(wrong)} in {job}")
        self.outcomes[job.disturbance, "fault" if hung or wrong else "error that names its cause" if messages else "every row right"] += 1


def soak(count: int, seed: int, report: Callable[[str], None] = lambda line: None) -> Soak:
    """Runs so many trainings; `faults` of what it gives should be empty."""
    rng = random.Random(seed)
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)  # it tells of each object that is asked for and not there
    with tempfile.TemporaryDirectory() as directory, buckets.server():
        found = Soak(pathlib.Path(directory))
        for number in range(count):
            found.run(number, draw(rng))
            if len(found.faults) and found.faults[-1].startswith(f"run {number}:"):
                report(found.faults[-1])
    return found


def main() -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began = time.monotonic()
    found = soak(arguments.count, arguments.seed, lambda line: print(line, flush=True))
    for (disturbance, outcome), times in sorted(found.outcomes.items()):
        print(f"{disturbance:10} {outcome:28} {times:4}")
    print(f"{arguments.count} trainings in {time.monotonic() - began:.0f} s, {len(found.faults)} faults")
    return 1 if found.faults else 0


if __name__ == "__main__":
    sys.exit(main())
