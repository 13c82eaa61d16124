"""Models as arrays: what the kernels make of them is what the library makes of the model; `test_memo` compares whole texts."""

from __future__ import annotations

import numpy as np

from tests.tokenreel.vocabularies.sentencepiece.models import with_pieces
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.sentencepiece.model import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED
from tokenreel.vocabularies.unit_memo import model_arrays
from tokenreel.vocabularies.unit_memo.kernels.piece_words import ASK


def merges_of(train, pieces, byte_fallback=True):
    data = with_pieces(train("bpe", "identity", byte_fallback), lambda old: [piece for piece in old if piece[2] != NORMAL] + pieces)
    model = sentencepiece_model.parse(data)
    _, _, pairs, _, plain, spelled, stops, bounds, *_ = model_arrays.to_merges(model)
    names = [piece.decode() for piece in model.pieces]
    reserved = {piece.decode() for piece in model.of_type(UNKNOWN, CONTROL, BYTE)}  # in a text they are for the library to tell
    extra = sorted({character for piece, _, _ in pieces for character in piece.decode()} - set(names))
    names += extra
    found = {
        (names[int(key - 1) >> 32], names[int(key - 1) & 0xFFFFFFFF]): names[int(value) & 0xFFFFFFFF]
        for key, value in pairs.reshape(-1, 2).tolist()
        if key
    }
    listed = list(zip(spelled.tolist(), stops.tolist(), strict=True))
    others = {names[i]: listed[bounds[i] : bounds[i + 1]] for i in np.flatnonzero(~plain).tolist() if names[i] not in reserved}
    return model, found, others


def test_pairs_are_all_pairs_that_make_a_piece(train):
    pieces = [(name.encode(), -float(i), NORMAL) for i, name in enumerate(["a", "b", "ab", "aba", "ba", "xa", "é"])]
    model, found, others = merges_of(train, pieces)
    expected = {("a", "b"): "ab", ("b", "a"): "ba", ("ab", "a"): "aba", ("a", "ba"): "aba", ("x", "a"): "xa"}
    assert found == expected
    assert others == {"x": [(model_arrays._byte_ids(model)[ord("x")], 1)]}, "a character that is no piece merges, or becomes its bytes"


def test_unused_pieces_become_what_they_were_merged_from(train):
    kinds = {"a": NORMAL, "b": NORMAL, "ab": UNUSED, "abab": UNUSED, "c": UNUSED, "bc": NORMAL, "abc": UNUSED, "a~": USER_DEFINED}
    pieces = [(name.encode(), -float(i), kind) for i, (name, kind) in enumerate(kinds.items())]
    model, _, others = merges_of(train, pieces)
    a, b = (model.pieces.index(name) for name in (b"a", b"b"))
    assert others["ab"] == [(a, 1), (b, 2)] and others["abab"] == [(a, 1), (b, 2), (a, 3), (b, 4)]
    assert others["abc"] == [(ASK, 0)], "a and bc, or ab and c: the library takes the pair that it saw last in the whole text"
    assert others["c"] == [(model_arrays._byte_ids(model)[ord("c")], 1)], "a character that is no longer used is unknown"
    assert "a~" not in others
