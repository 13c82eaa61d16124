from __future__ import annotations

import dataclasses
import os
import pathlib

import pytest

from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources.inputs import Block, FileRange, InputFile, stat_file
from tokenreel.sources.listing import list_files


def test_a_file_written_or_removed_after_the_listing_is_an_error(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    (found,) = list_files(SourceConfig(files=(str(path),)))
    found.check_unchanged()
    os.utime(path, ns=(0, found.version + 1))
    with pytest.raises(SourceError, match=r"a\.jsonl: changed after it was listed"):
        found.check_unchanged()
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.jsonl: vanished after it was listed"):
        found.check_unchanged()


def test_what_is_no_regular_file_is_refused(tmp_path: pathlib.Path) -> None:
    """Opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match=r"pipe: not a regular file \(prw"):
        stat_file(str(tmp_path / "pipe"))
    assert stat_file(str(tmp_path / "none")) is None


def test_a_block_is_known_by_what_it_reads_and_leaves_out() -> None:
    file = InputFile("here/a.txt", "a.txt", 10, 1)
    block = Block(0, 3, (FileRange(file, 0, 5), FileRange(file, 5)), ("rows/abc",))
    moved = dataclasses.replace(block, source=1, index=4, removed=("elsewhere/abc",))
    assert moved.fingerprint == block.fingerprint
    for other in (
        {"removed": ("rows/abd",)},
        {"file_ranges": block.file_ranges[:1]},
        {"file_ranges": (FileRange(file, 0, 6), FileRange(file, 6))},
        {"file_ranges": tuple(FileRange(dataclasses.replace(file, version=2), r.start, r.end) for r in block.file_ranges)},
    ):
        assert dataclasses.replace(block, **other).fingerprint != block.fingerprint


def test_what_is_packed_is_told_by_its_name_and_an_object_by_its_generation() -> None:
    assert [InputFile(f"a{end}", f"a{end}", 1, 1).compressed for end in (".gz", ".bz2", ".xz", ".zst", ".txt")] == [True] * 4 + [False]
    assert InputFile("gs://bucket/a", "a", 1, 17).generation == 17 and InputFile("a", "a", 1, 17).generation is None
