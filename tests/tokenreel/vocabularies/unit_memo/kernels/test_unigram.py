"""Segmentations by a unigram model: the best of all, rounded as float32 sums are."""

import numpy as np
import pytest

from tests.tokenreel.vocabularies.blocks import block, split
from tokenreel.vocabularies.unit_memo.kernels.trie import build_trie
from tokenreel.vocabularies.unit_memo.kernels.unigram import RESTART, in_doubt, segment, segment_again

PIECES = {"a": -2.0, "b": -2.5, "ab": -4.0, "abc": -7.5, "bc": -5.5, "c": -3.0, "aa": -4.5, "é": -3.0}
UNKNOWN, UNKNOWN_SCORE = 50, -17.5


BYTE_IDS = range(1000, 1256)


def model_of(byte_ids=BYTE_IDS):
    names = list(PIECES)
    ordered = sorted(names, key=str.encode)
    trie = build_trie(*block(ordered), np.array([names.index(name) for name in ordered], dtype=np.int32))
    scores = np.array([-np.inf, *PIECES.values()], dtype=np.float32)
    return trie, scores, np.int32(UNKNOWN), np.float32(UNKNOWN_SCORE), np.array(list(byte_ids), dtype=np.int32)


def all_segmentations(text):
    """Every way to write a text in pieces, and the sum of its scores."""
    if not text:
        yield [], 0.0
    for size in range(1, len(text) + 1):
        known = text[:size] in PIECES
        if known or (size == 1):
            own = PIECES[text[:size]] if known else UNKNOWN_SCORE
            ids = [list(PIECES).index(text[:size])] if known else [1000 + byte for byte in text[:size].encode()]
            for rest, score in all_segmentations(text[size:]):
                yield ids + rest, own + score


def test_the_best_segmentation_is_found():
    random = np.random.default_rng(0)
    texts = ["", *("".join(random.choice(list("abcéx"), size)) for size in random.integers(1, 10, 200))]
    ids, bounds, sums, certain = segment(*block(texts), model_of())
    for text, found, total, sure in zip(texts, split(ids, np.diff(bounds)), sums.tolist(), certain.tolist(), strict=True):
        ways = list(all_segmentations(text))
        best = max(score for _, score in ways)
        assert total == best and found in [way for way, score in ways if score == best]
        if sum(score == best for _, score in ways) > 1:
            assert sure <= 0, "rounding may decide between ways that are equally good"


def test_unknown_characters_side_by_side_are_one_token_without_bytes():
    ids, bounds, _, certain = segment(*block(["xxa", "ab", "xax"]), model_of(byte_ids=()))
    assert split(ids, np.diff(bounds)) == [[UNKNOWN, 0], [2], [UNKNOWN, 0, UNKNOWN]]
    assert certain[0] == certain[2] == -1


def test_sums_begin_anew_below_a_limit():
    _, _, sums, certain = segment(*block(["x" * 10_000, "x" * 100]), model_of())
    assert RESTART + UNKNOWN_SCORE <= sums[0] < 0 and certain[0] == -1
    assert sums[1] == 100 * UNKNOWN_SCORE and certain[1] > 0


@pytest.mark.parametrize("before", [1, 300, 5_700, 5_720, 20_000])
def test_units_are_decided_at_the_sums_before_them(before):
    """Documents of units that no piece joins, some known and some new, get the ids of the whole text: rounded, and begun anew, likewise."""
    known_units, new_units = ["x" * before, "éabc", "xaab"], ["ébcabcbcb", "é"]
    model = model_of()
    token_scores = np.full(1256, UNKNOWN_SCORE, dtype=np.float32)
    token_scores[: len(PIECES)] = list(PIECES.values())
    (known, known_sums), (new, new_sums) = (encoded(units, model) for units in (known_units, new_units))
    documents = [[0, 1, 2, -1, -2, 1], [1, -1], [0, 0, -1, 0, 1]]
    entries, first = np.concatenate(documents).astype(np.int32), np.array([0, 6, 8, 13], dtype=np.int64)
    ids, counts = segment_again(np.array([0, 2]), entries, first, known, new, model, token_scores)
    texts = ["".join(known_units[i] if i >= 0 else new_units[-1 - i] for i in document) for document in documents]
    whole, whole_bounds, _, _ = segment(*block(texts), model)
    expected = split(whole, np.diff(whole_bounds))
    assert split(ids, counts) == [expected[0], expected[2]]
    doubt = in_doubt(entries, first, known_sums, known[4], new_sums, new[4])
    assert doubt[0] or split(*segment_again(np.array([0]), entries, first, known, new, model, token_scores)) == [expected[0]]
    assert doubt[2] == (before == 20_000) or before < 20_000, "a unit that begins anew is never certain"


def encoded(units, model):
    """Units as `segment_again` takes them, and their sums."""
    ids, bounds, sums, certain = segment(*block(units), model)
    return (ids, bounds, *block(units), certain), sums
