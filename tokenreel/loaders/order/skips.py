"""The ranges of a stream that a run leaves out: numbers of samples to stream positions, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.loaders.order.permutation import Int64Array


class SkippedRanges:
    """Ranges of stream positions that no sample stands at.

    Args:
      ranges: [start, end) ranges of stream positions, in any order; they may overlap.

    Attributes:
      ranges: the same positions as sorted ranges that neither overlap nor touch.

    Raises:
      ConfigError: a range is empty, or begins before 0.

    >>> skipped = SkippedRanges([(1, 3)])  # stream positions 0 - - 3 4, samples 0 1 2
    >>> skipped.stream_positions(np.arange(3)).tolist()
    [0, 3, 4]
    """

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self.ranges = _merge(ranges)
        self._starts = np.array([start for start, _ in self.ranges], dtype=np.int64)
        self._ends = np.array([end for _, end in self.ranges], dtype=np.int64)
        self._before = np.cumsum([0, *(end - start for start, end in self.ranges)], dtype=np.int64)  # skipped before each, and by all
        self._samples = self._starts - self._before[:-1]  # the first sample behind each range

    def stream_positions(self, samples: Int64Array) -> Int64Array:
        """Maps int64 [k] samples to the stream positions they stand at."""
        if not self.ranges:
            return samples
        return samples + self._before[np.searchsorted(self._samples, samples, side="right")]

    def delivered_before(self, position: int) -> int:
        """Counts the samples before a stream position."""
        index = int(np.searchsorted(self._starts, position, side="left"))  # ranges that begin before it
        if index == 0:
            return position
        # The last of them may reach beyond the position: then samples end where it starts.
        before_range = min(position, int(self._starts[index - 1])) - int(self._before[index - 1])
        return before_range + max(0, position - int(self._ends[index - 1]))

    def sample_at(self, position: int) -> int | None:
        """Gives the sample at a stream position, None where it is skipped."""
        index = int(np.searchsorted(self._starts, position, side="right"))
        if index and position < self._ends[index - 1]:
            return None
        return position - int(self._before[index])


def _merge(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sorts and unites [start, end) ranges."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((int(start), int(end)) for start, end in ranges):
        if start < 0 or end <= start:
            raise ConfigError(f"a skipped range is (start, end) with 0 <= start < end, got ({start}, {end})")
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)
