"""Builds and reads in a bucket whose server lies: each ends with the bytes of an undisturbed one.

A chain builds a dataset of several formats from a bucket into a bucket, run again as long as it fails, and reads it with a loader.
Meanwhile the server cuts answers in their headers and bodies, sends other ranges, parts twice, older generations and flipped bits, dawdles,
resets connections, and answers 429, 500 and 503.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import pathlib
import random
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipelines import cli
from tests import buckets, lies
from tests.soak import Result
from tokenreel.errors import TokenreelError
from tokenreel.loaders import load
from tokenreel.loaders.records import retrying
from tokenreel.storage import files, gcs

REMOTE = f"gs://{buckets.BUCKET}"
RUNS = 12  # of a build until it has to be complete
STATUSES = (429, 500, 503, buckets.DROP)
CUTS: tuple[Callable[[random.Random], lies.Lie], ...] = (
    lies.cut_headers,
    lambda draw: lies.short(draw, honest=True),
    lambda draw: lies.short(draw, honest=False),
    lies.reset,
    lies.slow,
)
ALTERATIONS: tuple[Callable[[random.Random], lies.Lie], ...] = (
    lies.flip,
    lambda draw: lies.other_range(draw, twice=True),
    lambda draw: lies.other_range(draw, twice=False),
    lambda draw: lies.stale(lambda whole: whole.replace(b"a", b"b")),
)


def write_corpus(folder: pathlib.Path, draw: random.Random) -> None:
    """A few kilobytes in each of several formats."""

    def texts(count: int) -> list[str]:
        return [" ".join(draw.choices(("one", "two", "three", "a longer word", "ä"), k=draw.randrange(1, 60))) for _ in range(count)]

    for name in ("lines", "rows", "tables"):
        (folder / name).mkdir(parents=True)
    lines = ["".join(json.dumps({"text": text}) + "\n" for text in texts(count)).encode() for count in (30, 5)]
    (folder / "lines/cut.jsonl").write_bytes(lines[0])
    (folder / "lines/small.jsonl").write_bytes(lines[1])
    (folder / "lines/packed.jsonl.gz").write_bytes(gzip.compress(lines[0], mtime=0))
    (folder / "rows/cut.csv").write_text("text\n" + "\n".join(texts(20)) + "\n", encoding="utf-8")
    pq.write_table(pa.table({"text": texts(20), "other": list(range(20))}), folder / "tables/cut.parquet", row_group_size=10)


def write_config(path: pathlib.Path, corpus: str, stage: str) -> str:
    """Writes a config that cuts the text into some eight blocks."""
    sources = [
        {"name": "lines", "files": [f"{corpus}/lines"]},
        {"name": "rows", "files": [f"{corpus}/rows"], "format": "csv", "embedded_newlines": False},
        {"name": "tables", "files": [f"{corpus}/tables"], "format": "parquet"},
    ]
    config = {
        "output": "unused",
        "sources": sources,
        "vocabulary": {"kind": "bytes"},
        "packing": {"seq_len": 64},
        "order": {"group_tokens": 8000},
        "shards": {"examples": 200},
        "seed": 7,
        "execution": {"block_mb": 0.004, "stage": stage},
    }
    path.write_text(yaml.safe_dump(config))
    return str(path)


def disturb(server: buckets.Server, draw: random.Random, rate: float) -> None:
    """Makes the server lie: what describes objects is cut or refused, what they hold also altered."""

    def distort(number: int, method: str, path: str) -> lies.Lie | None:
        if draw.random() >= rate:
            return None
        return draw.choice(CUTS + ALTERATIONS if method == "GET" and "alt=media" in path else CUTS)(draw)

    server.distort = distort
    server.fail = lambda number, method, path: draw.choice(STATUSES) if draw.random() < rate / 4 else None


def build(config: str, output: str) -> tuple[int, str]:
    """Runs the command; gives its exit code and what it says."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = cli.main(["build", config, "--output", output, "--direct_num_workers=1"])
    return code, said.getvalue()


def rows(dataset: str) -> Iterator[bytes]:
    """All batches of a dataset, as a loader reads them."""
    for batch in load(dataset).batches(16, seed=1, epochs=1, drop_remainder=False):
        yield b"".join(np.ascontiguousarray(batch[name]).tobytes() for name in sorted(batch))


class Chains:
    """The undisturbed dataset of a seed, and chains that must end as it did."""

    def __init__(self, directory: pathlib.Path, seed: int) -> None:
        self._directory, self._seed = directory, seed
        write_corpus(directory / "corpus", random.Random(seed))
        with buckets.server():
            buckets.upload(directory / "corpus", f"{REMOTE}/corpus")
            self._config = write_config(directory / "config.yaml", f"{REMOTE}/corpus", f"{REMOTE}/stage")
            code, said = build(self._config, f"{REMOTE}/dataset")
            assert code == 0, said
            self._files, self._rows = self._read()

    def _read(self) -> tuple[dict[str, bytes], list[bytes]]:
        found = {name: files.read_bytes(f"{REMOTE}/dataset/{name}") for name in files.list_files(f"{REMOTE}/dataset")}
        return found, list(rows(f"{REMOTE}/dataset"))

    def run(self, number: int, result: Result) -> None:
        """Runs one chain, and counts how it ended."""
        draw = random.Random(f"{self._seed}/{number}")
        result.chains += 1
        with buckets.server() as server:
            buckets.upload(self._directory / "corpus", f"{REMOTE}/corpus")
            disturb(server, draw, rate=draw.choice((0.01, 0.03, 0.1)))
            for _ in range(RUNS):
                code, said = build(self._config, f"{REMOTE}/dataset")
                if tracebacks := said.count("Traceback (most recent call last)"):
                    result.tracebacks += tracebacks
                    print(f"chain {number}: {said}", flush=True)
                if code == 0:
                    break
            else:
                result.refused += 1
                print(f"chain {number}: {said}", flush=True)
                return
            try:
                read = list(rows(f"{REMOTE}/dataset"))
            except TokenreelError as error:
                result.refused += 1
                print(f"chain {number}: {error}", flush=True)
                return
            server.calm()
            same = (self._read()[0], read) == (self._files, self._rows)
            result.identical += same
            if not same:
                print(f"chain {number}: other bytes", flush=True)


def run(count: int, seed: int) -> Result:
    """Runs so many chains."""
    result = Result()
    before = gcs.FIRST_DELAY, retrying.DELAYS
    gcs.FIRST_DELAY, retrying.DELAYS = 0.001, (0.001,) * len(retrying.DELAYS)
    try:
        with tempfile.TemporaryDirectory() as folder:
            chains = Chains(pathlib.Path(folder), seed)
            for number in range(count):
                chains.run(number, result)
                if (number + 1) % 10 == 0:
                    print(result, flush=True)
    finally:
        gcs.FIRST_DELAY, retrying.DELAYS = before
    return result
