"""Stage files to shard plans.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_determinism.py.
"""

import dataclasses
import sys
from collections.abc import Iterable

import apache_beam as beam

from tokenreel.assembly import dead_letters
from tokenreel.planning import read_budget, shard_plan
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import DocumentGroup
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.shard_plan import GroupSize, SplitPlan


@dataclasses.dataclass
class PlanShards(beam.PTransform):
    """Cuts the total order of the documents into groups, measures each from lengths alone, and cuts the splits into shards.

    Takes the sorted list of stage files as one element; emits one plan a split.
    """

    recipe: Recipe

    def expand(self, selections: beam.PCollection[list[StageSelection]]) -> beam.PCollection[list[SplitPlan]]:
        every_stage = beam.pvalue.AsSingleton(selections)
        return (
            selections
            | "CutGroups" >> beam.FlatMap(self._groups)  # DocumentGroup: a range of keys or of tokens
            | "SpreadGroups" >> beam.Reshuffle()
            | "MeasureGroup" >> beam.Map(self._measure, every_stage)  # GroupSize
            | "CollectSizes" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | "CutShards" >> beam.Map(self._plan, every_stage)  # [SplitPlan]
        )

    def _groups(self, selections: list[StageSelection]) -> Iterable[DocumentGroup]:
        dead_letters.check(self.recipe.config, selections)
        order = DocumentOrder(self.recipe, selections)
        groups = order.groups()
        planned = read_budget.plan_reads(order, groups)
        print(f"tokenreel: {planned}", file=sys.stderr, flush=True)
        read_budget.check(planned, self.recipe.config)
        return groups

    def _measure(self, group: DocumentGroup, selections: list[StageSelection]) -> GroupSize:
        return shard_plan.measure(DocumentOrder(self.recipe, selections), group)

    def _plan(self, sizes: list[GroupSize], selections: list[StageSelection]) -> list[SplitPlan]:
        return shard_plan.plan_all(DocumentOrder(self.recipe, selections), sizes)
