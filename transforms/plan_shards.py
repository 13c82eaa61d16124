"""Stage files to shard plans."""

import dataclasses
from collections.abc import Iterable

import apache_beam as beam

from tokenreel import completion, shards
from tokenreel.groups import DocumentOrder, Group
from tokenreel.recipe import Recipe
from tokenreel.selection import Staged
from tokenreel.shards import GroupSize, SplitPlan


@dataclasses.dataclass
class PlanShards(beam.PTransform):
    """Cuts the total order of the documents into groups, measures each from lengths alone, and cuts the splits into shards.

    Takes the sorted list of stage files as one element; emits one plan a split.
    """

    recipe: Recipe

    def expand(self, stages: beam.PCollection[list[Staged]]) -> beam.PCollection[list[SplitPlan]]:
        every_stage = beam.pvalue.AsSingleton(stages)
        return (
            stages
            | "CutGroups" >> beam.FlatMap(self._groups)  # Group: a range of keys or of tokens
            | "SpreadGroups" >> beam.Reshuffle()
            | "MeasureGroup" >> beam.Map(self._measure, every_stage)  # GroupSize
            | "CollectSizes" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | "CutShards" >> beam.Map(self._plan, every_stage)  # [SplitPlan]
        )

    def _groups(self, stages: list[Staged]) -> Iterable[Group]:
        return DocumentOrder(self.recipe, stages).groups()

    def _measure(self, group: Group, stages: list[Staged]) -> GroupSize:
        return shards.measure(DocumentOrder(self.recipe, stages), group)

    def _plan(self, sizes: list[GroupSize], stages: list[Staged]) -> list[SplitPlan]:
        return completion.plan_all(DocumentOrder(self.recipe, stages), sizes)
