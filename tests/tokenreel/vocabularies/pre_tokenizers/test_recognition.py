from __future__ import annotations

import json

import numpy as np
import pytest
import tokenizers

from tests.hostile_texts import PRE_TOKENIZERS, byte_level, hostile_texts, split, steps
from tokenreel.vocabularies.pre_tokenizers import automata
from tokenreel.vocabularies.pre_tokenizers.patterns import RANKS
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised, for_pattern, recognise


def library(pre_tokenizer):
    names = ("normalizer", "post_processor", "decoder")
    model = {"type": "BPE", "vocab": {}, "merges": []}
    content = {"version": "1.0", "added_tokens": [], **dict.fromkeys(names), "pre_tokenizer": pre_tokenizer, "model": model}
    return tokenizers.Tokenizer.from_str(json.dumps(content)).pre_tokenizer


@pytest.mark.parametrize("name", [name for name, steps in PRE_TOKENIZERS.items() if "removed" not in name and name != "roberta"])
def test_units_are_those_of_the_library(name):
    cutter, reference = recognise(PRE_TOKENIZERS[name]), library(PRE_TOKENIZERS[name])
    assert not cutter.prefix_space
    for text in hostile_texts(600, seed=5):
        ends = [0, *automata.cut(cutter.automaton, cutter.classes[[ord(c) for c in text]].tolist())]
        sizes = np.cumsum([0, *(len(c.encode()) for c in text)])[ends]
        assert np.diff(sizes).tolist() == [len(unit) for unit, _ in reference.pre_tokenize_str(text)], text


@pytest.mark.parametrize(
    ("pre_tokenizer", "about"),
    [
        (None, "no pre-tokenizer"),
        ({"type": "Whitespace"}, "Whitespace"),
        ({"type": "Metaspace", "replacement": "▁"}, "Metaspace"),
        (steps(split("a+")), "not byte-level"),
        (byte_level(), "whole texts"),
        (steps(byte_level(use_regex=True), split("a")), "behind ByteLevel"),
        (steps(split("a+"), byte_level(add_prefix_space=True)), "add_prefix_space"),
        (steps(split("a+", "MergedWithNext"), byte_level()), "MergedWithNext"),
        (steps(split("a+", "Isolated"), split("a+", "Removed"), byte_level()), "Removed"),
        (steps(split(r"\w+"), byte_level()), "w+"),
        (steps(split("ab"), split("a+"), byte_level()), "no run of characters"),
        (steps(split(r"[0-9]{1,3}"), split(r"[0-9]"), byte_level()), "cut further"),
        (steps({"type": "Punctuation"}, byte_level(use_regex=True)), "Punctuation"),
    ],
)
def test_what_is_not_recognised_says_why(pre_tokenizer, about):
    with pytest.raises(NotRecognised) as error:
        recognise(pre_tokenizer)
    assert about in str(error.value)


def test_a_split_at_a_string_is_a_split():
    cutter = recognise(steps({"type": "Split", "pattern": {"String": "a.b"}, "behavior": "Isolated", "invert": False}, byte_level()))
    assert automata.cut(cutter.automaton, cutter.classes[[ord(c) for c in "xa.baab"]].tolist()) == [1, 4, 7]


def test_the_pattern_of_a_file_of_ranks():
    cutter = for_pattern(r"\p{N}{1,3}+|\p{L}++|\s++$|\s", RANKS)
    assert not cutter.automaton.keeps_rest
    assert automata.cut(cutter.automaton, cutter.classes[[ord(c) for c in "1234ab  "]].tolist()) == [3, 4, 6, 8]
