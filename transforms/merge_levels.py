"""Merge passes over the files of a table, one after the other.

Tested in tests/pipelines/test_merging.py.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam

from tokenreel.storage.column_file import ColumnFile
from transforms.gather_rows import GatherRows


@dataclasses.dataclass
class MergeLevels(beam.PTransform):
    """Merges the files of a table some at a time, and what that gave again, as often as the table asks for.

    Takes a table; emits the table of what the last pass made, or the same one where none is needed.

    Attributes:
      levels: passes at most.
      plan: says how many a table asks for.
      cut: gives the files that a pass writes, each as a small task.
      merge: writes one of them, and gives what tells of it, if anything is in it.
      gather: gathers that to the next table.
    """

    levels: int
    plan: Callable[[ColumnFile], int]
    cut: Callable[[ColumnFile], Iterable[Any]]
    merge: Callable[[Any, ColumnFile], Iterable[Any]]
    gather: GatherRows

    def expand(self, table: beam.PCollection[ColumnFile]) -> beam.PCollection[ColumnFile]:
        # No table is the main input of a step that waits for another one: where other steps read it beside their own input, Beam's local
        # runner may then hand these nothing, by the order of a set.
        needed = table | "PlanMerges" >> beam.Map(self.plan)  # int
        once = table.pipeline | "Once" >> beam.Create([None])
        for level in range(1, self.levels + 1):
            merged = (
                needed
                | f"CutStrands{level}" >> beam.FlatMap(self._tasks, level, beam.pvalue.AsSingleton(table))
                | f"SpreadMerges{level}" >> beam.Reshuffle()
                | f"Merge{level}" >> beam.FlatMap(self.merge, beam.pvalue.AsSingleton(table))
                | f"CollectMerged{level}" >> beam.CombineGlobally(self.gather)
            )
            table = once | f"TakeMerged{level}" >> beam.Map(_last, *map(beam.pvalue.AsSingleton, (table, merged)))
        return table

    def _tasks(self, needed: int, level: int, table: ColumnFile) -> Iterable[Any]:
        return self.cut(table) if level <= needed else ()


def _last(_: None, before: ColumnFile, merged: ColumnFile) -> ColumnFile:
    """Takes what a pass made; it made nothing where it was not needed."""
    return merged if merged.rows else before
