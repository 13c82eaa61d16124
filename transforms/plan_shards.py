"""Stage files to shard plans.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_determinism.py.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam

from tokenreel.assembly import dead_letters, kept_fields
from tokenreel.config.workspace import Workspace
from tokenreel.planning import group_table, read_budget, shard_plan, stage_table
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import DocumentGroup
from tokenreel.planning.group_table import GroupSize
from tokenreel.planning.recipe import Recipe
from tokenreel.staging import contents
from tokenreel.storage import column_file
from tokenreel.storage.column_file import ColumnFile
from tokenreel.storage.stored_value import StoredValue
from transforms.gather_rows import GatherRows
from transforms.workers import measures
from transforms.workers.saying import say


@dataclasses.dataclass
class PlanShards(beam.PTransform):
    """Cuts the total order of the documents into groups, measures each from lengths alone, and cuts the splits into shards.

    Takes the table of stage files, and that of the files that are read (the same one, or what `MergeStages` made of it); emits the plan of
    all splits, which is a table too.
    """

    recipe: StoredValue[Recipe]
    work: Workspace
    inputs: Mapping[str, Any]

    def expand(self, tables) -> beam.PCollection[ColumnFile]:  # Beam takes no hint for several inputs
        stages, files = tables
        every_stage, merged = beam.pvalue.AsSingleton(stages), [] if files is stages else [beam.pvalue.AsSingleton(files)]
        gather = GatherRows(group_table.to_row, self.work.tables, "groups", group_table.SORT_BY)
        return (
            stages
            | "CutGroups" >> beam.FlatMap(self._groups, checked=bool(merged))  # DocumentGroup: a range of keys or of tokens
            | "SpreadGroups" >> beam.Reshuffle()
            | "MeasureGroup" >> beam.Map(self._measure, every_stage, *merged)  # GroupSize
            | "CollectSizes" >> beam.CombineGlobally(gather)  # table of GroupSize
            | "CutShards" >> beam.Map(self._plan, every_stage, *merged)  # table of SplitPlan
        )

    def _groups(self, stages: ColumnFile, *, checked: bool) -> Iterable[DocumentGroup]:
        with self.work.explaining():
            return self._cut(stages, checked)

    def _cut(self, stages: ColumnFile, checked: bool) -> Iterable[DocumentGroup]:
        order = document_order(self.recipe, stages)
        if checked:  # by `MergeStages`, before it merged anything
            return order.groups()
        check_text(order, self.work, self.inputs)
        groups = order.groups()
        planned = read_budget.plan_reads(order, groups)
        say(str(planned))
        measures.count("reads-planned", planned.reads)
        read_budget.check(planned, order.config)
        return groups

    def _measure(self, group: DocumentGroup, stages: ColumnFile, merged: ColumnFile | None = None) -> GroupSize:
        with self.work.explaining():
            return shard_plan.measure(document_order(self.recipe, stages, merged), group)

    def _plan(self, sizes: ColumnFile, stages: ColumnFile, merged: ColumnFile | None = None) -> ColumnFile:
        with self.work.explaining():
            plans = shard_plan.plan_all(document_order(self.recipe, stages, merged), column_file.read(sizes))
            return shard_plan.write(self.work.tables.ready(), plans)


def document_order(recipe: StoredValue[Recipe], stages: ColumnFile, merged: ColumnFile | None = None) -> DocumentOrder:
    """Gives the order of the documents of the stage files in a table, read from the files of another one where there is one."""
    return DocumentOrder(recipe.load(), stage_table.load(stages), None if merged in (None, stages) else stage_table.load(merged))


def check_text(order: DocumentOrder, work: Workspace, inputs: Mapping[str, Any]) -> None:
    """Refuses text that is not what was listed, or of which too much could not be read; writes the dead letters."""
    config, selections = order.config, order.selections
    record = contents.record_path(work.tables.ready(), selections.identity)
    contents.check((selection.info for selection in selections), [source.name for source in config.sources], record)
    dead_letters.check(config, work, inputs, selections, say)
    kept_fields.check(config, selections)
