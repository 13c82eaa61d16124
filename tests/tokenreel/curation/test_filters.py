from __future__ import annotations

import pathlib
import pickle
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.documents import documents, texts_of
from tokenreel.config import parsing
from tokenreel.config.corpus import FilterConfig, LineRules, QualityRules
from tokenreel.curation import filters
from tokenreel.curation.cleaned import REASONS, Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.errors import ConfigError

C4_LINES = LineRules(
    end_marks=(".", "!", "?", '"'),
    min_words=5,
    max_word_length=20,
    drop_phrases=("javascript", "Cookie Policy"),
    remove_pattern=r"\[\d*\]|\[edit\]|\[citation needed\]",
)


def test_the_lines_of_c4() -> None:
    """One line for each rule, and two that stay, one of them without its citation."""
    text = "\n".join(
        [
            "Home | About | Contact | Terms",
            "The first sentence of this page[12] is long enough.",
            "",
            "To be continued, some other day...",
            "Too short.",
            "This line has aaaaaaaaaaaaaaaaaaaaaaaaa in the middle.",
            "Please enable JavaScript to read this page.",
            "By going on you accept our cookie policy.",
            '  He said that it was "quite good and cheap"',
        ]
    )
    counts: Counter[str] = Counter()
    kept = filters.clean_lines(text, C4_LINES, counts)
    assert kept == 'The first sentence of this page is long enough.\n  He said that it was "quite good and cheap"'
    assert counts == {"line_without_end_mark": 2, "line_with_few_words": 1, "line_with_long_word": 1, "line_with_phrase": 2}


def test_blank_lines_stay_unless_lines_must_end_or_have_words() -> None:
    text = "One of two.\n\njavascript\n\nTwo of two.\n"
    assert filters.clean_lines(text, LineRules(drop_phrases=("javascript",)), Counter()) == "One of two.\n\n\nTwo of two.\n"
    assert filters.clean_lines(text, LineRules(end_marks=(".",)), Counter()) == "One of two.\nTwo of two."


GOOD = "The quick brown fox jumps over the lazy dog and that is the end of it. Then it will be seen. Have a nice day with us."


RULES = {
    "pattern_missing": ({"keep_pattern": "fo[xX]"}, "no such animal"),
    "pattern_found": ({"drop_pattern": r"\d{4}"}, "in 1984 it was"),
    "too_few_words": ({"min_words": 3}, "two words"),
    "too_many_words": ({"max_words": 30}, "word " * 31),
    "too_few_sentences": ({"min_sentences": 3}, "One sentence.\nAnother sentence without end"),
    "phrase_found": ({"drop_phrases": ["lorem ipsum", "{"]}, "Lorem Ipsum dolor"),
    "bad_word": ({"bad_words": "words.txt"}, "It is NASTY."),
    "short_words": ({"quality": {"min_mean_word_length": 3}}, "a bc d ef"),
    "long_words": ({"quality": {"max_mean_word_length": 10}}, "aaaaaaaaaaa bbbbbbbbbbb"),
    "symbols": ({"quality": {"max_symbols_per_word": 0.1}}, "# one two three four five six seven eight #"),
    "digits": ({"quality": {"max_digits": 0.2}}, "12 ab 34 cdef"),
    "bullet_lines": ({"quality": {"max_bullet_lines": 0.9}}, "- one\n* two\n\n• three"),
    "ellipsis_lines": ({"quality": {"max_ellipsis_lines": "30%"}}, "one...\ntwo…\nthree"),
    "words_without_letter": ({"quality": {"min_words_with_letter": 0.8}}, "one 2 three 4 five"),
    "too_few_stop_words": ({"quality": {"min_stop_words": 2}}, "the cat sat on the mat, theory"),
    "repeated_lines": ({"quality": {"max_repeated_lines": 0.3}}, "same\nsame\n other\nsame"),
    "repeated_paragraphs": ({"quality": {"max_repeated_paragraph_characters": 0.2}}, "a b\nc\n\nother\n \n a b\nc"),
    "frequent_ngram": ({"quality": {"max_top_ngram": {2: 0.2}}}, "a b c a b d a b"),
    "repeated_ngrams": ({"quality": {"max_repeated_ngrams": {5: 0.15}}}, "a b c d e f a b c d e g"),
}


def rules_of(settings: dict[str, Any], directory: pathlib.Path) -> Rules:
    (directory / "words.txt").write_text("nasty\n\n badly  put \nA.B\n")
    if "bad_words" in settings:
        settings = {**settings, "bad_words": str(directory / settings["bad_words"])}
    return filters.load_rules(parsing.from_dict(FilterConfig, settings))


