from __future__ import annotations

import itertools
import pathlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel.curation import hash_tables, merged_tables


def tables_of(parts: list[list[tuple[str, int]]], directory: pathlib.Path) -> list[hash_tables.HashTable]:
    """One table for each part; a part lists texts and the names (small integers) of their documents."""
    tables = []
    for index, part in enumerate(parts):
        hashes = hash_tables.hash_texts(text.encode() for text, _ in part)
        rank = hash_tables.ranks(np.array([name for _, name in part], dtype=np.uint64))
        entries, repeats = hash_tables.tabulate(hashes, rank, np.arange(len(part)))
        tables.append(hash_tables.write_table(str(directory / str(index)), entries, repeats))
    return tables


def merge(tables: list[hash_tables.HashTable], levels: int, directory: pathlib.Path) -> list[hash_tables.HashTable]:
    """Merges tables two at a time, so often."""
    strands = np.arange(len(tables))
    for _ in range(levels):
        tasks = list(merged_tables.cut(tables, strands, fan_in=2))
        tables = [merged_tables.merge(str(directory), tables, task) for task in tasks]
        strands = np.array([task.strand for task in tasks], dtype=np.int64)
    return tables


def kept(parts: list[list[tuple[str, int]]], tables: list[hash_tables.HashTable], searched: list[hash_tables.HashTable]) -> list[list[int]]:
    gone = [set(table.read_duplicates().tolist()) for table in tables]
    for low, high in hash_tables.ranges(tables):
        for index, rows in hash_tables.find(searched, low, high):
            assert not gone[index] & set(rows.tolist()), "nothing goes twice"
            gone[index] |= set(rows.tolist())
    return [[row for row in range(len(part)) if row not in gone[i]] for i, part in enumerate(parts)]


TEXTS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "", "é"]), st.integers(0, 5)), max_size=40)


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, cuts=st.lists(st.integers(0, 40), max_size=5), small=st.booleans(), levels=st.integers(0, 3))
def test_what_stays_does_not_depend_on_the_parts(
    tmp_path_factory: pytest.TempPathFactory, texts: list[tuple[str, int]], cuts: list[int], small: bool, levels: int
) -> None:
    expected = {}
    rank = hash_tables.ranks(np.arange(6, dtype=np.uint64))
    for place, (text, name) in enumerate(texts):
        expected[text] = min(expected.get(text, (2**64, 0)), (int(rank[name]), place))
    bounds = sorted({0, *(cut for cut in cuts if cut < len(texts)), len(texts)})
    parts = [texts[a:b] for a, b in itertools.pairwise(bounds)]
    with pytest.MonkeyPatch.context() as patch:
        if small:
            patch.setattr(hash_tables, "_RANGE_ENTRIES", 2)
        directory = tmp_path_factory.mktemp("tables")
        tables = tables_of(parts, directory)
        found = kept(parts, tables, merge(tables, levels, directory))
    assert sorted(place for _, place in expected.values()) == [bounds[i] + row for i, rows in enumerate(found) for row in rows]


def test_ranges_of_a_table(tmp_path: pathlib.Path) -> None:
    (table,) = tables_of([[(str(i), i) for i in range(3000)]], tmp_path)
    every = table.between(0, 1 << 64)
    assert len(every) == 3000 and (np.diff(every[:, 0].astype(object)) > 0).all()
    bounds = [0, 1, *[(i << 64) // 7 for i in range(1, 7)], 1 << 64]
    for low, high in itertools.pairwise(bounds):
        inside = [low <= int(half) < high for half in every[:, 0]]
        np.testing.assert_array_equal(table.between(low, high), every[inside])


def test_uneven_hashes_are_found_too(tmp_path: pathlib.Path) -> None:
    """All in one corner: a range is then not where an even spread would have it."""
    entries = np.zeros((1000, 4), dtype=np.uint64)
    entries[:, 0] = np.arange(1000) + (1 << 40)
    table = hash_tables.write_table(str(tmp_path / "table"), entries, np.zeros(0, dtype=np.int64))
    for low, high in ((0, 1 << 40), (1 << 40, (1 << 40) + 500), ((1 << 40) + 500, 1 << 41), (1 << 63, 1 << 64)):
        inside = [low <= int(half) < high for half in entries[:, 0]]
        np.testing.assert_array_equal(table.between(low, high), entries[inside])


def test_a_merged_table_is_kept_and_made_again_where_it_is_damaged(tmp_path: pathlib.Path) -> None:
    tables = tables_of([[(str(i), i) for i in range(part, 3000, 2)] for part in range(3)], tmp_path)
    (task,) = merged_tables.cut(tables, np.arange(3), fan_in=64)
    merged = merged_tables.merge(str(tmp_path), tables, task)
    assert merged.entries == sum(table.entries for table in tables) and merged.duplicates == 0
    path = pathlib.Path(merged.path)
    data, made = path.read_bytes(), path.stat().st_ino
    assert merged_tables.merge(str(tmp_path), tables, task) == merged and path.stat().st_ino == made
    for damaged in (data[:-1], data + b"0", data[:100] + bytes([data[100] ^ 1]) + data[101:], b""):
        path.write_bytes(damaged)
        assert merged_tables.merge(str(tmp_path), tables, task) == merged and path.read_bytes() == data


@pytest.mark.parametrize(("tables", "entries", "fan_in"), [(100_000, 2_800_000_000, 64), (100, 10_000, 2), (1_500_000, 45_000_000_000, 64)])
def test_tables_are_merged_as_often_as_it_takes(tables: int, entries: int, fan_in: int) -> None:
    level = hash_tables.levels(tables, entries, fan_in, 20_000_000)
    assert hash_tables.reads(tables, entries, fan_in, level) <= 20_000_000
    assert not level or hash_tables.reads(tables, entries, fan_in, level - 1) > 20_000_000
    assert hash_tables.levels(tables, entries, fan_in, 1) <= 30  # even where nothing is enough
