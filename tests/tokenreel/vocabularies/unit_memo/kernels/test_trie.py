"""What the compiled loops of the memo promise each other."""

import itertools

import numpy as np
import pytest

from tokenreel import ragged
from tokenreel.vocabularies.unit_memo.kernels import hashing, units
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, build_trie, child


def joined(parts):
    return np.frombuffer(b"".join(parts), dtype=np.uint8), ragged.offsets_of(np.array([len(part) for part in parts], dtype=np.int64))


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


def test_the_hash_of_a_short_unit_is_no_other_units():
    """Turned back, it tells the bytes, how many they are, and the flags."""
    random = np.random.default_rng(0)
    documents = [bytes(random.choice([0, 1, 32, 97, 255], size).tolist()) for size in random.integers(0, 11, 20_000).tolist()]
    allowed = np.zeros(65_536, dtype=bool)
    allowed[97 << 8 | 32] = True  # between a space and an a
    text, bounds, first, hashes, flags, with_symbol = units.cut_documents(*joined(documents), allowed, np.zeros(256, dtype=bool))
    assert text.tobytes() == b"".join(documents) and not with_symbol.any()
    back = pow(int(hashing.MIX), -1, 1 << 64)
    shorts = 0
    for unit, (value, flag) in enumerate(zip(hashes.tolist(), flags.tolist(), strict=True)):
        content = text[bounds[unit] : bounds[unit + 1]].tobytes()
        tag = ((value ^ value >> 32) * back) % (1 << 64)
        assert tag >> 63 == (len(content) <= hashing.SHORT)
        if tag >> 63:
            size, word = tag >> 56 & 7, tag & (1 << 56) - 1
            assert (word.to_bytes(7, "big")[7 - size :], tag >> 59 & 15) == (content, flag)
            shorts += 1
    assert 10_000 < shorts < len(hashes)
    parts = [part for document in documents for part in document.replace(b" a", b" |a").split(b"|") if part]
    assert [text[a:b].tobytes() for a, b in itertools.pairwise(bounds.tolist())] == parts
    assert len(first) == len(documents) + 1 and first[-1] == len(hashes)


def test_runs_of_spaces_and_the_symbol_are_seen():
    spaces = np.zeros(256, dtype=bool)
    spaces[[9, 32]] = True
    documents = [b"  a \t b\t", b"", b" ", "x\u2581".encode(), b"\xe2\x96", b"\x81"]
    found = units.cut_documents(*joined(documents), np.zeros(65_536, dtype=bool), spaces)
    assert found[0].tobytes() == b" a b\t" + b"".join(documents[1:])
    assert found[5].tolist() == [False, False, False, True, False, False]
