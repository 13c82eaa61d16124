"""Reads from a server that lies: they give what lies in the bucket, or fail."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from typing import IO

import pytest

from tests import buckets, lies
from tokenreel.errors import StorageError
from tokenreel.storage import files, gcs

PATH = f"gs://{buckets.BUCKET}/text"
DATA = random.Random(0).randbytes(30_000)

CUTS: dict[str, Callable[[random.Random], lies.Lie]] = {
    "cut headers": lies.cut_headers,
    "short": lambda draw: lies.short(draw, honest=True),
    "short and consistent": lambda draw: lies.short(draw, honest=False),
    "reset": lies.reset,
    "slow": lies.slow,
}
ALTERATIONS: dict[str, Callable[[random.Random], lies.Lie]] = {
    "flip": lies.flip,
    "twice": lambda draw: lies.other_range(draw, twice=True),
    "stale": lambda draw: lies.stale(lambda whole: whole[::-1]),
}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine: half of the answers are good."""
    monkeypatch.setattr(gcs, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(gcs, "LONGEST_DELAY", 0.01)
    monkeypatch.setattr(gcs, "PATIENCE", 300.0)


def lie_to(server: buckets.Server, make: Callable[[random.Random], lies.Lie], kinds: tuple[str, ...], draw: random.Random) -> None:
    """Makes half of the answers a lie."""
    server.distort = lambda number, method, path: (
        make(draw) if draw.random() < 1 / 2 and method in kinds and ("alt=media" in path or "any" in kinds) else None
    )


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_answer_is_never_the_end(server: buckets.Server, name: str) -> None:
    """Of ranges and of whole objects, with the size known or not."""
    files.write_bytes(PATH, DATA)
    _, generation = files.remote_stat(PATH) or (0, 0)
    draw = random.Random(name)
    lie_to(server, CUTS[name], ("GET", "any"), draw)
    assert files.read_bytes(PATH) == DATA
    for _ in range(5):
        offset, size = draw.randrange(len(DATA)), draw.randrange(1, 9000)
        for known in ((), (generation, len(DATA))):
            assert files.read_bytes(PATH, offset, size, *known) == DATA[offset : offset + size]
    with files.open_read(PATH) as stream:
        assert b"".join(iter(lambda: stream.read(7000), b"")) == DATA
    assert files.read_bytes(PATH, len(DATA), 10) == b"", "the end is the end all the same"
    assert files.remote_stat(PATH) == (len(DATA), generation)
    assert files.list_files(f"gs://{buckets.BUCKET}") == {"text": len(DATA)}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_an_object_that_is_read_whole_is_that_of_the_bucket(server: buckets.Server, name: str) -> None:
    files.write_bytes(PATH, DATA)
    lie_to(server, ALTERATIONS[name], ("GET",), random.Random(name))
    for _ in range(10):
        assert files.read_bytes(PATH) == DATA


@pytest.mark.parametrize("name", CUTS)
def test_writers_take_a_cut_answer_for_a_lost_one(server: buckets.Server, name: str) -> None:
    lie_to(server, CUTS[name], ("POST", "PUT", "any"), random.Random(name))
    for i in range(5):
        files.write_bytes(PATH, DATA[i:])
        assert gcs.put(PATH, DATA, files.remote_stat(PATH)[1]) == files.remote_stat(PATH)[1]  # type: ignore[index]
        assert files.read_bytes(PATH) == DATA


def test_a_server_that_only_lies_is_given_up(server: buckets.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_bytes(PATH, DATA)
    monkeypatch.setattr(gcs, "PATIENCE", 0.1)
    draw = random.Random(0)
    server.distort = lambda number, method, path: lies.short(draw, honest=False) if "alt=media" in path else None
    with pytest.raises(StorageError, match=r"gs://bucket/text: cannot read it, .* bytes came where 30,000 must"):
        files.read_bytes(PATH)


def test_an_object_that_says_it_is_encoded_is_read_as_it_is_stored(server: buckets.Server) -> None:
    """Its size and CRC are those of the compressed bytes, and ranges of what they unpack to do not exist."""
    data = gzip.compress(DATA)
    files.write_bytes(PATH, data)

    def encoded(answer: bytes, out: IO[bytes], connection: object, whole: bytes) -> bool:
        out.write(answer.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n", 1))
        return False

    server.distort = lambda number, method, path: encoded if "alt=media" in path else None
    assert files.read_bytes(PATH) == data
    assert files.read_bytes(PATH, 100, 1000) == data[100:1100]
    with files.open_read(PATH) as stream:
        assert gzip.decompress(stream.read()) == DATA
