"""Documents are cut into units as plain Python would."""

import itertools

import numpy as np

from tests.tokenreel.vocabularies.blocks import joined
from tokenreel.vocabularies.unit_memo.kernels.documents import cut_documents, cut_with_dropped

NOWHERE, NO_SPACES = np.zeros(65_536, dtype=bool), np.zeros(256, dtype=bool)


def cut(documents, allowed, careful=NOWHERE, spaces=NO_SPACES):
    """The units of each document."""
    text, starts, first = cut_documents(*joined(documents), (allowed, careful, spaces))
    units = [text[a:b].tobytes() for a, b in itertools.pairwise(starts.tolist())]
    return [units[a:b] for a, b in itertools.pairwise(first.tolist())]


def between(first: int, second: int):
    allowed = np.zeros(65_536, dtype=bool)
    allowed[second << 8 | first] = True
    return allowed


def test_units_are_cut_where_it_is_allowed():
    random = np.random.default_rng(0)
    documents = [bytes(random.choice([0, 1, 32, 97, 255], size).tolist()) for size in random.integers(0, 11, 20_000).tolist()]
    expected = [[part for part in document.replace(b" a", b" |a").split(b"|") if part] for document in documents]
    assert cut(documents, between(32, 97)) == expected


def test_of_runs_of_spaces_one_is_left():
    spaces = np.zeros(256, dtype=bool)
    spaces[[9, 32]] = True
    documents = [b"  a \t b\t", b"", b" ", b"\t\t"]
    assert cut(documents, NOWHERE, spaces=spaces) == [[b" a b\t"], [], [b" "], [b"\t"]]


def test_documents_with_the_symbol_are_cut_with_care():
    symbol = "x\u2581xy".encode()
    documents = [b"xy", symbol, b"\xe2\x96", b"\x81xy", b"xy"]
    assert cut(documents, between(120, 121)) == [[b"x", b"y"], [symbol], [b"\xe2\x96"], [b"\x81x", b"y"], [b"x", b"y"]]
    assert cut([symbol], between(120, 121), between(0x81, 120)) == [[symbol[:4], b"xy"]]


def test_spaces_that_are_left_out_are_noted():
    spaces = np.zeros(256, dtype=bool)
    spaces[[9, 32]] = True
    documents = [b"  a \t b\t", b"", b"ab", b" ", b"\t\t", b"x  \xe2\x96\x81   y"]
    for careful in (NOWHERE, between(0x81, 32)):
        cutter = between(32, 97), careful, spaces
        *units, dropped, first = cut_with_dropped(*joined(documents), cutter)
        for found, expected in zip(units, cut_documents(*joined(documents), cutter), strict=True):
            np.testing.assert_array_equal(found[: int(units[1][-1])], expected[: int(units[1][-1])])
        text, starts = units[0].tobytes(), units[1][units[2]].tolist()
        found = [
            [(text[start:at]) for at in dropped[a:b]] for start, (a, b) in zip(starts, itertools.pairwise(first.tolist()), strict=False)
        ]
        assert found == [[b" ", b" a ", b" a "], [], [], [], [b"\t"], [b"x ", b"x \xe2\x96\x81 ", b"x \xe2\x96\x81 "]]
