"""Cuts a merge pass over stage files into the files that it writes.

Tested in tests/pipelines/test_merging.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tokenreel.config.build import JobConfig
from tokenreel.planning import merge_plan
from tokenreel.planning.stage_table import StageTable
from tokenreel.staging import merging
from tokenreel.storage import merge_tasks
from tokenreel.storage.merge_tasks import MergeTask


def cut(table: StageTable, config: JobConfig) -> Iterator[MergeTask]:
    """Yields the files of the strands that the files of a table are put together to; a strand is of one source."""
    size, sizes = merge_plan.range_bytes(config), merge_plan.file_bytes(table)

    def describe(first: int, last: int) -> tuple[int, str]:
        ranges = max(1, -(-int(sizes[first:last].sum()) // size))
        return ranges, merging.name_of(table.texts("path", first, last), table.texts("removed", first, last), ranges)

    strand, merged = table.numbers("block"), table.numbers("ranges") > 0
    for source in range(len(config.sources)):
        own = table.of_source(source)
        # Stage files of a block are strands of their own; merged files of a strand have its number.
        begins = ~merged[own] | (np.diff(strand[own], prepend=-1) != 0)
        yield from merge_tasks.cut(begins, config.execution.merge_files, describe, base=int(own[0]) if len(own) else 0)
