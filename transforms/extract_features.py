"""Examples of a dataset to features.

Tested in tests/pipelines/test_extract_features.py.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference

from tokenreel.assembly.split_range import SplitRange
from tokenreel.extracting import feature_output, feature_shards
from tokenreel.extracting.feature_job import FeatureJob, ModelOnce
from tokenreel.extracting.feature_output import DOCUMENTS, ScoredDocuments
from tokenreel.extracting.feature_shards import BuiltFeatures
from tokenreel.storage import column_file
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import ColumnFile
from tokenreel.storage.stored_value import StoredValue
from transforms.gather_rows import GatherRows


class ShardHandler(ModelHandler[SplitRange, BuiltFeatures, ModelOnce]):
    """Shows ranges of examples to a model, which a worker loads once. Examples and features stay in files."""

    def __init__(self, job: StoredValue[FeatureJob]) -> None:
        super().__init__()
        self._job = job

    def load_model(self) -> ModelOnce:
        return ModelOnce(self._job.load())

    def run_inference(
        self, batch: Sequence[SplitRange], model: ModelOnce, inference_args: dict[str, Any] | None = None
    ) -> Iterable[BuiltFeatures]:
        job = self._job.load()
        for plan in batch:
            with job.work.explaining():
                yield feature_shards.write_shard(job, plan, model)

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Keeps Beam from batching: what the model sees together must not depend on a runner."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def get_metrics_namespace(self) -> str:
        return "tokenreel"


@dataclasses.dataclass
class ExtractFeatures(beam.PTransform):
    """Writes the features of all examples and the scores of their documents, and then the manifest; emits the fingerprint."""

    job: StoredValue[FeatureJob]
    tables: Folder

    def expand(self, root: beam.Pipeline) -> beam.PCollection[str]:
        built = (
            root
            | "Splits" >> beam.Create(list(range(len(self.job.load().splits))))
            | "CutShards" >> beam.FlatMap(self._plan)  # SplitRange: a shard
            | "SpreadShards" >> beam.Reshuffle()
            | "AskModel" >> RunInference(ShardHandler(self.job))  # BuiltFeatures
            | "CollectShards" >> beam.CombineGlobally(GatherRows(BuiltFeatures.to_row, self.tables, "features", feature_shards.SORT_BY))
        )
        table = beam.pvalue.AsSingleton(built)
        scored = (
            built
            | "CutDocuments" >> beam.FlatMap(self._cut)  # SplitRange
            | "SpreadDocuments" >> beam.Reshuffle()
            | "ScoreDocuments" >> beam.Map(self._score, table)  # ScoredDocuments
            | "CollectScores" >> beam.CombineGlobally(GatherRows(ScoredDocuments.to_row, self.tables, "scores", feature_output.SORT_BY))
        )
        return scored | "WriteManifest" >> beam.Map(self._finish, table)

    def _plan(self, split: int) -> Iterator[SplitRange]:
        job = self.job.load()
        return SplitRange.cut(split, job.splits[split][1], job.shard_examples)

    def _cut(self, table: ColumnFile) -> Iterator[SplitRange]:
        for split, built in by_split(table).items():
            yield from SplitRange.cut(split, max(each.documents[1] for each in built), DOCUMENTS)

    def _score(self, plan: SplitRange, table: ColumnFile) -> ScoredDocuments:
        job = self.job.load()
        with job.work.explaining():
            return feature_output.score_documents(job, plan, by_split(table)[plan.split])

    def _finish(self, scored: ColumnFile, table: ColumnFile) -> str:
        job, found = self.job.load(), column_file.read(scored)
        documents: dict[int, list[ScoredDocuments]] = {}
        for row in range(found.rows):
            each = ScoredDocuments(**found.row(row))
            documents.setdefault(each.split, []).append(each)
        with job.work.explaining():
            return feature_output.finish(job, by_split(table), documents)


@functools.lru_cache(maxsize=4)
def by_split(table: ColumnFile) -> dict[int, list[BuiltFeatures]]:
    """Reads the table of shards, once in a process: by split, those of each in order."""
    found = column_file.read(table)
    splits: dict[int, list[BuiltFeatures]] = {}
    for row in range(found.rows):
        built = BuiltFeatures.of_row(found.row(row))
        splits.setdefault(built.split, []).append(built)
    return splits
