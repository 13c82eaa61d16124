"""Arrays of sequences of different lengths: values end to end and [n + 1] offsets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
_Scalar = TypeVar("_Scalar", bound=np.generic)


def offsets_of(lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Turns [n] lengths into [n + 1] offsets.

    >>> offsets_of(np.array([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def portions(offsets: Ints, most: int) -> Iterator[tuple[int, int]]:
    """Divides sequences into ranges of up to `most` values; one that is longer is a range by itself.

    >>> list(portions(np.array([0, 2, 3, 9, 10]), 4))
    [(0, 2), (2, 3), (3, 4)]
    """
    start = 0
    while start < len(offsets) - 1:
        stop = max(start + 1, int(np.searchsorted(offsets, offsets[start] + most, side="right")) - 1)
        yield start, stop
        start = stop


def holding(lengths: Ints, flags: npt.NDArray[np.bool_]) -> Ints:
    """Finds the sequences that hold a value with a flag: their indices, in order, by the [n] lengths and a flag for each value.

    >>> holding(np.array([2, 0, 3]), np.array([False, False, True, False, True])).tolist()
    [2]
    """
    return np.unique(np.searchsorted(np.cumsum(lengths), np.flatnonzero(flags), side="right"))


def take(
    values: npt.NDArray[_Scalar], offsets: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[_Scalar], npt.NDArray[np.int64]]:
    """Picks sequences in a given order, one memory copy for each.

    Arrow does it on the bytes of the values: ten times as fast as NumPy with an index for each value.

    Args:
      values: [values] sequences end to end.
      offsets: int64 [n + 1] their bounds.
      indices: int64 [k] which to pick; one may come more than once.

    Returns:
      the values of the picked sequences end to end, and their [len(indices) + 1] offsets.

    >>> values, offsets = take(np.array([7, 8, 9], dtype=np.uint16), np.array([0, 2, 2, 3]), np.array([2, 1, 0]))
    >>> values.tolist(), offsets.tolist()
    ([9, 7, 8], [0, 1, 1, 3])
    """
    import pyarrow as pa

    values = np.ascontiguousarray(values)
    size = values.itemsize
    byte_offsets = np.ascontiguousarray(offsets, dtype=np.int64) * size
    buffers = [None, pa.py_buffer(byte_offsets), pa.py_buffer(values.view(np.uint8))]
    picked = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers).take(pa.array(indices))
    if not len(picked):
        return values[:0], np.zeros(1, dtype=np.int64)
    _, out_offsets, out = picked.buffers()
    new = np.frombuffer(out_offsets, dtype=np.int64, count=len(picked) + 1) // size if out_offsets is not None else offsets[:1]
    data = np.frombuffer(out, dtype=values.dtype, count=int(new[-1])) if out is not None else values[:0]
    return data, new


def surround(
    values: npt.NDArray[_Scalar], offsets: npt.NDArray[np.int64], first: int | None, last: int | None
) -> tuple[npt.NDArray[_Scalar], npt.NDArray[np.int64]]:
    """Puts a value before and after each of n sequences; None puts nothing.

    Args:
      values: [values] sequences end to end.
      offsets: int64 [n + 1] their bounds.
      first: what to put before each.
      last: what to put after each.

    Returns:
      the longer sequences end to end, and their int64 [n + 1] bounds.

    >>> values, offsets = surround(np.array([7, 8, 9]), np.array([0, 2, 3]), first=None, last=1)
    >>> values.tolist(), offsets.tolist()
    ([7, 8, 1, 9, 1], [0, 3, 5])
    """
    extra = (first is not None) + (last is not None)
    if not extra:
        return values, offsets
    sequences = len(offsets) - 1
    new = np.arange(sequences + 1, dtype=np.int64)
    new *= extra  # in place: there may be millions
    new += offsets
    out = np.empty(int(new[-1]), dtype=values.dtype)
    inside = np.ones(len(out), dtype=bool)
    if first is not None:
        inside[new[:-1]] = False
    if last is not None:
        inside[new[1:] - 1] = False
    out[inside] = values
    if first is not None:
        out[new[:-1]] = first
    if last is not None:
        out[new[1:] - 1] = last
    return out, new


def ranks(counts: Ints) -> Ints:
    """Counts from 0 in each of [n] groups: int64 [sum of counts].

    >>> ranks(np.array([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64) - np.repeat(ends - counts, counts)


def run_lengths(values: Ints) -> tuple[Ints, Ints]:
    """Gives the values of int64 [n] without those that repeat the one before, and how often each stands in a row: int64 [k] both.

    >>> values, lengths = run_lengths(np.array([7, 7, 3, 7]))
    >>> values.tolist(), lengths.tolist()
    ([7, 3, 7], [2, 1, 1])
    """
    heads = np.flatnonzero(np.append(True, values[1:] != values[:-1])) if len(values) else np.zeros(0, np.int64)
    return values[heads], np.diff(np.append(heads, len(values)))
