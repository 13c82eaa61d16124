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
    """

    strand: int
    part: int
    ranges: int
    first: int
    last: int
    name: str


def cut(begins: npt.NDArray[np.bool_], fan_in: int, describe: Callable[[int, int], tuple[int, str]], base: int = 0) -> Iterator[MergeTask]:
    """Yields the files of the strands that others are put together to.

    Args:
      begins: bool [n] whether a strand begins with each row of a table of files; the first does.
      fan_in: strands that are put together at a time.
      describe: says of rows [first, last) of the table into how many ranges of keys their strand is cut, and names it.
      base: the row of the table that `begins` begins with.
    """
    starts = [*(base + np.flatnonzero(begins)).tolist(), base + len(begins)]
    for strand, at in enumerate(range(0, len(starts) - 1, fan_in)):
        first, last = starts[at], starts[min(at + fan_in, len(starts) - 1)]
        ranges, name = describe(first, last)
        yield from (MergeTask(strand, part, ranges, first, last, name) for part in range(ranges))
