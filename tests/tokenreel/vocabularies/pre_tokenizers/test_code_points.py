from __future__ import annotations

import importlib.metadata

import numpy as np
import pytest
import tokenizers

from tests import code_points_of_the_library
from tokenreel.vocabularies.pre_tokenizers import code_point_data, code_points
from tokenreel.vocabularies.pre_tokenizers.code_points import END
from tokenreel.vocabularies.ranks import library

TABLES = ("CATEGORY", "SPACE", "NUMERIC", "NFC", "NFKC")


def test_the_tables_are_of_the_library_that_is_installed():
    """The fast path asks for this version, and leaves all to the library where it is another one."""
    assert tokenizers.__version__ == code_point_data.LIBRARY_VERSION


def test_the_tables_say_what_the_library_says_at_every_edge():
    edges = np.unique(np.concatenate([code_points.table(name)[0] for name in TABLES]))
    points = np.unique(np.concatenate([edges, np.maximum(edges - 1, 0), np.arange(0x800), np.arange(0, END, 997)]))
    points = points[(points < 0xD800) | (points >= 0xE000)]
    for name, found in code_points_of_the_library.ask(points).items():
        assert np.array_equal(code_points.spread(*code_points.table(name))[points], found), name


@pytest.mark.slow
def test_the_tables_say_what_the_library_says_everywhere():
    for name, found in code_points_of_the_library.ask(code_points_of_the_library.POINTS).items():
        assert np.array_equal(code_points.spread(*code_points.table(name))[code_points_of_the_library.POINTS], found), name


def test_the_tables_are_those_of_tiktoken_too():
    """Of Rust's `regex`, everywhere: a second."""
    points = code_points_of_the_library.POINTS
    assert importlib.metadata.version("tiktoken") == library.VERSION
    for name, found in code_points_of_the_library.ask_tiktoken().items():
        assert np.array_equal(code_points.spread(*code_points.table(name))[points], found[points]), name


def test_sets_are_sets():
    random = np.random.default_rng(3)
    at = np.arange(300)
    for _ in range(50):
        first, second = (code_points.ranges((int(a), int(a) + 5) for a in random.integers(0, 250, 4)) for _ in range(2))
        a, b = code_points.holds(first, at), code_points.holds(second, at)
        assert np.array_equal(code_points.holds(code_points.union([first, second]), at), a | b)
        assert np.array_equal(code_points.holds(code_points.complement(first), at), ~a)
        assert code_points.overlap(first, second) == (a & b).any()


def test_categories_by_their_names():
    at = np.array(list(map(ord, "aA1 .\u0378")))
    assert code_points.holds(code_points.category("L"), at).tolist() == [True, True, False, False, False, False]
    assert code_points.holds(code_points.category("Lu"), at).tolist() == [False, True, False, False, False, False]
    assert code_points.holds(code_points.category("Cn"), at).tolist() == [False] * 5 + [True]
    for name in ("Q", "Lx", "Lul", ""):
        if name:
            with pytest.raises(KeyError):
                code_points.category(name)


def test_classes_divide_all_code_points():
    starts, numbers, inside = code_points.classes([code_points.category("L"), code_points.spaces()])
    whole = code_points.spread(starts, numbers)
    assert len(whole) == END and inside.shape == (2, 3)
    assert inside[:, whole[ord("a")]].tolist() == [True, False] and inside[:, whole[ord(" ")]].tolist() == [False, True]


def test_a_table_reads_back():
    values = np.zeros(END, dtype=np.uint8)
    values[5:9], values[0x10FFFF] = 3, 1
    code_point_data.TRIAL = code_points.pack(values)  # type: ignore[attr-defined]
    try:
        assert np.array_equal(code_points.spread(*code_points.table("TRIAL")), values)
    finally:
        del code_point_data.TRIAL  # type: ignore[attr-defined]
