"""Units are found in a table, and their ids gathered, as plain Python would."""

import itertools

import numpy as np
import pytest

from tests.tokenreel.vocabularies.blocks import hashed, joined
from tokenreel import ragged
from tokenreel.vocabularies.unit_memo.kernels import hashing, units


def test_the_hash_of_a_short_unit_is_no_other_units():
    """Turned back, it tells the bytes, how many they are, and the flags."""
    random = np.random.default_rng(0)
    contents = [bytes(random.choice([0, 1, 32, 97, 255], size).tolist()) for size in random.integers(1, 11, 20_000).tolist()]
    _, _, hashes, flags = hashed(contents, random.integers(0, 16, len(contents)).tolist())
    back = pow(int(hashing.MIX), -1, 1 << 64)
    shorts = 0
    for content, value, flag in zip(contents, hashes.tolist(), flags.tolist(), strict=True):
        tag = ((value ^ value >> 32) * back) % (1 << 64)
        assert tag >> 63 == (len(content) <= hashing.SHORT)
        if tag >> 63:
            size, word = tag >> 56 & 7, tag & (1 << 56) - 1
            assert (word.to_bytes(7, "big")[7 - size :], tag >> 59 & 15) == (content, flag)
            shorts += 1
    assert 10_000 < shorts < len(hashes)


def cut_anywhere(documents):
    """Units of one to twelve bytes, cut before each `a`, as `hashed` gives them."""
    parts = [[part for part in document.replace(b"a", b"|a").split(b"|") if part] for document in documents]
    flags = [1 * (i == 0) | 2 * (i == len(units) - 1) for units in parts for i in range(len(units))]
    return hashed([part for units in parts for part in units], flags)


def random_documents(count, seed):
    random = np.random.default_rng(seed)
    return [bytes(random.choice(list(b"abcd"), size).tolist()) for size in random.integers(0, 40, count).tolist()]


def empty_table(room):
    return np.full(room, -1, dtype=np.int32), np.zeros(room, dtype=np.uint64)


def test_units_are_found_in_a_table_and_among_themselves():
    known_text, known_bounds, known_hashes, known_flags = cut_anywhere(random_documents(300, 1))
    nothing = units.find_units(*empty_table(1), 0, known_text[:0], np.zeros(1, dtype=np.int64), known_flags[:0],
                               known_text, known_bounds, known_hashes, known_flags)  # fmt: skip
    contents = [(known_text[a:b].tobytes(), flag) for (a, b), flag in zip(itertools.pairwise(known_bounds), known_flags, strict=True)]
    numbers: dict[tuple[bytes, int], int] = {}
    assert (-1 - nothing[0]).tolist() == [numbers.setdefault(content, len(numbers)) for content in contents]
    assert [contents[unit] for unit in nothing[1]] == list(numbers)

    distinct = nothing[1]
    places, place_hashes = empty_table(1 << (2 * len(distinct)).bit_length())
    units.place_entries(places, place_hashes, np.arange(len(distinct), dtype=np.int32), known_hashes[distinct], 0)
    table_text, table_bounds = units.take_sequences(known_text, known_bounds, distinct)
    text, bounds, hashes, flags = cut_anywhere(random_documents(300, 2))
    for count in (len(distinct), len(distinct) // 2):  # other threads may have added what this one does not know
        entries, new = units.find_units(
            places, place_hashes, count, table_text, table_bounds, known_flags[distinct], text, bounds, hashes, flags
        )
        fresh: dict[tuple[bytes, int], int] = {}
        for unit, entry in enumerate(entries.tolist()):
            content = text[bounds[unit] : bounds[unit + 1]].tobytes(), flags[unit]
            number = numbers.get(content, count)
            assert entry == (number if number < count else -1 - fresh.setdefault(content, len(fresh)))
        assert len(new) == len(fresh) > 0 and entries.max() >= 0


def test_units_of_one_hash_are_told_apart():
    text, bounds = joined([b"longer than seven", b"also longer than", b"longer than seven"])
    same, flags = np.full(3, 5, dtype=np.uint64), np.zeros(3, dtype=np.uint8)
    entries, new = units.find_units(*empty_table(1), 0, text[:0], np.zeros(1, dtype=np.int64), flags[:0],
                                    text, bounds.astype(np.int32), same, flags)  # fmt: skip
    assert entries.tolist() == [-1, -2, -1] and new.tolist() == [0, 1]


@pytest.mark.parametrize(("dtype", "bounds_dtype"), [(np.uint8, np.int32), (np.uint8, np.int64), (np.int32, np.int64)])
def test_sequences_are_taken_in_any_order(dtype, bounds_dtype):
    values, bounds = np.array([5, 6, 7, 8], dtype=dtype), np.array([0, 2, 2, 3, 4], dtype=bounds_dtype)
    found, found_bounds = units.take_sequences(values, bounds, np.array([3, 0, 1, 0], dtype=np.int32))
    assert found.dtype == dtype and found.tolist() == [8, 5, 6, 5, 6] and found_bounds.tolist() == [0, 1, 3, 3, 5]


def test_ids_of_documents_come_from_known_and_new_units():
    ids, id_bounds = np.array([1, 2, 3], dtype=np.int32), ragged.offsets_of(np.array([2, 0, 1]))
    new_ids, new_bounds = np.array([7, 8, 9], dtype=np.int32), ragged.offsets_of(np.array([1, 2]))
    entries, first = np.array([0, -2, 2, -1, 1, 0], dtype=np.int32), np.array([0, 2, 2, 6], dtype=np.int64)
    counts = units.count_ids(entries, first, id_bounds, new_bounds)
    assert counts.tolist() == [4, 0, 4]
    out = np.full(8, -5, dtype=np.int32)
    units.gather_ids(entries, first, ids, id_bounds, new_ids, new_bounds, np.array([2]), ragged.offsets_of(counts), out)
    assert out.tolist() == [-5] * 4 + [3, 7, 1, 2], "only the documents asked for"
    units.gather_ids(entries, first, ids, id_bounds, new_ids, new_bounds, np.array([0, 1]), ragged.offsets_of(counts), out)
    assert out.tolist() == [1, 2, 8, 9, 3, 7, 1, 2]
