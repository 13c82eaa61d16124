"""Texts whose characters and units are all new are left to the library as a whole, among others that are not."""

from __future__ import annotations

import random

import pytest

from tests.tokenreel.vocabularies.blocks import block
from tests.tokenreel.vocabularies.test_word_path import ADDED, STEPS, both, compare, metaspace, piece_model, word_piece
from tokenreel.vocabularies import huggingface
from tokenreel.vocabularies.unit_memo import word_memo


def documents():
    """Known words, characters once each, words with marks that come once, names of added tokens, and documents without anything."""
    source = random.Random(0)
    rare = source.sample(range(0x50000, 0x5A6D0), 6000)
    new = ["".join(map(chr, rare[i : i + 500])) for i in range(0, len(rare), 500)]
    marked = [" ".join("".join(chr(source.choice([97, 98, 0x301, 0x323])) for _ in range(8)) for _ in range(800)) for _ in range(4)]
    plain = [" ".join(source.choice(["abc", "ab", "日", ".", "é", "[CLS]", "[unused0]x"]) for _ in range(60)) for _ in range(20)]
    return source.sample([*new, *marked, *plain, "", "", "x"], 39)


@pytest.mark.parametrize("name", ["uncased", "digits", "nothing"])
def test_words(tmp_path, name):
    plain_names = [each for each in ADDED[:3] if not each["normalized"]]
    fast, slow = both(word_piece(*STEPS[name], added=plain_names), tmp_path)
    compare(fast, slow, documents())


def test_pieces(tmp_path):
    fast, slow = both(piece_model(b"", [{"type": "NFKC"}], [metaspace()]), tmp_path)
    compare(fast, slow, documents())


def test_what_goes_on_is_learned(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface, "_FAST_PATHS", {})
    fast, _ = both(word_piece(*STEPS["uncased"]), tmp_path)
    text = block([chr(point) * 3 for point in range(0x50000, 0x50000 + 2000)])
    left = []
    for _ in range(400):
        _, _, _, _, which = fast.fast_path.encode_with_spans(*text)
        left.append(int(which.sum()))
    assert left[0] > 1500
    assert left[-1] < left[0]
    assert min(left[200:]) < min(left[:200])


def test_units_that_cost_too_much_are_asked_for_when_they_come_again(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface, "_FAST_PATHS", {})  # other tests have the same tokenizer
    monkeypatch.setattr(word_memo, "_FIRST_CREDIT", 0.0)
    fast, _ = both(word_piece(*STEPS["digits"]), tmp_path)
    source = random.Random(1)
    text = block([" ".join("".join(chr(source.choice([97, 98, 0x301, 0x323])) for _ in range(8)) for _ in range(500))])
    left = [bool(fast.fast_path.encode_with_spans(*text)[-1][0]) for _ in range(400)]
    assert left[0]
    assert not left[-1]


def test_units_asked_for_together_are_those_asked_for_alone(tmp_path):
    """Also where a unit holds the name that is put between them, and where ids have gaps so that the name has none."""
    source = random.Random(2)
    texts = [" ".join("".join(source.choices("ab\u0301\u0323\u200bc", k=7)) for _ in range(300)) for _ in range(3)]
    texts += ["a\u0301 \U0010fffe\U0010ffff b\u0301", "\u0301", "\u0301 \u0301"]
    compare(*both(word_piece(*STEPS["digits"]), tmp_path), texts)
    compare(*both(piece_model(b"", [{"type": "NFKC"}], [metaspace("first")]), tmp_path), texts)
    content = word_piece(*STEPS["digits"])
    content["model"]["vocab"]["\u0301"] = len(content["model"]["vocab"]) + 1
    content["model"]["vocab"]["a\u0301"] = len(content["model"]["vocab"]) - 1
    compare(*both(content, tmp_path), texts)
