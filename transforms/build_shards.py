"""Shard plans to shards.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_determinism.py.
"""

import dataclasses

import apache_beam as beam

from tokenreel.assembly import shard_building
from tokenreel.assembly.shard_building import BuiltShard
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.shard_plan import ShardPlan, SplitPlan


@dataclasses.dataclass
class BuildShards(beam.PTransform):
    """Assembles each planned shard from the stage files and writes it.

    Takes plans in any order. Writes the same bytes for the same plan on every runner: the documents of a group are sorted by what they are,
    and checked to be those that were planned.
    """

    recipe: Recipe
    state: str
    build: str

    def expand(self, inputs) -> beam.PCollection[BuiltShard]:  # Beam takes no hint for several inputs
        plans, selections = inputs  # [SplitPlan], [StageSelection]
        return (
            plans
            | "Shards" >> beam.FlatMap(_shards)  # ShardPlan: ranges, never tokens
            | "SpreadShards" >> beam.Reshuffle()
            | "BuildShard" >> beam.Map(self._build, beam.pvalue.AsSingleton(selections))  # BuiltShard
        )

    def _build(self, plan: ShardPlan, selections: list[StageSelection]) -> BuiltShard:
        return shard_building.build_shard(DocumentOrder(self.recipe, selections), plan, self.state, self.build)


def _shards(plans: list[SplitPlan]) -> list[ShardPlan]:
    return [shard for plan in plans for shard in plan.shards]
