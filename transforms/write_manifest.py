"""Everything to the manifest.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_interruption.py.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import apache_beam as beam

from tokenreel.assembly import finishing, shard_building
from tokenreel.assembly.shard_statistics import StoredStatistics
from tokenreel.config.workspace import Workspace
from tokenreel.planning import shard_plan, stage_table
from tokenreel.planning.recipe import Recipe
from tokenreel.storage import column_file
from tokenreel.storage.column_file import ColumnFile
from tokenreel.storage.stored_value import StoredValue
from tokenreel.vocabularies.base import Vocabulary
from transforms.gather_rows import GatherRows, SumStatistics


@dataclasses.dataclass
class WriteManifest(beam.PTransform):
    """Waits for every shard, checks that nothing was lost, and writes the manifest: the file means "complete".

    Emits the fingerprint of the dataset.
    """

    recipe: StoredValue[Recipe]
    work: Workspace
    vocabulary: StoredValue[Vocabulary]
    inputs: Mapping[str, Any]

    def expand(self, parts) -> beam.PCollection[str]:  # Beam takes no hint for several inputs
        stages, plan, built = parts  # tables of StageSelection and SplitPlan; BuiltShard
        recipe = self.recipe.load()
        tables = self.work.tables
        gather = GatherRows(shard_building.to_row, tables, "shards", shard_building.SORT_BY)
        shards = built | "CollectShards" >> beam.CombineGlobally(gather)  # table of BuiltShard
        return (
            built
            | "SumStatistics" >> beam.CombineGlobally(SumStatistics(recipe.vocabulary, tables))  # {split: StoredStatistics}
            | "WriteManifest" >> beam.Map(self._finish, *map(beam.pvalue.AsSingleton, (shards, stages, plan)))  # str
        )

    def _finish(self, counted: dict[str, StoredStatistics], shards: ColumnFile, stages: ColumnFile, plan: ColumnFile) -> str:
        with self.work.explaining():
            recipe = self.recipe.load()
            selections, plans = stage_table.load(stages), shard_plan.load(recipe, plan)
            built = column_file.read(shards)
            return finishing.finish(recipe, self.work, self.vocabulary.load(), selections, plans, built, counted, self.inputs).fingerprint
