"""Hundreds of builds killed at random moments: none leaves half a dataset that loads, and each, run again, ends with the same bytes."""

from __future__ import annotations

import collections
import json
import pathlib
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable

import pytest

import tokenreel
from tests.conftest import tree_digest
from tests.pipelines import soaking
from tests.soak import kills
from tokenreel.errors import ManifestError

WriteConfig = Callable[..., str]
ONE = ["--direct_num_workers=1"]
THREADS = ["--direct_num_workers=3", "--direct_running_mode=multi_threading"]
PROCESSES = ["--direct_num_workers=2", "--direct_running_mode=multi_processing"]
# Whom a signal hits: the build, everything it started too, or only a worker.
WAYS = {
    "kill": (signal.SIGKILL, "session"),
    "kill_parent": (signal.SIGKILL, "build"),
    "terminate": (signal.SIGTERM, "build"),
    "interrupt": (signal.SIGINT, "session"),
}
SECONDS = 300.0
GONE = 2.0  # seconds after a build's end within which nothing of it may be left


def tree(directory: pathlib.Path) -> tuple[dict[str, str], list[str]]:
    """Every file and every folder."""
    return tree_digest(directory), sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_dir())


class Soak:
    """Builds of one config, killed and run again until they are complete."""

    def __init__(self, config: str, directory: pathlib.Path, options: list[str], seed: int) -> None:
        directory.mkdir()
        self.directory, self.config, self.options = directory, config, options
        self.random = random.Random(seed)
        self.log = directory / "log"
        self.killed: collections.Counter[str] = collections.Counter()
        self.stopped_in: collections.Counter[str] = collections.Counter()
        assert self.finish(directory / "warm") == 0, self.log.read_text()
        started = time.monotonic()
        assert self.finish(directory / "reference") == 0
        self.life = time.monotonic() - started
        self.reference = tree(directory / "reference")
        self.ended: list[int] = []

    def start(self, output: pathlib.Path) -> soaking.BaseProcess:
        self.log.unlink(missing_ok=True)
        return soaking.start(["build", self.config, "--output", str(output), *self.options], self.log)

    def finish(self, output: pathlib.Path) -> int:
        return soaking.join(self.start(output), SECONDS)

    def attempt(self, output: pathlib.Path, way: str) -> None:
        """One build with a signal at a random moment of its life; each third one while it writes shards, which takes little of it."""
        process = self.start(output)
        assert process.pid
        if self.random.random() < 1 / 3:
            before = set(output.glob("*.tfrecord-*"))
            while process.exitcode is None and set(output.glob("*.tfrecord-*")) == before:
                time.sleep(0.002)
            process.join(self.random.random() * self.life * 0.05)
        else:
            process.join(self.random.random() * self.life * 1.05)
        if process.exitcode is None:
            if way == "kill_worker":
                workers = [pid for pid in soaking.session(process.pid) if pid != process.pid]
                for pid in self.random.sample(workers, min(1, len(workers))):
                    soaking.kill(pid)
            else:
                number, whom = WAYS[way]
                for pid in soaking.session(process.pid) if whom == "session" else [process.pid]:
                    soaking.kill(pid, number)
            self.killed[way] += 1
        soaking.join(process, SECONDS)
        self.ended.append(process.pid)
        if way not in ("kill_parent", "terminate"):  # a rerun right after those must cope with what is left of the workers
            assert not soaking.survivors(process.pid, GONE)
        self.check(output)

    def check(self, output: pathlib.Path) -> None:
        """A manifest means that the dataset is complete; without one it cannot be loaded."""
        if (output / "manifest.json").exists():
            self.stopped_in["complete"] += 1
            assert len(tokenreel.load(str(output))) > 0
            assert {
                name: digest for name, digest in tree_digest(output).items() if not name.startswith((".stage/", ".tokenreel."))
            } == self.reference[0]
            return
        names = [str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()] if output.exists() else []
        stage = "started" if not names else "assembling" if any(".tfrecord-" in name for name in names) else "tokenizing"
        self.stopped_in["finishing" if any("statistics.json" in name for name in names) else stage] += 1
        with pytest.raises(ManifestError):
            tokenreel.load(str(output))

    def round(self, number: int, ways: list[str]) -> None:
        """A build that is killed a few times, then left alone."""
        output = self.directory / str(number)
        for way in ways:
            self.attempt(output, way)
        process = self.start(output)
        assert soaking.join(process, SECONDS) == 0, self.log.read_text()
        for pid in (*self.ended, process.pid or -1):
            assert not soaking.survivors(pid, GONE)
        self.ended.clear()
        assert tree(output) == self.reference, f"round {number}: {ways}"
        shutil.rmtree(output)

    def run(self, kills: int, ways: list[str]) -> None:
        number = 0
        while sum(self.killed.values()) < kills:
            chosen = [ways[(number + i) % len(ways)] for i in range(self.random.randint(1, 4))]
            self.round(number, chosen)
            number += 1
            print(f"{number} builds, {sum(self.killed.values())} kills", file=sys.stderr, flush=True)
        print(f"\n{sum(self.killed.values())} kills ({dict(self.killed)}) in {number} builds of {self.life:.2f} s; {dict(self.stopped_in)}")


