"""The table of units seen."""

from __future__ import annotations

import numpy as np
import pytest

from tests.tokenreel.vocabularies.blocks import joined, split
from tokenreel import ragged
from tokenreel.vocabularies.unit_memo.kernels.units import cut_documents
from tokenreel.vocabularies.unit_memo.unit_table import EMPTY, NONE, EncodedUnits, Table, pick


def cut(words):
    """Words as the kernels give them, one unit each: text, bounds, hashes, flags."""
    allowed, spaces = np.zeros(65_536, dtype=bool), np.zeros(256, dtype=bool)
    text, bounds, _, hashes, flags, _ = cut_documents(*joined([word.encode() for word in words]), allowed, spaces)
    return text, bounds, hashes, flags


def with_ids(words, *, unigram=False) -> EncodedUnits:
    """What a model might make of words: each has its length as its id, so many times."""
    text, bounds, _, flags = cut(words)
    sizes = np.array([len(word) for word in words], dtype=np.int64)
    units = NONE._replace(flags=flags, text=text, text_bounds=bounds.astype(np.int64))
    units = units._replace(ids=np.repeat(sizes, sizes).astype(np.int32), id_bounds=ragged.offsets_of(sizes))
    if unigram:
        scores = -sizes.astype(np.float32)
        units = units._replace(spelling=text, spelling_bounds=bounds.astype(np.int64), scores=scores, certain=scores)
    return units


def held(table: Table, words) -> list[bool]:
    """Which words a table holds, each with the ids it should have."""
    entries, _ = table.look_up(*cut(words))
    for word, entry in zip(words, entries.tolist(), strict=True):
        if entry >= 0:
            begin, end = table.units.id_bounds[entry : entry + 2]
            assert table.units.ids[begin:end].tolist() == [len(word)] * len(word)
    return (entries >= 0).tolist()


WORDS = [f"{'a' * (i % 13)}{i}" for i in range(3000)]


@pytest.mark.parametrize("unigram", [False, True])
def test_a_table_grows_and_older_ones_stay_as_they_were(unigram):
    tables, table = [], EMPTY
    for start in range(0, len(WORDS), 250):
        words = WORDS[start : start + 250]
        table = table.added(cut(words)[2], with_ids(words, unigram=unigram), 1 << 24)
        tables.append(table)
    for number, older in enumerate(tables):
        known = 250 * (number + 1)
        assert older.size == known and held(older, WORDS) == [i < known for i in range(len(WORDS))]
    filled = table.units.scores[: table.size].tolist()
    assert filled == ([-len(word) for word in WORDS] if unigram else [])


def test_a_table_takes_no_more_than_it_may():
    hashes, units = cut(WORDS)[2], with_ids(WORDS)
    whole = EMPTY.added(hashes, units, 1 << 24)
    assert EMPTY.nbytes == 0 and EMPTY.added(hashes, units, whole.nbytes) is not None
    assert EMPTY.added(hashes, units, whole.nbytes - 1) is None


def test_units_are_picked_with_all_that_is_known_of_them():
    units = with_ids(["a", "bcd", "ef"], unigram=True)
    picked = pick(units, np.array([2, 0], dtype=np.int32))
    assert split(picked.ids, np.diff(picked.id_bounds)) == [[2, 2], [1]]
    assert picked.text.tobytes() == picked.spelling.tobytes() == b"efa"
    assert picked.scores.tolist() == picked.certain.tolist() == [-2, -1] and picked.flags.tolist() == [3, 3]
    assert pick(with_ids(["a", "b"]), np.array([1], dtype=np.int32)).scores.tolist() == []
