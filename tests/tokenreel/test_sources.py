from __future__ import annotations

import itertools
import os
import pathlib

import pytest

from tokenreel.config import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources import list_blocks, list_files


def make(root: pathlib.Path, *names: str, size: int = 10) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)


def names(root: pathlib.Path, *patterns: str) -> list[str]:
    return [file.name for file in list_files(SourceConfig(files=tuple(str(root / pattern) for pattern in patterns)))]


def test_patterns(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "a/1.txt", "a/2.txt", "a/deep/3.txt", "b/1.txt", "a/.hidden", "a/_SUCCESS", "a/what?.txt", "a/[x].txt")
    assert names(tmp_path, "a") == ["1.txt", "2.txt", "[x].txt", "deep/3.txt", "what?.txt"]
    assert names(tmp_path, "a/*.txt") == ["1.txt", "2.txt", "[x].txt", "what?.txt"]
    assert names(tmp_path, "**/*.txt") == ["a/1.txt", "a/2.txt", "a/[x].txt", "a/deep/3.txt", "a/what?.txt", "b/1.txt"]
    assert names(tmp_path, "a/[x].txt") == ["[x].txt"], "a file that exists is no pattern"
    assert names(tmp_path, "a/1.txt", "b/1.txt", "a/*1.txt") == ["a/1.txt", "b/1.txt"], "names tell equal files of two folders apart"


def test_a_corpus_can_move(tmp_path: pathlib.Path) -> None:
    for place in ("here", "elsewhere/far"):
        make(tmp_path / place, "1.txt", "sub/2.txt")
    assert names(tmp_path / "here", "**/*.txt") == names(tmp_path / "elsewhere/far", "**/*.txt") == ["1.txt", "sub/2.txt"]


def test_a_pattern_without_files_is_an_error(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "a.txt")
    with pytest.raises(SourceError, match=r"b\*\.txt: no file matches \(source 'text'\)"):
        names(tmp_path, "a.txt", "b*.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="empty: no file matches"):
        names(tmp_path, "empty")


def test_blocks_cover_every_byte_once(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "large.txt", size=1000)
    make(tmp_path, *(f"small-{i}.txt" for i in range(10)), size=30)
    make(tmp_path, "packed.txt.gz", size=200)
    for block_bytes in (64, 100, 999, 1000, 5000):
        blocks = list(list_blocks(SourceConfig(files=(str(tmp_path),), format="lines"), 0, block_bytes))
        assert [block.index for block in blocks] == list(range(len(blocks)))
        covered: dict[str, list[tuple[int, int]]] = {}
        for block in blocks:
            assert sum((piece.end or piece.file.size) - piece.start for piece in block.pieces) <= max(block_bytes, 200)
            for piece in block.pieces:
                covered.setdefault(piece.file.name, []).append((piece.start, piece.file.size if piece.end is None else piece.end))
        assert len(covered) == 12
        for name, ranges in covered.items():
            assert ranges[0][0] == 0
            assert ranges[-1][1] == os.path.getsize(tmp_path / name)
            assert all(end == start for (_, end), (start, _) in itertools.pairwise(ranges))
    whole = list(list_blocks(SourceConfig(files=(str(tmp_path),), format="text"), 0, 64))
    assert all(piece.end is None for block in whole for piece in block.pieces), "a document that is a file is never split"
