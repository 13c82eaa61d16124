from __future__ import annotations

import numpy as np
import pytest

from tests.tokenreel.vocabularies.blocks import block
from tokenreel.vocabularies.pre_tokenizers.patterns import RANKS
from tokenreel.vocabularies.pre_tokenizers.recognition import for_pattern
from tokenreel.vocabularies.unit_memo import lookups
from tokenreel.vocabularies.unit_memo.byte_pairs import BytePairMemo, BytePairs, lay_out

NONE = np.zeros(0, dtype=np.int32)


def memo(merges, pieces=None, memo_bytes=1 << 20, pattern=r"\p{L}+|\s+"):
    """Bytes are their own ids; each merge makes the next one."""
    left, right = (np.array([merge[i] for merge in merges], dtype=np.int32) for i in range(2))
    merged = np.arange(256, 256 + len(merges), dtype=np.int32)
    model = BytePairs(np.arange(256, dtype=np.int32), left, right, merged, pieces or {})
    return BytePairMemo(lay_out(model, for_pattern(pattern, RANKS)), memo_bytes)


def test_the_best_pair_merges_first_and_of_equals_the_left():
    found = memo([(ord("b"), ord("c")), (ord("a"), ord("b")), (ord("a"), 256), (ord("a"), ord("a"))])
    ids, lengths = found.encode(*block(["abc", "aaa ab", ""]), NONE)
    assert ids.tolist() == [258, 259, ord("a"), ord(" "), 257] and lengths.tolist() == [1, 4, 0]


def test_what_does_not_match_is_left_out():
    ids, lengths = memo([]).encode(*block(["a.b", "..."]), NONE)
    assert bytes(ids.tolist()) == b"ab" and lengths.tolist() == [2, 0]


def test_texts_that_are_tokens():
    ids, lengths = memo([]).encode(*block(["a", "<x>", "b"]), np.array([-1, 900, -1], dtype=np.int32))
    assert ids.tolist() == [97, 900, 98] and lengths.tolist() == [1, 1, 1]


@pytest.mark.parametrize(("fuses", "expected"), [(False, [97, 7, 8, 9]), (True, [97, 7])])
def test_parts_that_are_left_become_other_ids(fuses, expected):
    """The bytes of é are parts, and so is what the second one and the next first one make."""
    byte_ids = np.arange(256, dtype=np.int32)
    byte_ids[[0xC3, 0xA9]] = 1000, 1001
    parts = np.array([[7, -1, -1, -1], [-1, -1, -1, -1], [8, 9, -1, -1]], dtype=np.int32)
    left, right, merged = (np.array([each], dtype=np.int32) for each in (1001, 1000, 1002))
    model = BytePairs(byte_ids, left, right, merged, first_part=1000, parts=parts, fuses=fuses)
    found = BytePairMemo(lay_out(model, for_pattern(r"\p{L}+", RANKS)), 1 << 20)
    for text in ("aéé", "aéé" + "é" * 200):  # by both loops
        ids, _ = found.encode(*block([text]), NONE)
        assert ids.tolist()[: len(expected)] == expected


def test_whole_pieces_come_before_merges_and_after_a_full_memo():
    found = memo([(97, 97)], {b"aa": 700, b"a" * 40: 701}, memo_bytes=1)
    for _ in range(3):
        ids, _ = found.encode(*block([" ".join(["aa", "a" * 40, "aaa"]), *("b" + "cdefgh"[i % 6] * (i % 50) for i in range(5000))]), NONE)
        assert ids[:5].tolist() == [700, 32, 701, 32, 256]


def test_units_of_all_lengths_and_numbers_of_ids():
    """Up to 7, 8, 15, 16 and 256 bytes units are told in other ways, and up to 3 ids are kept in another place."""
    found = memo([(97, 97), (256, 256), (257, 257)])
    texts = ["a" * n + tail for n in [*range(40), 254, 255, 256, 257, 300, 2000] for tail in ("", "b", "bcd")]
    first, again = (found.encode(*block(texts), NONE) for _ in range(2))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    at = 0
    for text, count in zip(texts, first[1].tolist(), strict=True):
        sizes = {256: 2, 257: 4, 258: 8}
        ids = first[0][at : at + count].tolist()
        assert sum(sizes.get(i, 1) for i in ids) == len(text)
        assert bytes(i for i in ids if i < 256).replace(b"a", b"").decode() == text.strip("a")
        at += count


def test_slices_and_texts_that_are_longer():
    """A slice is 64 KB and 8,192 texts; units that begin where eight bytes are read at once, or end there."""
    words = [*("ab" * (i % 9) + "é" * (i % 3 == 0) for i in range(20_000)), "", "x"]
    texts = [*words[:9000], " ".join(words), "a" * 70_000, *words[9000:18_000], " ".join(words), ""]
    found = memo([(97, 98), (256, 256)], pattern=r"\p{L}+|\s")
    ids, lengths = found.encode(*block(texts), NONE)
    sizes, bounds = np.array([1] * 256 + [2, 4]), np.cumsum(lengths)
    assert np.diff(np.concatenate([[0], np.cumsum(sizes[ids])])[np.append(0, bounds)]).tolist() == [len(text.encode()) for text in texts]
    alone = [found.encode(*block([text]), NONE)[0] for text in texts]
    assert np.array_equal(np.concatenate(alone), ids)


def test_lookups_are_counted():
    found = memo([])
    lookups.take()
    found.encode(*block(["ab ab ab"]), NONE)
    assert lookups.take() == (3, 2)
    assert found.nbytes > 0
