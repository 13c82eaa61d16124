"""Ranges of what a split holds: the shards of its examples or rows, or its documents, so many at a time."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator


@dataclasses.dataclass(frozen=True)
class SplitRange:
    """A range of a split.

    Attributes:
      split: its number in the job.
      index, count: which range of how many.
      first, last: from the one to before the other.
    """

    split: int
    index: int
    count: int
    first: int
    last: int

    @classmethod
    def cut(cls, split: int, total: int, size: int) -> Iterator[SplitRange]:
        """Cuts `total` items of a split into ranges of `size`, the last one of what is left.

        >>> [(each.index, each.count, each.first, each.last) for each in SplitRange.cut(0, 5, 2)]
        [(0, 3, 0, 2), (1, 3, 2, 4), (2, 3, 4, 5)]
        """
        count = -(-total // size)
        for index in range(count):
            yield cls(split, index, count, index * size, min((index + 1) * size, total))
