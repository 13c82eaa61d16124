from __future__ import annotations

import itertools
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.documents import documents
from tokenreel.curation import hash_tables
from tokenreel.curation.cleaned import Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.sources.inputs import Block
from tokenreel.staging import encoding, merging, stage_file
from tokenreel.staging.columns import StageInfo
from tokenreel.staging.merging import Input
from tokenreel.staging.stage_file import StageFile
from tokenreel.vocabularies.loading import load_vocabulary


def write(directory: pathlib.Path, block: int, count: int, *, full: bool) -> StageInfo:
    """A stage file of a block; every third document has a key that others have, too."""
    found = documents(*(f"Text {block} {i}. And more." for i in range(count)))
    found.key = np.random.default_rng(block).integers(0, 1 << 64, count, dtype=np.uint64)
    found.key[::3] = 1 << 62
    found.files = [f"file \udcff {block}"]
    if full:
        found.ids = [f"näme {block} {i}" for i in range(count)]
        found.metadata = [f'{{"i": {i}}}' for i in range(count)]
        found.sort_value = np.arange(count, dtype=np.uint64)
    vocabulary = load_vocabulary("bytes", None)
    columns, cleaned = encoding.encode(Cleaned.of(found), vocabulary, Rules(), "rules" if full else None, with_offsets=full)
    return stage_file.write(str(directory / f"{block}.stage"), Block(0, block, ()), 0, True, cleaned, columns, "uint16")


def rows(info: StageInfo, removed: frozenset[int] = frozenset()) -> list[tuple[Any, ...]]:
    """Everything that a file tells of each document."""
    stage = StageFile(info)

    def ragged(name: str, offset_name: str, present: bool) -> list[bytes]:
        if not present:
            return [b""] * info.documents
        values, bounds = stage.read(name), stage.read(offset_name)
        return [values[a:b].tobytes() for a, b in itertools.pairwise(bounds.tolist())]

    names = (
        ragged("id", "id_offset", True)
        if info.id_bytes
        else [name.encode("utf-8", "backslashreplace") for name in stage.names(0, info.documents)]
    )
    columns = (
        stage.read("key").tolist(),
        ragged("tokens", "token_offset", True),
        names,
        ragged("metadata", "metadata_offset", info.metadata_bytes > 0),
        stage.read("sort_value").tolist() if info.ordered else [None] * info.documents,
        ragged("sentence_length", "sentence_offset", info.sentences > 0),
        ragged("token_spans", "token_offset", info.offsets),
    )
    return [row for i, row in enumerate(zip(*columns, strict=True)) if i not in removed]


def merge(directory: pathlib.Path, inputs: list[Input], ranges: int, strand: int = 0) -> list[StageInfo]:
    paths = (str(directory / f"{strand} {len(inputs)} {part} {ranges}.stage") for part in range(ranges))
    found = [merging.merge(path, inputs, source=0, strand=strand, part=part, ranges=ranges) for part, path in enumerate(paths)]
    return [info for info in found if info is not None]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("ranges", [1, 3, 40])
def test_documents_are_all_there_in_the_order_of_their_keys(tmp_path: pathlib.Path, full: bool, ranges: int) -> None:
    infos = [write(tmp_path, block, count, full=full) for block, count in enumerate([9, 0, 1, 12, 700, 5])]
    gone = np.array([0, 3, 8], dtype=np.int64)
    removed = hash_tables.write_rows(str(tmp_path), "documents", gone)
    inputs = [Input(info, removed if info.block == 3 else None) for info in infos]
    left_out = [frozenset(gone.tolist()) if info.block == 3 else frozenset() for info in infos]
    expected = sorted(
        (row for info, gone in zip(infos, left_out, strict=True) for row in rows(info, gone)), key=lambda row: row[0]
    )  # stable: of equal keys the first in the text comes first
    once = merge(tmp_path, inputs, ranges)
    assert [row for info in once for row in rows(info)] == expected
    assert all(info.key_range[0] <= row[0] < info.key_range[1] for info in once for row in rows(info))
    halves = [merge(tmp_path, inputs[:3], 2, strand=0), merge(tmp_path, inputs[3:], 5, strand=1)]
    twice = merge(tmp_path, [Input(info) for half in halves for info in half], ranges)
    assert [row for info in twice for row in rows(info)] == expected
    assert [pathlib.Path(info.path).read_bytes()[info.body :] for info in once] == [
        pathlib.Path(info.path).read_bytes()[info.body :] for info in twice
    ]
    for low, high in [(0, 1 << 64), (1 << 62, (1 << 62) + 1), (1 << 60, 1 << 63)]:
        found = [rows(info)[slice(*StageFile(info).documents_between(low, high))] for info in once]
        assert list(itertools.chain.from_iterable(found)) == [row for row in expected if low <= row[0] < high]


def test_what_is_there_is_kept_and_what_is_damaged_made_again(tmp_path: pathlib.Path) -> None:
    inputs = [Input(write(tmp_path, block, 20, full=True)) for block in range(3)]
    path = tmp_path / "merged.stage"

    def make() -> StageInfo | None:
        return merging.merge(str(path), inputs, source=0, strand=4, part=0, ranges=1)

    info = make()
    data, made = path.read_bytes(), path.stat().st_ino
    assert make() == info and path.stat().st_ino == made
    for at in (20, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert make() == info and path.read_bytes() == data
    path.write_bytes(data[:-4])
    assert make() == info and path.read_bytes() == data


def test_a_strand_is_named_by_what_it_is_made_of_and_not_where_that_lies() -> None:
    name = merging.name_of(["/a/x.stage", "/a/y.stage"], ["", "/a/1.rows"], 3)
    assert name == merging.name_of(["gs://b/x.stage", "y.stage"], ["", "1.rows"], 3)
    others = [(["/a/y.stage", "/a/x.stage"], ["", "/a/1.rows"], 3), (["/a/x.stage", "/a/y.stage"], ["/a/1.rows", ""], 3)]
    others += [(["/a/x.stage", "/a/y.stage"], ["", "/a/1.rows"], 4), (["/a/x.stage"], ["", "/a/1.rows"], 3)]
    assert len({name, *(merging.name_of(*other) for other in others)}) == 5
