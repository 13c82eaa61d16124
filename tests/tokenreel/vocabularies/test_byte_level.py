"""Bytes as tokens, as ByT5 numbers them."""

from __future__ import annotations

from tests.tokenreel.vocabularies.blocks import block
from tokenreel.vocabularies.loading import load_vocabulary


def test_bytes_go_there_and_back():
    vocabulary = load_vocabulary("bytes")
    assert vocabulary.encode("é") == [0xC3 + 3, 0xA9 + 3]
    ids, lengths = vocabulary.encode_block(*block(["é", "", "ab"]))
    assert ids.tolist() == [*vocabulary.encode("é"), *vocabulary.encode("ab")] and lengths.tolist() == [2, 0, 2]
    assert vocabulary.decode([1, *vocabulary.encode("né"), 0]) == "né"