@pytest.fixture
def small(write_config: WriteConfig, texts: list[str], tmp_path: pathlib.Path) -> str:
    """A build of many small steps that takes well under a second."""
    folder = tmp_path / "text"
    folder.mkdir()
    lines = [json.dumps({"text": text}) for text in texts[:160]]
    for i in range(4):
        (folder / f"{i}.jsonl").write_text("\n".join([*lines[i::4], '{"no": "text"}']) + "\n")
    return write_config(
        sources=[{"name": "docs", "files": [str(folder)]}],
        order={"group_tokens": 3000},
        shards={"examples": 64},
        execution={"block_mb": 0.006},
    )


@pytest.mark.parametrize("options", [pytest.param(ONE, id="one"), pytest.param(THREADS, id="threads", marks=pytest.mark.slow)])
def test_a_few_kills(small: str, tmp_path: pathlib.Path, options: list[str]) -> None:
    soak = Soak(small, tmp_path / "soak", options, seed=1)
    soak.run(8, list(WAYS))


@pytest.mark.parametrize("way", ["kill_parent", "terminate", "kill_worker"])
def test_a_worker_that_is_just_starting_ends_with_its_build(small: str, tmp_path: pathlib.Path, way: str) -> None:
    """A worker takes a second or more until it has imported what it needs, and then waits for a build that may be gone."""
    for number, seconds in enumerate((0.0, 0.02, 0.1, 0.3)):
        log = tmp_path / f"log{number}"
        process = soaking.start(["build", small, *PROCESSES], log)
        leader = process.pid or -1
        deadline = time.monotonic() + SECONDS
        while not (workers := [pid for pid in soaking.session(leader) if pid != leader]):
            assert process.exitcode is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.001)
        time.sleep(seconds)
        if way == "kill_worker":
            soaking.kill(workers[0])
        else:
            soaking.kill(leader, WAYS[way][0])
        assert soaking.join(process, SECONDS) == {"kill_parent": -9, "terminate": 143, "kill_worker": 70}[way], log.read_text()
        assert not soaking.survivors(leader, GONE), f"{seconds} s after the first worker was started"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "kills", "ways"),
    [
        pytest.param(ONE, 160, list(WAYS), id="one"),
        pytest.param(THREADS, 120, list(WAYS), id="threads"),
        pytest.param(PROCESSES, 40, [*WAYS, "kill_worker"], id="processes"),
    ],
)
def test_hundreds_of_kills(small: str, tmp_path: pathlib.Path, options: list[str], kills: int, ways: list[str]) -> None:
    soak = Soak(small, tmp_path / "soak", options, seed=2)
    soak.run(kills, ways)
    assert {"tokenizing", "assembling"} <= set(soak.stopped_in)


@pytest.mark.slow
def test_kills_with_damage_of_what_lay_on_disk() -> None:
    """`python -m tests.soak kills --count 1000` is the same for longer."""
    assert kills.run(50, seed=0).sound
