from __future__ import annotations

import random

import numpy as np
import pytest

from tests import rank_files
from tests.tokenreel.vocabularies.blocks import block, split
from tokenreel.vocabularies.pre_tokenizers.patterns import RANKS
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised, for_pattern
from tokenreel.vocabularies.ranks.merges import byte_pairs_of_ranks
from tokenreel.vocabularies.unit_memo.byte_pairs import BytePairMemo, lay_out

PATTERN = r"[^\n]+|\n"
BYTES = {bytes([byte]): byte for byte in range(256)}
NONE = np.zeros(0, dtype=np.int32)


def encode(ids, texts):
    memo = BytePairMemo(lay_out(byte_pairs_of_ranks(ids), for_pattern(PATTERN, RANKS)), 1 << 22)
    return split(*memo.encode(*block(texts), NONE))


@pytest.mark.parametrize("alphabet", ["ab", "abc", "aé"])
def test_ids_are_those_of_tiktoken_whatever_the_ranks(alphabet):
    """Files that no training would make: pieces that nothing merges into, of several pairs, of lower rank than their parts."""
    random_, several, whole = random.Random(1), 0, 0
    for seed in range(300):
        ids = rank_files.chance(seed, alphabet.encode())
        sizes = [1, 2, 3, 5, 8, 20, 60, 120, *([700] if seed % 10 == 0 else [])]
        texts = ["".join(random_.choices(alphabet, k=size)) for size in sizes for _ in range(4)]
        texts += [piece.decode() for piece in ids if len(piece) > 1 and not set(piece) - set(b"abc")]
        library = rank_files.library(ids, PATTERN)
        assert encode(ids, texts) == [library.encode_ordinary(text) for text in texts], seed
        found = byte_pairs_of_ranks(ids)
        several += sum(sum(p[:i] in ids and p[i:] in ids for i in range(1, len(p))) > 1 for p in ids)
        whole += len(found.pieces)
    assert several > 1000 and whole > 1000  # or the test shows nothing


def test_a_piece_is_made_by_one_of_its_pairs_alone():
    ids = {**BYTES, b"ab": 300, b"bc": 301, b"abc": 302}
    found = byte_pairs_of_ranks(ids)
    pairs = list(zip(found.left.tolist(), found.right.tolist(), found.merged.tolist(), strict=True))
    assert pairs == [(97, 98, 300), (98, 99, 301), (300, 99, 302)]  # never a and bc
    assert encode(ids, ["abc", "bc", "aabcbc"]) == [[302], [301], [97, 302, 301]]


def test_a_piece_that_its_bytes_do_not_become_is_taken_whole():
    ids = {**BYTES, b"bc": 256, b"ab": 257, b"abcd": 258}
    assert byte_pairs_of_ranks(ids).pieces == {b"abcd": 258}
    assert encode(ids, ["abcd", "abcde", "abc"]) == [[258], [97, 256, 100, 101], [97, 256]]


def test_pieces_of_bytes_that_no_text_holds_do_no_harm():
    ids = {piece: i for piece, i in BYTES.items() if piece != b"\xff"} | {b"\xffa": 256, b"ab": 257, b"\xffab": 258}
    assert encode(ids, ["aab"]) == [[97, 257]]


@pytest.mark.parametrize("extra", [b"x" * 300, b"x" * 9000])
def test_what_our_loops_do_not_count_goes_to_the_library(extra):
    with pytest.raises(NotRecognised, match="bytes"):
        byte_pairs_of_ranks({**BYTES, extra: 256})


def test_a_long_piece_that_is_merged_is_merged():
    ids = {**BYTES} | {b"x" * (1 << size): 255 + size for size in range(1, 11)}
    assert encode(ids, ["x" * 1024, "x" * 1025, "x" * 300]) == [[265], [265, 120], [263, 260, 258, 257]]
