"""Cuts a merge pass over stage files into the files that it writes.

Tested in tests/pipelines/test_merging.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tokenreel.config.build import JobConfig
from tokenreel.config.splits import KEYS, key_range, split_ranges
from tokenreel.planning import merge_plan
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.stage_table import StageTable
from tokenreel.staging import merging
from tokenreel.staging.columns import StageInfo
from tokenreel.staging.stage_file import StageFile
from tokenreel.storage import merge_tasks
from tokenreel.storage.merge_tasks import MergeTask

_QUANTILES = 33  # of the sort values in a merged file: of so many files that are put together, the parts differ little in size


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
        begins, base = ~merged[own] | (np.diff(strand[own], prepend=-1) != 0), int(own[0]) if len(own) else 0
        if config.order.mode == "field":
            first_pass = not merged[own].any()
            fan_in = merge_plan.first_fan_in(config, int(sizes[own].max(initial=0))) if first_pass else config.execution.merge_files
            for number, (first, last) in enumerate(merge_tasks.together(begins, fan_in, base)):
                yield from _cut_values(table, config, number, range(first, last), sizes)
        else:
            yield from merge_tasks.cut(begins, config.execution.merge_files, describe, base)


def _cut_values(table: StageTable, config: JobConfig, strand: int, rows: range, sizes: npt.NDArray[np.int64]) -> Iterator[MergeTask]:
    """Yields the files of the strand that rows of a table make, sorted by a field: for each split one or several.

    Args:
      table: stage files, or what an earlier pass made of them.
      config: the settings of the build.
      strand: its number in the source.
      rows: of the table.
      sizes: int64 [rows of the table] bytes of each file, about.
    """
    first, last = rows.start, rows.stop
    splits = split_ranges(config, int(table.numbers("source")[first]))
    held: list[tuple[str, int, int]] = []
    for split, (low, high) in splits.items():
        if low == high:  # the source does not have it
            continue
        if table.numbers("ranges")[first]:
            own = first + np.flatnonzero(table.counts(split)[first:last, 0])
            bounds = _bounds(table.quantiles[own], sizes[own], merge_plan.range_bytes(config))
        else:
            bounds = [0, KEYS]  # the first pass puts no more together than one file takes
        held += [(split, *values) for values in itertools.pairwise(bounds)]
    described = (f"{split} {low} {high}" for split, (low, high) in sorted(splits.items()))
    paths, removed = table.texts("path", first, last), table.texts("removed", first, last)
    name = merging.name_of(paths, removed, len(held), "field", *described)
    for part, (split, low, high) in enumerate(held):
        yield MergeTask(strand, part, len(held), first, last, name, split, low, high)


def _bounds(values: npt.NDArray[np.uint64], sizes: npt.NDArray[np.int64], size: int) -> list[int]:
    """Cuts sort values into ranges of about the same bytes.

    Args:
      values: [n, q] quantiles of n files.
      sizes: [n] their bytes.
      size: of a range.

    Returns:
      where the ranges begin and end; nothing if there is no file.

    >>> [at % KEYS for at in _bounds(np.array([[0, 4, 8], [3, 3, 4]], dtype=np.uint64), np.array([10, 10]), 10)]
    [0, 3, 0]
    """
    order, count = np.argsort(values, axis=None), -(-int(sizes.sum()) // size)
    until = np.cumsum(np.repeat(sizes, values.shape[1])[order])
    inner = [int(values.flat[order[np.searchsorted(until, int(until[-1]) * i // count)]]) for i in range(1, count)]
    return sorted({0, KEYS, *inner}) if count else []  # a set: documents of equal values stay together, however many they are


def inputs(table: StageTable, task: MergeTask) -> npt.NDArray[np.int64]:
    """Finds the files that may hold documents of a merged file: their rows in the table, int64 [k]."""
    if not task.split:
        return table.within(task.first, task.last, *key_range(task.part, task.ranges))
    if not table.numbers("ranges")[task.first]:  # stage files lie by key, and have any values
        return np.arange(task.first, task.last)
    return task.first + np.flatnonzero(table.holding(task.split, task.low, task.high)[task.first : task.last])


def describe(info: StageInfo, split: str) -> StageSelection:
    """Describes a merged file: all of it is taken, as what it was made of says; `split` is that of a `MergeTask`."""
    if not split:
        return StageSelection(info=info, splits={})
    values = StageFile(info).read("sort_value")
    at = np.arange(_QUANTILES) * (len(values) - 1) // (_QUANTILES - 1)
    return StageSelection(info=info, splits={split: ((info.documents, info.tokens, 0, 0),)}, quantiles=tuple(values[at].tolist()))
