"""Runs of characters that are written as they are, beside what the library says of each of them alone."""

from __future__ import annotations

import unicodedata

import pytest

from tests.tokenreel.vocabularies.test_word_path import PIECE_STEPS, STEPS, both, charsmap, compare, piece_model, sequence, word_piece
from tokenreel.vocabularies.pre_tokenizers import plain_letters
from tokenreel.vocabularies.pre_tokenizers.piece_steps import PieceSteps
from tokenreel.vocabularies.pre_tokenizers.word_steps import WordSteps
from tokenreel.vocabularies.unit_memo.kernels import word_units

__all__ = ["charsmap"]  # a fixture
SYLLABLES = range(0xAC00, 0xD7A4)
IDEOGRAPHS = range(0x4E00, 0x9FA6)


def written(row, character):
    """What a row of `word_units` stands for: a class, and what is written."""
    if row == word_units.APART:
        return word_units.ALONE, b"\xff%s\xff" % character.encode()
    return word_units.WORD, (unicodedata.normalize("NFD", character) if row == word_units.JAMO else character).encode()


def check(steps, runs):
    """Asks for some characters of each run, and for its ends."""
    for first, end, row in runs:
        characters = "".join(map(chr, [first, *range(first + 1, end - 1, max(7, (end - first) // 50)), end - 1]))
        for character, letter in zip(characters, steps.ask(characters), strict=True):
            if letter.written is not None:  # those that may be composed are hard where they are asked for
                assert (letter.kind, letter.written) == written(row, character), hex(ord(character))


def rows(runs, points):
    return {row for first, end, row in runs for point in (points[0], points[-1]) if first <= point < end}


@pytest.mark.parametrize("name", STEPS)
def test_words(name):
    steps = WordSteps(*STEPS[name])
    runs = steps.find_runs()
    check(steps, runs)
    bert = STEPS[name][0] and STEPS[name][0].get("handle_chinese_chars")
    assert rows(runs, IDEOGRAPHS) == {word_units.APART if bert else word_units.ITSELF}
    decomposes = name in ("uncased", "stripped", "unclean", "trained", "digits")
    assert rows(runs, SYLLABLES) == {word_units.JAMO if decomposes else word_units.ITSELF}


@pytest.mark.parametrize("name", PIECE_STEPS)
def test_pieces(name, charsmap):
    normalizers, pre_tokenizers = PIECE_STEPS[name]
    normalizers = [{"type": "Precompiled", "precompiled_charsmap": charsmap} if each == "charsmap" else each for each in normalizers]
    steps = PieceSteps(sequence("normalizers", *normalizers), sequence("pretokenizers", *pre_tokenizers))
    runs = steps.find_runs()
    check(steps, runs)
    assert rows(runs, IDEOGRAPHS) == {word_units.ITSELF}
    assert rows(runs, SYLLABLES) == (set() if name == "albert" else {word_units.ITSELF})


def test_what_differs_is_found_by_halves():
    runs = plain_letters.find_runs(lambda text: None if "乀" in text else 5, ("Lo",), excluded=[0x5000])
    points = {point for first, end, row in runs for point in range(first, end) if row == 5}
    assert not points & {ord("乀"), 0x5000, 0x2581, 0x1160}
    assert {0x4FFF, 0x5001, 0x4E00 + 0x100, 0x9FA5, 0xAC00, 0x20000} <= points
    assert all(end - first >= 32 for first, end, _ in runs)


DOCUMENTS = [
    *("한국어 텍스트", "각", "가", "힣\u11a8", "가\u11a8 나", "\u1100가", "漢字 かな", "漢\u0301字"),
    *("漢字", "漢", "a漢b", "漢.字", "𠀀𪛖", "漢한a"),
    *("ᄀ", "\u1109\u1161", "🌀🗿", "🌀\u200d🗿 🌀", "한 국\t어\n 漢  字", "1漢2", "한1국", "", "ሀለ ᐁᐂ", "▁漢 ▁"),
]


@pytest.mark.parametrize("name", STEPS)
def test_documents_of_words(tmp_path, name):
    compare(*both(word_piece(*STEPS[name]), tmp_path), DOCUMENTS)


@pytest.mark.parametrize("name", PIECE_STEPS)
def test_documents_of_pieces(tmp_path, name, charsmap):
    compare(*both(piece_model(charsmap, *PIECE_STEPS[name]), tmp_path), DOCUMENTS)
