"""The table of units seen."""

from __future__ import annotations

import numpy as np

from tests.tokenreel.vocabularies.blocks import hashed, split
from tokenreel import ragged
from tokenreel.vocabularies.unit_memo.unit_table import EMPTY, EncodedUnits, Table, pick


def cut(words):
    """Words as the kernels give them, one unit each: text, bounds, hashes, flags."""
    return hashed([word.encode() for word in words], [3] * len(words))


def with_ids(words) -> EncodedUnits:
    """What a model might make of words: each has its length as its id, so many times."""
    text, bounds, _, flags = cut(words)
    sizes = np.array([len(word) for word in words], dtype=np.int64)
    return EncodedUnits(flags, text, bounds.astype(np.int64), np.repeat(sizes, sizes).astype(np.int32), ragged.offsets_of(sizes))


def held(table: Table, words) -> list[bool]:
    """Which words a table holds, each with the ids it should have."""
    entries, _ = table.look_up(*cut(words))
    for word, entry in zip(words, entries.tolist(), strict=True):
        if entry >= 0:
            begin, end = table.units.id_bounds[entry : entry + 2]
            assert table.units.ids[begin:end].tolist() == [len(word)] * len(word)
    return (entries >= 0).tolist()


WORDS = [f"{'a' * (i % 13)}{i}" for i in range(3000)]


def test_a_table_grows_and_older_ones_stay_as_they_were():
    tables, table = [], EMPTY
    for start in range(0, len(WORDS), 250):
        words = WORDS[start : start + 250]
        table = table.added(cut(words)[2], with_ids(words), 1 << 24)
        tables.append(table)
    for number, older in enumerate(tables):
        known = 250 * (number + 1)
        assert older.size == known and held(older, WORDS) == [i < known for i in range(len(WORDS))]


def test_a_table_takes_no_more_than_it_may():
    hashes, units = cut(WORDS)[2], with_ids(WORDS)
    whole = EMPTY.added(hashes, units, 1 << 24)
    assert EMPTY.nbytes == 0 and EMPTY.added(hashes, units, whole.nbytes) is not None
    assert EMPTY.added(hashes, units, whole.nbytes - 1) is None


def test_units_are_picked_with_all_that_is_known_of_them():
    units = with_ids(["a", "bcd", "ef"])
    picked = pick(units, np.array([2, 0], dtype=np.int32))
    assert split(picked.ids, np.diff(picked.id_bounds)) == [[2, 2], [1]]
    assert picked.text.tobytes() == b"efa" and picked.flags.tolist() == [3, 3]
