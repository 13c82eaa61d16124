"""Long runs of characters that steps write as they are, such as ideographs: asked for a thousand at once, before any text holds one.

A text may hold each of them once, and to ask for one alone takes as long as the library takes to encode ten.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Collection, Iterator

import numpy as np

from tokenreel.vocabularies.pre_tokenizers import code_points

Run = tuple[int, int, int]
"""The first code point, the one behind the last, and the row of `kernels.word_units` that is theirs."""
_LEAST, _MOST = 64, 1024  # code points that are asked for together
_WRITTEN_SPACE = 0x2581
_JAMO = {*range(0x1160, 0x1200), *range(0xD7B0, 0xD800)}  # of vowels and finals, which join what stands before them


def joins(character: str) -> bool:
    r"""Tells whether a character may join the one before it: marks, and what Python's Unicode does not know.

    >>> joins("\u0301"), joins("a"), joins("\u0378")
    (True, False, True)
    """
    category = unicodedata.category(character)
    return category[0] == "M" or category == "Cn" or ord(character) in _JAMO


def find_runs(ask: Callable[[str], int | None], categories: Collection[str], excluded: Collection[int] = ()) -> list[Run]:
    """Finds runs of characters that steps write as they are.

    Args:
      ask: says of characters side by side which row all of them have; None if they differ, or have no such row.
      categories: general categories that such characters may have.
      excluded: code points that have a meaning of their own.
    """
    found: list[Run] = []
    for first, end in _candidates(categories, {*excluded, _WRITTEN_SPACE}):
        for run in _ask_parts(ask, first, end):
            if found and found[-1][1:] == (run[0], run[2]):
                run = found.pop()[0], run[1], run[2]
            found.append(run)
    return found


def _candidates(categories: Collection[str], excluded: Collection[int]) -> Iterator[tuple[int, int]]:
    """Yields runs of characters of one of some categories, that join nothing."""
    numbers = [code_points.CATEGORIES.index(each) for each in categories]
    starts, values = code_points.table("CATEGORY")
    ends = np.append(starts[1:], code_points.END)
    for first, end in zip(*(each[np.isin(values, numbers) & (ends - starts >= _LEAST)].tolist() for each in (starts, ends)), strict=True):
        for begin in range(first, end, _MOST):
            stop, last = min(begin + _MOST, end), begin
            for point in (*_joining(begin, stop, excluded), stop):
                if point - last >= _LEAST:
                    yield last, point
                last = point + 1


def _joining(first: int, end: int, excluded: Collection[int]) -> list[int]:
    """Lists the code points of a range that may join others, or are excluded."""
    text = "".join(map(chr, range(first, end)))
    plain = unicodedata.is_normalized("NFKD", text)
    return [
        point
        for point in range(first, end)
        if point in excluded or joins(chr(point)) or (not plain and joins(unicodedata.normalize("NFKD", chr(point))[0]))
    ]


def _ask_parts(ask: Callable[[str], int | None], first: int, end: int) -> Iterator[Run]:
    """Asks for a range, and where not all of it is one run, for its halves."""
    row = ask("".join(map(chr, range(first, end))))
    if row is not None:
        yield first, end, row
    elif end - first >= 2 * _LEAST:
        half = (first + end) // 2
        yield from _ask_parts(ask, first, half)
        yield from _ask_parts(ask, half, end)
