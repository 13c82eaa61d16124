"""Sets of code points, as the patterns of tokenizers name them.

A set is its *bounds*: an ascending array of the code points at which membership changes, beginning with those that are in it. So `a` to
`z` is [97, 123], and the empty array is the empty set.
"""

from __future__ import annotations

import base64
import functools
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.vocabularies.pre_tokenizers import code_point_data

Bounds = npt.NDArray[np.int64]
END = 0x110000  # behind the last code point
# General categories, by their numbers in the table; surrogates, which no text holds, count as Cn.
CATEGORIES = (
    *("Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po"),
    *("Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Co"),
)
INERT, MARK, ACTIVE = range(3)
"""What a normal form does to a character: never anything; nothing but put marks that follow each other into order; or more."""


@functools.cache
def table(name: str) -> tuple[Bounds, npt.NDArray[np.uint8]]:
    """Reads a table of `code_point_data`: where its runs begin, and the value of each."""
    data = zlib.decompress(base64.b85decode(getattr(code_point_data, name)))
    count = len(data) // 5
    planes = np.frombuffer(data, dtype=np.uint8, count=4 * count).reshape(4, count)
    steps = np.ascontiguousarray(planes.T).view("<u4").ravel()
    return np.cumsum(steps, dtype=np.int64), np.frombuffer(data, dtype=np.uint8, offset=4 * count)


def pack(values: npt.NDArray[np.uint8]) -> str:
    """Writes a table: [END] uint8 a value of each code point."""
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    steps = np.diff(starts, prepend=0).astype("<u4").view(np.uint8).reshape(-1, 4)
    return base64.b85encode(zlib.compress(steps.T.tobytes() + values[starts].tobytes(), 9)).decode()


def spread(starts: Bounds, values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Gives the value of each code point, [END] uint8, from runs of them."""
    return np.repeat(values, np.diff(starts, append=END))


def ranges(pairs: Iterable[tuple[int, int]]) -> Bounds:
    """Makes a set of ranges, both ends included.

    >>> ranges([(5, 7), (6, 9), (1, 1)]).tolist()
    [1, 2, 5, 10]
    """
    return union([np.array([first, last + 1], dtype=np.int64) for first, last in pairs])


def union(sets: Sequence[Bounds]) -> Bounds:
    """Joins sets."""
    at = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *sets]))
    return _changes(at, functools.reduce(np.logical_or, (holds(each, at) for each in sets), np.zeros(len(at), dtype=bool)))


def complement(points: Bounds) -> Bounds:
    """Gives all other code points.

    >>> complement(complement(ranges([(3, 4)]))).tolist()
    [3, 5]
    """
    turned = points[1:] if len(points) and points[0] == 0 else np.append(0, points)
    return turned[:-1] if len(turned) and turned[-1] == END else np.append(turned, END)


def holds(points: Bounds, at: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Tells which code points are in a set: bool of the shape of `at`."""
    inside: npt.NDArray[np.bool_] = np.searchsorted(points, at, side="right") % 2 == 1
    return inside


def overlap(first: Bounds, second: Bounds) -> bool:
    """Tells whether two sets have a code point in common."""
    at = np.concatenate([first, second])
    return bool((holds(first, at) & holds(second, at)).any())


def _changes(at: Bounds, inside: npt.NDArray[np.bool_]) -> Bounds:
    changes: Bounds = at[inside != np.append(False, inside[:-1])]
    return changes


@functools.cache
def category(name: str) -> Bounds:
    """Gives the code points of a general category, such as `Lu`, or of all that begin with a letter, such as `L`.

    Raises:
      KeyError: there is none of this name.
    """
    chosen = [number for number, each in enumerate(CATEGORIES) if each.startswith(name)]
    if not chosen or len(name) > 2:
        raise KeyError(name)
    starts, values = table("CATEGORY")
    return _changes(starts, np.isin(values, chosen))


@functools.cache
def spaces() -> Bounds:
    r"""Gives what `\s` matches."""
    starts, values = table("SPACE")
    return _changes(starts, values == 1)


@functools.cache
def numeric() -> Bounds:
    """Gives what the library's `Digits` cuts at: the numbers of Rust's Unicode, not of its regular expressions'."""
    starts, values = table("NUMERIC")
    return _changes(starts, values == 1)


def classes(sets: Sequence[Bounds]) -> tuple[Bounds, npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Divides all code points into classes of those that are in the same sets.

    Returns:
      where runs of one class begin (the first at 0), [runs] uint8 their classes, and bool [sets, classes] which sets hold each class.

    Raises:
      ValueError: there are more than 255 classes.
    """
    at = np.unique(np.concatenate([np.zeros(1, dtype=np.int64), *sets]))
    at = at[at < END]
    inside = np.array([holds(each, at) for each in sets], dtype=bool).reshape(len(sets), len(at))
    which, number = np.unique(inside, axis=1, return_inverse=True)
    if which.shape[1] > 255:
        raise ValueError(f"{which.shape[1]} classes of characters")
    return at, number.ravel().astype(np.uint8), which
