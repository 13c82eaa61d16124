"""Builds that are killed at random moments, with random damage of what lay on disk before they are run again.

A chain is one output: one to four attempts that are killed, after each of which some files are damaged as a crash or a bad disk does it,
and a last attempt that is left alone. It must end with the bytes of an undisturbed build; no attempt may refuse, or print a traceback.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from tests.conftest import tree_digest
from tests.pipelines import soaking
from tests.soak import Result
from tokenreel.assembly import remembered_inputs

SECONDS = 240.0
ONE = ["--direct_num_workers=1"]
THREADS = ["--direct_num_workers=3", "--direct_running_mode=multi_threading"]
DAMAGES = ("gone", "flipped", "cut", "empty", "zeros", "longer")
WORDS = "the a of light night sea stone over under river house green cold and but never always seven".split()  # noqa: SIM905

# What builds of the chains differ in.
SETTINGS: Sequence[Mapping[str, Any]] = (
    {},
    {"duplicates": {"remove": "lines"}, "packing": {"mode": "best_fit", "seq_len": 48}},
    {"duplicates": {"remove": "documents"}, "order": {"mode": "source"}, "objective": {"name": "prefix_lm"}},
    {"execution": {"block_mb": 0.006, "stage": "tokens"}},
    {"execution": {"block_mb": 0.001, "max_reads": 100, "merge_files": 3}, "order": {"group_tokens": 2000}},
)


@dataclasses.dataclass
class Kind:
    """A config that chains build, and what an undisturbed build of it leaves."""

    config: str
    stage: pathlib.Path | None
    reference: dict[str, str]
    seconds: float


class Chain:
    """One output, disturbed and built until it is complete."""

    def __init__(self, directory: pathlib.Path, kind: Kind, rng: random.Random) -> None:
        directory.mkdir()
        self.output, self.log = directory / "output", directory / "log"
        self.kind, self.rng = kind, rng
        self.done: list[str] = []  # what was done to it, for the message of a chain that went wrong

    def start(self, *arguments: str) -> soaking.BaseProcess:
        options = THREADS if self.rng.random() < 0.25 else ONE
        return soaking.start(["build", self.kind.config, "--output", str(self.output), *options, *arguments], self.log)

    def kill(self) -> int:
        """Starts a build and kills it at some moment of its life; gives its exit code."""
        arguments = ["--overwrite"] if self.rng.random() < 0.2 else []
        process = self.start(*arguments)
        process.join(self.rng.random() * self.kind.seconds * 1.1)
        for pid in soaking.session(process.pid or -1):
            soaking.kill(pid)
        code = soaking.join(process, SECONDS)
        soaking.survivors(process.pid or -1, 10.0)
        self.done.append(f"ended with {code} {' '.join(arguments)}")
        return code

    def damage(self) -> None:
        """Damages up to three of the files there are: of the output, of the tokens kept elsewhere, and what is remembered of the text."""
        memory = pathlib.Path(str(remembered_inputs.path_of(str(self.output))))
        roots = [self.output, *([self.kind.stage] if self.kind.stage else [])]
        found = sorted(path for root in roots for path in root.rglob("*") if path.is_file()) + ([memory] if memory.exists() else [])
        unfinished = (self.output / ".stage").exists()
        for path in self.rng.sample(found, min(len(found), self.rng.randint(0, 3))):
            how = self.rng.choice(DAMAGES)
            # A finished dataset whose manifest is gone, or damaged while nothing tells whose it is, is anybody's: that is refused.
            if path == self.output / "manifest.json" and not unfinished and (how == "gone" or not memory.exists()):
                continue
            if path == memory and (self.output / "manifest.json").exists() and not unfinished:
                continue
            damage(path, how, self.rng)
            self.done.append(f"{path.name} {how}")

    def run(self) -> tuple[bool, bool, bool]:
        """Runs the chain; says whether it ended identical, refused something, and printed a traceback."""
        refused = False
        for _ in range(self.rng.randint(1, 4)):
            refused |= self.kill() not in (0, -9)
            self.damage()
        code = soaking.join(self.start("--recheck"), SECONDS)
        refused |= code != 0
        traceback = "Traceback (most recent call last)" in self.log.read_text()
        identical = tree_digest(self.output) == self.kind.reference
        return identical, refused, traceback


def damage(path: pathlib.Path, how: str, rng: random.Random) -> None:
    """Damages a file in place."""
    data = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "flipped" and data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(data[: rng.randrange(len(data) + 1)])
    elif how == "zeros" and data:  # a page that never reached the disk
        at = rng.randrange(len(data)) // 4096 * 4096
        data[at : at + 4096] = bytes(len(data[at : at + 4096]))
        path.write_bytes(data)
    elif how == "longer":
        path.write_bytes(data + rng.randbytes(rng.randint(1, 100)))
    else:
        path.write_bytes(b"")


def prepare(folder: pathlib.Path) -> list[Kind]:
    """Writes the text and the configs, and builds each undisturbed."""
    rng = random.Random(0)
    (folder / "text").mkdir()
    for number in range(4):
        texts = ["\n".join(" ".join(rng.choices(WORDS, k=rng.randint(1, 30))) for _ in range(rng.randint(1, 3))) for _ in range(40)]
        lines = [json.dumps({"text": text, "number": i}) for i, text in enumerate(texts + texts[:5])] + ["no document"]
        (folder / f"text/{number}.jsonl").write_text("\n".join(lines) + "\n")
    kinds = []
    for number, settings in enumerate(SETTINGS):
        config = {
            "output": "unused",
            "sources": [{"name": "docs", "files": ["text"], "metadata_fields": ["number"]}],
            "vocabulary": {"kind": "bytes"},
            "splits": {"validation": "20%"},
            "packing": {"seq_len": 64},
            "order": {"group_tokens": 3000},
            "shards": {"examples": 48},
            "execution": {"block_mb": 0.006},
        }
        path = folder / f"{number}.yaml"
        path.write_text(yaml.safe_dump({**config, **settings}))
        stage = settings.get("execution", {}).get("stage")
        kind = Kind(str(path), folder / stage if stage else None, {}, 0.0)
        for name in ("warm", "reference"):
            chain = Chain(folder / f"{name}{number}", kind, random.Random(3))
            started = time.monotonic()
            assert soaking.join(chain.start(), SECONDS) == 0, chain.log.read_text()
            kind.reference, kind.seconds = tree_digest(chain.output), time.monotonic() - started
        kinds.append(kind)
    return kinds


def run(count: int, seed: int) -> Result:
    """Runs chains, each by its number and the seed alone, and tells of those that went wrong."""
    result, ways = Result(), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        kinds = prepare(pathlib.Path(name))
        for number in range(count):
            rng = random.Random(f"{seed} {number}")
            chain = Chain(pathlib.Path(name) / f"chain{number}", kinds[rng.randrange(len(kinds))], rng)
            identical, refused, traceback = chain.run()
            result.chains, result.identical = result.chains + 1, result.identical + identical
            result.refused, result.tracebacks = result.refused + refused, result.tracebacks + traceback
            ways.update(done.split(" ")[-1] for done in chain.done)
            if not identical or refused or traceback:
                print(f"chain {number}: {'; '.join(chain.done)}\n{chain.log.read_text()[-3000:]}", file=sys.stderr, flush=True)
                print(sorted(tree_digest(chain.output).items() ^ chain.kind.reference.items()), file=sys.stderr, flush=True)
            shutil.rmtree(chain.output.parent)
            if (number + 1) % 10 == 0:
                print(f"{result}; {dict(ways)}", file=sys.stderr, flush=True)
    return result
