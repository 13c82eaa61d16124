"""Cuts a merge pass into the files that it writes.

Tested in tests/pipelines/test_merging.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tokenreel.config.build import JobConfig
from tokenreel.planning import merge_plan
from tokenreel.planning.stage_table import StageTable
from tokenreel.staging import merging


class MergeTask(NamedTuple):
    """A file of a strand that is to be written.

    Attributes:
      source: index of the source.
      strand: number of the strand.
      part: range of keys that the file holds,
      ranges: of how many.
      first, last: rows [first, last) of the table hold what is put together.
      name: of the strand.
    """

    source: int
    strand: int
    part: int
    ranges: int
    first: int
    last: int
    name: str


def cut(table: StageTable, config: JobConfig) -> Iterator[MergeTask]:
    """Yields the files of the strands that the files of a table are put together to."""
    fan_in, size = config.execution.merge_files, merge_plan.range_bytes(config)
    sizes = merge_plan.file_bytes(table)
    source, strand = table.numbers("source"), table.numbers("block")
    merged = table.numbers("ranges") > 0
    # Stage files of a block are strands of their own; merged files of a strand have its number.
    if not len(table):
        return
    begins = np.append(True, (source[1:] != source[:-1]) | ~merged[1:] | (strand[1:] != strand[:-1]))
    starts = np.append(np.flatnonzero(begins), len(table))
    of = source[starts[:-1]]
    for index in range(len(config.sources)):
        own = np.flatnonzero(of == index)
        for number, at in enumerate(range(0, len(own), fan_in)):
            first, last = int(starts[own[at]]), int(starts[own[min(at + fan_in, len(own)) - 1] + 1])
            ranges = max(1, -(-int(sizes[first:last].sum()) // size))
            paths, removed = table.texts("path", first, last), table.texts("removed", first, last)
            name = merging.name_of(paths, removed, ranges)
            yield from (MergeTask(index, number, part, ranges, first, last, name) for part in range(ranges))
