from __future__ import annotations

import itertools
import os
import pathlib
import pickle

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.blocks import list_blocks


def make(root: pathlib.Path, *names: str, size: int = 10) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)


def test_blocks_cover_every_byte_once(tmp_path: pathlib.Path) -> None:
    make(tmp_path, "large.txt", size=1000)
    make(tmp_path, *(f"small-{i}.txt" for i in range(10)), size=30)
    make(tmp_path, "packed.txt.gz", size=200)
    for block_bytes in (64, 100, 999, 1000, 5000):
        blocks = list(list_blocks(SourceConfig(files=(str(tmp_path),), format="lines"), 0, block_bytes))
        assert [block.index for block in blocks] == list(range(len(blocks)))
        covered: dict[str, list[tuple[int, int]]] = {}
        for block in blocks:
            assert sum((file_range.end or file_range.file.size) - file_range.start for file_range in block.file_ranges) <= max(
                block_bytes, 200
            )
            for file_range in block.file_ranges:
                covered.setdefault(file_range.file.name, []).append(
                    (file_range.start, file_range.file.size if file_range.end is None else file_range.end)
                )
        assert len(covered) == 12
        for name, ranges in covered.items():
            assert ranges[0][0] == 0
            assert ranges[-1][1] == os.path.getsize(tmp_path / name)
            assert all(end == start for (_, end), (start, _) in itertools.pairwise(ranges))
    whole = list(list_blocks(SourceConfig(files=(str(tmp_path),), format="text"), 0, 64))
    assert all(file_range.end is None for block in whole for file_range in block.file_ranges), "a document that is a file is never split"


def test_a_block_names_few_files(tmp_path: pathlib.Path) -> None:
    """A block travels through the runner: its size does not grow with the number of files, however small they are."""
    make(tmp_path, *(f"{'long' * 10}-{i:04d}.txt" for i in range(1000)), size=1)
    blocks = list(list_blocks(SourceConfig(files=(str(tmp_path),), format="text"), 0, 1 << 24))
    assert len(blocks) > 1
    assert max(len(pickle.dumps(block)) for block in blocks) < 1 << 16
    names = [file_range.file.name for block in blocks for file_range in block.file_ranges]
    assert names == sorted(os.listdir(tmp_path)), "every file once, in order"
