"""Merges of short texts, against the library and against the definition."""

import itertools

import numpy as np
import pytest
import sentencepiece

from tests.tokenreel.vocabularies.blocks import block, split
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.unit_memo.kernels.bpe import MOST_MERGED, build_pairs, merge
from tokenreel.vocabularies.unit_memo.kernels.trie import build_trie

PIECES = {"a": -1.0, "b": -2.0, "c": -3.0, "é": -3.5, "ab": -4.0, "bc": -5.0, "abc": -6.0, "cé": -4.0, "aa": -7.0}
UNKNOWN = 50


def model_of(pieces, byte_ids=()):
    """The arrays of a model with these pieces, whose ids are their places in the dict."""
    names = list(pieces)
    ordered = sorted(names, key=str.encode)
    arrays = (*block(ordered), np.array([names.index(name) for name in ordered], dtype=np.int32))
    trie = build_trie(*arrays)
    scores = np.array(list(pieces.values()), dtype=np.float32)
    return trie, *build_pairs(*arrays, trie), scores, np.int32(UNKNOWN), np.array(byte_ids, dtype=np.int32)


def merged_by_definition(text, pieces):
    """The best pair first, of equals the leftmost; unknown characters side by side are one."""
    symbols = list(text)
    while True:
        pairs = [(-pieces[a + b], i) for i, (a, b) in enumerate(itertools.pairwise(symbols)) if a + b in pieces]
        if not pairs:
            break
        _, best = min(pairs)
        symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
    ids = [list(pieces).index(symbol) if symbol in pieces else UNKNOWN for symbol in symbols]
    return [i for place, i in enumerate(ids) if i != UNKNOWN or place == 0 or ids[place - 1] != UNKNOWN]


def test_pairs_are_all_pairs_of_pieces_that_make_a_piece():
    names = list(PIECES)
    _, pairs, merged, *_ = model_of(PIECES)
    found = {(int(pair - 1) >> 32, int(pair - 1) & 0xFFFFFFFF): int(piece) for pair, piece in zip(pairs, merged, strict=True) if pair}
    expected = {(i, j): names.index(a + b) for i, a in enumerate(names) for j, b in enumerate(names) if a + b in PIECES}
    assert found == expected and len(pairs) >= 2 * len(expected)


def test_texts_are_merged_by_the_definition():
    random = np.random.default_rng(0)
    texts = ["", *("".join(random.choice(list("abcé日x"), size)) for size in random.integers(1, 30, 400))]
    ids, bounds, long = merge(*block(texts), model_of(PIECES))
    assert not long.any() and split(ids, np.diff(bounds)) == [merged_by_definition(text, PIECES) for text in texts]


def test_unknown_characters_become_their_bytes():
    ids, bounds, _ = merge(*block(["日a", "xx"]), model_of(PIECES, np.arange(1000, 1256)))
    assert split(ids, np.diff(bounds)) == [[*(1000 + byte for byte in "日".encode()), 0], [1000 + ord("x")] * 2]


def test_long_texts_are_left_out():
    texts = ["é" * MOST_MERGED, "é" * (MOST_MERGED + 1), "ab"]
    ids, bounds, long = merge(*block(texts), model_of(PIECES))
    assert long.tolist() == [False, True, False] and np.diff(bounds).tolist() == [MOST_MERGED, 0, 1]
    assert ids[-1] == list(PIECES).index("ab")


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_words_are_merged_as_by_the_library(train, texts, byte_fallback):
    data = train("bpe", "identity", byte_fallback)
    model, library = sentencepiece_model.parse(data), sentencepiece.SentencePieceProcessor(model_proto=data)
    pieces = {piece.decode(): score for piece, score in zip(model.pieces, model.scores.tolist(), strict=True)}
    normal = {name: score for i, (name, score) in enumerate(pieces.items()) if model.types[i] == sentencepiece_model.NORMAL}
    words = sorted({word for text in texts[:300] for word in text.split()} | {"日本", "naïve"})
    ids, bounds, _ = merge(*block([f"▁{word}" for word in words]), model_of(normal))
    names = list(normal)
    for word, found in zip(words, split(ids, np.diff(bounds)), strict=True):
        encoded = library.encode(word)
        if UNKNOWN not in found and not any(library.is_unknown(i) or library.is_byte(i) for i in encoded):
            assert [names[i] for i in found] == [library.id_to_piece(i) for i in encoded], word
