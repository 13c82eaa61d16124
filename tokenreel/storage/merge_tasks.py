"""Cuts a merge pass into the files that it writes, whatever is merged: stage files, or tables of hashes.

Tested in tests/tokenreel/curation/test_hash_tables.py and tests/pipelines/test_merging.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class MergeTask(NamedTuple):
    """A merged file that is to be written.

    Attributes:
      strand: number of the strand.
      part: range of keys that the file holds,
      ranges: of how many.
      first, last: rows [first, last) of the table of files are put together.
      name: of the strand.
      split: of whose documents the file holds those whose sort values lie in [low, high), in place of a range of keys; "" for keys.
    """

    strand: int
    part: int
    ranges: int
    first: int
    last: int
    name: str
    split: str = ""
    low: int = 0
    high: int = 0


def cut(begins: npt.NDArray[np.bool_], fan_in: int, describe: Callable[[int, int], tuple[int, str]], base: int = 0) -> Iterator[MergeTask]:
    """Yields the files of the strands that others are put together to.

    Args:
      begins: bool [n] whether a strand begins with each row of a table of files; the first does.
      fan_in: strands that are put together at a time.
      describe: says of rows [first, last) of the table into how many ranges of keys their strand is cut, and names it.
      base: the row of the table that `begins` begins with.
    """
    for strand, (first, last) in enumerate(together(begins, fan_in, base)):
        ranges, name = describe(first, last)
        yield from (MergeTask(strand, part, ranges, first, last, name) for part in range(ranges))


def together(begins: npt.NDArray[np.bool_], fan_in: int, base: int = 0) -> Iterator[tuple[int, int]]:
    """Yields which rows [first, last) of a table make each strand; the arguments are those of `cut`."""
    starts = [*(base + np.flatnonzero(begins)).tolist(), base + len(begins)]
    for at in range(0, len(starts) - 1, fan_in):
        yield starts[at], starts[min(at + fan_in, len(starts) - 1)]