@pytest.mark.parametrize("reason", RULES)
def test_every_rule_has_a_reason(reason: str, tmp_path: pathlib.Path) -> None:
    given, bad = RULES[reason]
    rules = rules_of(given, tmp_path)
    cleaned = filters.clean(Cleaned.of(documents(GOOD, bad, GOOD)), rules)
    assert [REASONS[code] for code in cleaned.reasons] == ["", reason, ""]
    assert cleaned.left_out() == {reason: 1}
    assert texts_of(cleaned.documents) == [GOOD, bad, GOOD]


def test_all_reasons_are_tried() -> None:
    lengths = {"empty", "too_few_characters", "too_many_characters", "too_few_tokens", "too_many_tokens"}
    assert set(REASONS) - set(RULES) == {"", *lengths, "no_line_left", "duplicate_text"}


def test_bad_words_are_whole_words(tmp_path: pathlib.Path) -> None:
    rules = rules_of({"bad_words": "words.txt"}, tmp_path)
    assert rules.bad_words == ("a.b", "badly  put", "nasty")
    for text, bad in {"nastya": False, "so nasty!": True, "xbadly  put": False, "badly  put.": True, "a.b": True, "aab": False}.items():
        assert rules.has_bad_word(text) is bad, text
    again = pickle.loads(pickle.dumps(rules))
    assert (again, again.fingerprint) == (rules, rules.fingerprint)
    (tmp_path / "moved.txt").write_text("NASTY\na.b\nbadly  put")
    moved = filters.load_rules(FilterConfig(bad_words=str(tmp_path / "moved.txt")))
    assert moved.fingerprint == rules.fingerprint
    assert Rules(moved.config, ("nasty",)).fingerprint != rules.fingerprint


@pytest.mark.parametrize(("content", "message"), [(None, "cannot read"), (b"\n \n", "is empty"), (b"\xff", "cannot read")])
def test_a_list_that_is_none(tmp_path: pathlib.Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "list.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        filters.load_rules(FilterConfig(bad_words=str(path)))


def test_what_lines_leave_is_judged() -> None:
    rules = Rules(FilterConfig(lines=LineRules(end_marks=(".",)), min_words=4, drop_phrases=("menu",)))
    found = documents("menu\nThis is a text.", "one two\nthree four", "", "é menu\nÉté is too short.\nOnly just.", "menu.\nThis is a text.")
    cleaned = filters.clean(Cleaned.of(found), rules)
    assert [REASONS[code] for code in cleaned.reasons] == ["", "no_line_left", "", "", "phrase_found"]
    assert texts_of(cleaned.documents) == ["This is a text.", "", "", "Été is too short.\nOnly just.", "menu.\nThis is a text."]
    assert cleaned.lines == {"line_without_end_mark": 4}
    assert cleaned.characters == len("menu\n") + len("one two\nthree four") + len("é menu\n")


def test_no_rule_costs_nothing() -> None:
    assert not Rules(FilterConfig(min_characters=3, max_tokens=7)).reads_text
    cleaned = Cleaned.of(documents("a", "b"))
    assert filters.clean(cleaned, Rules()) is cleaned
    assert all(Rules(parsing.from_dict(FilterConfig, given)).reads_text for given, _ in RULES.values())


@settings(max_examples=60)
@given(texts=st.lists(st.text(alphabet="ab .\n\té—😀", max_size=40), max_size=6))
def test_rules_that_nothing_breaks_change_nothing(texts: list[str]) -> None:
    rules = Rules(FilterConfig(lines=LineRules(max_word_length=100), quality=QualityRules(max_digits=1.0), max_words=1000))
    cleaned = filters.clean(Cleaned.of(documents(*texts)), rules)
    assert texts_of(cleaned.documents) == texts
    assert cleaned.lines == {} and cleaned.characters == 0
    assert all(
        REASONS[code] in ("", "no_line_left") and not (code and text.strip()) for code, text in zip(cleaned.reasons, texts, strict=True)
    )


BLANK = ["", " ", "\n\n", "\u3000", "\u2003\u00a0 \t\r\n", "\x1c", " " * 200 + "\u2029"]
FULL = ["a", " a", "“quoted”", "\u3000日本", "\u200b", "é", " " * 200 + "x", "\u00a0" * 100 + "é", "あ"]


def test_documents_of_white_space_alone_are_empty() -> None:
    found = documents(*BLANK, *FULL)
    blank = filters.find_blank(found.text, found.offsets)
    assert blank.tolist() == [True] * len(BLANK) + [False] * len(FULL)
    rules = Rules(FilterConfig(min_words=1, min_characters=2))
    cleaned = filters.clean(Cleaned.of(found), rules)
    characters = np.array([len(text) for text in (*BLANK, *FULL)])
    reasons = filters.judge_characters(cleaned.reasons, characters, blank, rules.config)
    assert [REASONS[code] for code in reasons[: len(BLANK)]] == ["empty"] * len(BLANK)


@given(text=st.text(max_size=8))
def test_blank_is_what_python_strips(text: str) -> None:
    found = documents("x", text, " ")
    assert filters.find_blank(found.text, found.offsets).tolist() == [False, not text.strip(), True]
