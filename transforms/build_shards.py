"""Shard plans to shards.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_determinism.py.
"""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam

from tokenreel.assembly import shard_building
from tokenreel.assembly.shard_building import BuiltShard
from tokenreel.config.workspace import Workspace
from tokenreel.planning import shard_plan
from tokenreel.planning.recipe import Recipe
from tokenreel.storage.column_file import ColumnFile
from tokenreel.storage.stored_value import StoredValue
from transforms.plan_shards import document_order
from transforms.workers import measures


@dataclasses.dataclass
class BuildShards(beam.PTransform):
    """Assembles each planned shard from the stage files and writes it.

    Takes plans in any order. Writes the same bytes for the same plan on every runner: the documents of a group are sorted by what they are,
    and checked to be those that were planned.
    """

    recipe: StoredValue[Recipe]
    work: Workspace

    def expand(self, inputs) -> beam.PCollection[BuiltShard]:  # Beam takes no hint for several inputs
        plan, stages, files = inputs  # tables: SplitPlan, StageSelection, and the same of the files that are read
        tables = [plan, stages] if files is stages else [plan, stages, files]
        return (
            plan
            | "Shards" >> beam.FlatMap(self._shards)  # (split, shard)
            | "SpreadShards" >> beam.Reshuffle()
            | "BuildShard" >> beam.Map(self._build, *map(beam.pvalue.AsSingleton, tables))  # BuiltShard
        )

    def _shards(self, plan: ColumnFile) -> Iterator[tuple[int, int]]:
        for split, found in enumerate(shard_plan.load(self.recipe.load(), plan)):
            yield from ((split, shard) for shard in range(len(found.shards)))

    def _build(self, shard: tuple[int, int], plan: ColumnFile, stages: ColumnFile, merged: ColumnFile | None = None) -> BuiltShard:
        split, index = shard
        with self.work.explaining(), measures.Task("shard", job=self.work.build[:16], split=split, shard=index) as task:
            order = document_order(self.recipe, stages, merged)
            built = shard_building.build_shard(order, shard_plan.load(order.recipe, plan)[split].shards[index], self.work)
            task.fields |= {"file": built.shard.file, "examples": built.shard.records}
            measures.count("out-shards")
            measures.count("out-examples", built.shard.records)
            measures.count("out-bytes", built.shard.bytes)
            return built
