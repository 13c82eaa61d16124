"""Everything to the manifest.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_interruption.py.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import apache_beam as beam

from tokenreel.assembly import finishing
from tokenreel.assembly.shard_building import BuiltShard
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.shard_plan import SplitPlan
from tokenreel.vocabularies.base import Vocabulary


@dataclasses.dataclass
class WriteManifest(beam.PTransform):
    """Waits for every shard, checks that nothing was lost, and writes the manifest: the file means "complete".

    Emits the fingerprint of the dataset.
    """

    recipe: Recipe
    vocabulary: Vocabulary
    inputs: Mapping[str, Any]

    def expand(self, parts) -> beam.PCollection[str]:  # Beam takes no hint for several inputs
        selections, plans, built = parts  # [StageSelection], [SplitPlan], BuiltShard
        return (
            built
            | "CollectShards" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | "WriteManifest" >> beam.Map(self._finish, beam.pvalue.AsSingleton(selections), beam.pvalue.AsSingleton(plans))  # str
        )

    def _finish(self, built: list[BuiltShard], selections: list[StageSelection], plans: list[SplitPlan]) -> str:
        return finishing.finish(self.recipe, self.vocabulary, selections, plans, built, self.inputs).fingerprint
