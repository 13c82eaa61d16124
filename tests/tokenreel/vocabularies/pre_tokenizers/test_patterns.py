from __future__ import annotations

import numpy as np
import pytest

from tokenreel.vocabularies.pre_tokenizers import code_points
from tokenreel.vocabularies.pre_tokenizers.patterns import LIBRARY, RANKS, Ahead, Chars, Either, Joined, PatternError, Repeat, parse


def members(points, text):
    return "".join(c for c in text if code_points.holds(points, np.array([ord(c)]))[0])


def test_what_parts_become():
    node = parse(r"ab|[^c-e\]]{2,3}|\p{Lu}*(?!\S)")
    assert isinstance(node, Either) and len(node.parts) == 3
    both, some, last = node.parts
    assert isinstance(both, Joined) and isinstance(both.parts[0], Chars)
    assert isinstance(some, Repeat) and (some.least, some.most) == (2, 3) and members(some.part.points, "abcde]f") == "abf"
    assert isinstance(last.parts[1], Ahead) and last.parts[1].end and members(last.parts[1].points, "a \n") == " \n"


def test_any_case_takes_what_folds():
    assert members(parse("(?i:s)").points, "sSſkK") == "sSſ"
    assert members(parse("(?i:[sdk])").points, "sSſkK\u212adDt") == "sSſkK\u212adD"
    assert members(parse("s").points, "sSſ") == "s"


@pytest.mark.parametrize(
    ("pattern", "dialect", "about"),
    [
        (r"\p{Han}+", LIBRARY, "Han"),
        (r"\w+", LIBRARY, "w"),
        (r"\bx", LIBRARY, "b"),
        ("a.b", LIBRARY, "'.b'"),
        ("^a", LIBRARY, "'^a'"),
        (r"\s+$", LIBRARY, "'$'"),
        ("a+?b", LIBRARY, "lazy"),
        (r"\p{N}{1,3}+", LIBRARY, "repeat of a repeat"),
        ("(?i:ss)", LIBRARY, "any case"),
        ("(?i:é)", LIBRARY, "any case"),
        ("(?=ab)c", LIBRARY, "farther"),
        ("(?<=a)b", LIBRARY, "'(?<'"),
        ("(ab", LIBRARY, "no end"),
        ("ab)", LIBRARY, "at 2"),
        ("[ab", LIBRARY, "too early"),
        (r"\p{L", LIBRARY, "no end"),
        ("a{1", LIBRARY, "{1"),
        ("a{1,999}", LIBRARY, "999"),
        ("[a&&b]", LIBRARY, "&&"),
        ("[[:alpha:]]", LIBRARY, "[:"),
        (r"a++a", RANKS, "before what it may take"),
        (r"\s++(?!\S)", RANKS, "before what it may take"),
        (r"(?:a++b)+", RANKS, "within a group"),
        (r"(?:ab)++", RANKS, "of a group"),
    ],
)
def test_what_is_refused(pattern, dialect, about):
    with pytest.raises(PatternError) as error:
        parse(pattern, dialect)
    assert about in str(error.value)


def test_possessive_repeats_that_change_nothing():
    for pattern in (r"[^\p{L}]?+\p{L}++", r"a++[\r\n]*+", r"\s++$", r"\p{N}{1,3}+"):
        parse(pattern, RANKS)
