"""Stage files to shard plans.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_determinism.py.
"""

import dataclasses
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import apache_beam as beam

from tokenreel.assembly import dead_letters, kept_fields
from tokenreel.config.build import tables_directory
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


@dataclasses.dataclass
class PlanShards(beam.PTransform):
    """Cuts the total order of the documents into groups, measures each from lengths alone, and cuts the splits into shards.

    Takes the table of stage files; emits the plan of all splits, which is a table too.
    """

    recipe: StoredValue[Recipe]
    inputs: Mapping[str, Any]

    def expand(self, stages: beam.PCollection[ColumnFile]) -> beam.PCollection[ColumnFile]:
        every_stage = beam.pvalue.AsSingleton(stages)
        gather = GatherRows(group_table.to_row, tables_directory(self.recipe.load().config), "groups", group_table.SORT_BY)
        return (
            stages
            | "CutGroups" >> beam.FlatMap(self._groups)  # DocumentGroup: a range of keys or of tokens
            | "SpreadGroups" >> beam.Reshuffle()
            | "MeasureGroup" >> beam.Map(self._measure, every_stage)  # GroupSize
            | "CollectSizes" >> beam.CombineGlobally(gather)  # table of GroupSize
            | "CutShards" >> beam.Map(self._plan, every_stage)  # table of SplitPlan
        )

    def _groups(self, stages: ColumnFile) -> Iterable[DocumentGroup]:
        recipe, selections = self.recipe.load(), stage_table.load(stages)
        contents.check((selection.info for selection in selections), [source.name for source in recipe.config.sources])
        dead_letters.check(recipe.config, self.inputs, selections, _say)
        kept_fields.check(recipe.config, selections)
        order = DocumentOrder(recipe, selections)
        groups = order.groups()
        planned = read_budget.plan_reads(order, groups)
        _say(str(planned))
        read_budget.check(planned, recipe.config)
        return groups

    def _measure(self, group: DocumentGroup, stages: ColumnFile) -> GroupSize:
        return shard_plan.measure(DocumentOrder(self.recipe.load(), stage_table.load(stages)), group)

    def _plan(self, sizes: ColumnFile, stages: ColumnFile) -> ColumnFile:
        recipe = self.recipe.load()
        plans = shard_plan.plan_all(DocumentOrder(recipe, stage_table.load(stages)), column_file.read(sizes))
        return shard_plan.write(tables_directory(recipe.config), plans)


def _say(line: str) -> None:
    print(f"tokenreel: {line}", file=sys.stderr, flush=True)
