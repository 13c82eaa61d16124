"""A trie finds the pieces it was made of."""

import numpy as np
import pytest

from tests.tokenreel.vocabularies.blocks import joined
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, build_trie, child


def pieces_at(trie, text):
    """The pieces that a text begins with, shortest first."""
    base, found = ROOT, []
    for byte in text:
        slot = int(child(trie, base, byte))
        if slot == 0:
            break
        if slot & MASK:
            found.append((slot & MASK) - 1)
        base = slot >> BASE & MASK
    return found


@pytest.mark.parametrize("letters", [2, 30, 256])
def test_a_trie_finds_its_pieces_and_no_others(letters):
    random = np.random.default_rng(letters)
    pieces = {bytes(random.integers(0, letters, size).tolist()): i for i, size in enumerate(random.integers(1, 8, 20_000).tolist())}
    ordered = sorted(pieces)
    trie = build_trie(*joined(ordered), np.array([pieces[piece] for piece in ordered], dtype=np.int32))
    assert len(trie) % 256 == 0 and not trie[:256].any()
    for _ in range(5_000):
        text = bytes(random.integers(0, letters, 10).tolist())
        assert pieces_at(trie, text) == [pieces[text[:size]] for size in range(1, 11) if text[:size] in pieces]
    for piece, i in pieces.items():
        assert pieces_at(trie, piece)[-1] == i


def test_an_empty_trie_finds_nothing():
    trie = build_trie(*joined([]), np.zeros(0, dtype=np.int32))
    assert not trie.any() and len(trie) >= 512
