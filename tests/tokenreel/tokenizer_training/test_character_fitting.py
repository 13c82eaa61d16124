from __future__ import annotations

import unicodedata
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel import ragged
from tokenreel.errors import ConfigError
from tokenreel.tokenizer_training import character_fitting
from tokenreel.tokenizer_training.character_fitting import choose_characters, count_characters, read_options
from tokenreel.vocabularies.character_fitting import CharacterOptions


def arrays(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), ragged.offsets_of(np.array([len(text) for text in encoded], dtype=np.int64))


@given(st.lists(st.text(alphabet="abé\u0301\u0327ﬁ\0\nΣσ日😀", max_size=20)), st.sampled_from(["NFC", "NFKC", "NFD", "NFKD"]))
def test_counts_are_those_of_each_document_normalised(texts: list[str], form: str) -> None:
    expected = Counter("".join(unicodedata.normalize(form, text) for text in texts))  # type: ignore[arg-type]
    found: Counter[str] = Counter()
    for points, counts in count_characters(*arrays(texts), form.lower()):
        assert (np.diff(points) > 0).all() and counts.dtype == np.float32 and (counts > 0).all()
        found.update({chr(point): int(count) for point, count in zip(points.tolist(), counts.tolist(), strict=True)})
    assert found == expected


def test_large_counts_come_in_parts_that_floats_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(character_fitting, "_MOST", 4)
    parts = [(points.tolist(), counts.tolist()) for points, counts in count_characters(*arrays(["aaaaaaaaab", "bbbb"]), "none")]
    assert parts == [([97, 98], [4, 4]), ([97, 98], [4, 1]), ([97], [1])]


def test_ties_go_by_code_point() -> None:
    lines = [b"2.0 10", b"7.0 120", b"2.0 97", b"2.0 128512", b"16777217.0 32", b"2.0 9"]
    assert choose_characters(lines, CharacterOptions()) == ([" ", "x", "\t", "\n", "a", "😀"], [16777217, 7, 2, 2, 2, 2])
    assert choose_characters(lines, CharacterOptions(max_size=3))[0] == [" ", "x", "\t"]


def test_nothing_to_choose_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no character occurs options.min_count = 5 times"):
        choose_characters([b"1 -1"], CharacterOptions(min_count=5))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_count": 0}, "options.min_count must be at least 1, got 0"),
        ({"max_size": 0}, "options.max_size must be at least 1, got 0"),
        ({"max_size": "all"}, "options.max_size must be a whole number, got 'all'"),
        ({"normalizer": "nfx"}, "options.normalizer must be one of none, nfc, .*, got 'nfx'"),
        ({"specials": ["<pad>"]}, "options.specials are names of two characters or more, each once and none of <pad>"),
        ({"specials": ["x"]}, "options.specials are names of two characters"),
        ({"vocab_size": 100}, "unknown setting 'options.vocab_size'"),
    ],
)
def test_impossible_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_options(options)


def test_what_must_be_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(character_fitting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tensorflow-transform, which is not installed: pip install 'tokenreel\[tensorflow\]'"):
        read_options({})
