from __future__ import annotations

import json
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from tokenreel.wording import brief, did_you_mean, one_line, plain, plain_json, plural

BIDIRECTIONAL = {"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_one_thing_is_not_several() -> None:
    assert [plural(count, "shard") for count in (0, 1, 2, 1_000)] == ["0 shards", "1 shard", "2 shards", "1,000 shards"]


@given(st.text())
def test_what_is_shown_steers_nothing(text: str) -> None:
    for shown in (plain(text), one_line(text), plain_json({"id": text})):
        assert not any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") and character not in "\t\n" for character in shown)
        assert not any(unicodedata.bidirectional(character) in BIDIRECTIONAL for character in shown)
    assert "\n" not in one_line(text) and "\n" not in plain_json(text)
    assert json.loads(plain_json(text)) == text


def test_text_of_any_language_stays() -> None:
    text = "Grüße, שלום, مرحبا, नमस्ते, 👩\u200d💻\tand\nmore"
    assert plain(text) == text
    assert one_line(text) == text.replace("\t", "\\t").replace("\n", "\\n")


def test_a_value_is_quoted_by_its_beginning() -> None:
    assert brief("short") == "'short'" and brief({"a": [1, 2]}) == "{'a': [1, 2]}"
    for value in ("x" * 10_000, list(range(10_000)), {str(i): i for i in range(10_000)}, [[[[[[1]]]]]], 10**4000):
        assert len(brief(value)) < 250


def test_the_nearest_names_are_asked_for() -> None:
    known = ["seq_len", "seq_length", "mode"]
    assert did_you_mean("seqlen", known) == "did you mean 'seq_len'?"
    assert did_you_mean("seqlen", dict.fromkeys(known), most=2, shown="--{}".format) == "did you mean --seq_len, --seq_length?"
    assert did_you_mean("x", known) == "" and did_you_mean("x", known, "there is mode") == "there is mode"
