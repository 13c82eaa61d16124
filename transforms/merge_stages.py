"""Merges stage files, where a shuffle would need more reads than a build may make.

Tested in tests/pipelines/test_merging.py.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam

from tokenreel.config.splits import split_ranges
from tokenreel.config.workspace import Workspace
from tokenreel.planning import merge_plan, read_budget, shard_plan, stage_table, strands
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.selection import StageSelection
from tokenreel.staging import identity, merging
from tokenreel.staging.merging import Input, Values
from tokenreel.storage.column_file import ColumnFile
from tokenreel.storage.merge_tasks import MergeTask
from tokenreel.storage.stored_value import StoredValue
from transforms.gather_rows import GatherRows
from transforms.merge_levels import MergeLevels
from transforms.plan_shards import check_text, document_order
from transforms.workers import measures
from transforms.workers.saying import say


@dataclasses.dataclass
class MergeStages(beam.PTransform):
    """Merges stage files K at a time, and what that gave again, as often as the counts of the stage files ask for.

    Takes the table of stage files; emits the table of merged files, or that of the stage files where none are needed. Checks first that
    the text is worth it, in place of `PlanShards`.
    """

    recipe: StoredValue[Recipe]
    work: Workspace
    inputs: Mapping[str, Any]
    levels: int

    def expand(self, stages: beam.PCollection[ColumnFile]) -> beam.PCollection[ColumnFile]:
        gather = GatherRows(stage_table.to_row, self.work.tables, "merged", stage_table.SORT_BY)
        return stages | MergeLevels(self.levels, self._plan, self._cut, self._merge, gather)

    def _plan(self, stages: ColumnFile) -> int:
        with self.work.explaining():
            return self._plan_levels(stages)

    def _plan_levels(self, stages: ColumnFile) -> int:
        order = document_order(self.recipe, stages)
        config = order.config
        check_text(order, self.work, self.inputs)
        unmerged = read_budget.plan_reads(order, order.groups())
        if unmerged.reads <= config.execution.max_reads:
            say(str(unmerged))
            measures.count("reads-planned", unmerged.reads)
            return 0
        sizes = merge_plan.measure(order)
        planned = merge_plan.plan(config, sizes, shard_plan.tokens_per_shard(order.recipe), most=self.levels)
        say(str(planned))
        measures.count("reads-planned", planned.reads)
        read_budget.check(dataclasses.replace(unmerged, reads=planned.reads, repeated=planned.repeated, bytes=planned.read_bytes), config)
        return planned.levels

    def _cut(self, table: ColumnFile) -> Iterator[MergeTask]:
        return strands.cut(stage_table.load(table), self.recipe.load().config)

    def _merge(self, task: MergeTask, table: ColumnFile) -> Iterator[StageSelection]:
        fields = {"job": self.work.build[:16], "strand": task.strand, "part": task.part}
        with self.work.explaining(), measures.Task("merge", **fields):
            rows = stage_table.load(table)
            source, values = int(rows.numbers("source")[task.first]), None
            if task.split:
                values = Values(split_ranges(self.recipe.load().config, source)[task.split], task.low, task.high)
            inputs = [Input(rows[row].info, rows[row].removed) for row in strands.inputs(rows, task).tolist()]
            path = identity.path_of(self.work.tokens.ready(), task.name, task.part)
            info = merging.merge(path, inputs, source=source, strand=task.strand, part=task.part, ranges=task.ranges, values=values)
        if info is not None:
            measures.count("merge-bytes", info.end)
            yield strands.describe(info, task.split)
