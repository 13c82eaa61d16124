"""Makes one shard of features: batch by batch, the examples are shown to the model, and what it says is written.

Tested in tests/pipelines/test_extract_features.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from tokenreel import keys
from tokenreel.assembly.split_range import SplitRange
from tokenreel.errors import BuildError
from tokenreel.extracting import document_scores
from tokenreel.extracting.document_scores import SegmentSums
from tokenreel.extracting.feature_job import FeatureJob
from tokenreel.format import naming
from tokenreel.format.cache_manifest import feature_from_json, feature_to_json
from tokenreel.format.ragged_records import RaggedFeature, RaggedWriter
from tokenreel.format.tfrecord import crc32c
from tokenreel.model_features.extractor import Extractor
from tokenreel.storage import files, sealed
from tokenreel.storage.column_file import to_parts

SORT_BY = ("split", "shard")
_PART = ".scores"


@dataclasses.dataclass(frozen=True)
class BuiltFeatures:
    """A shard that was written.

    Attributes:
      split, shard: which.
      records: its examples.
      data, index: (bytes, CRC32C) of its files.
      features: of its records.
      predicted, logprob: how many tokens were predicted, and the sum of their log-probabilities.
      part: name of the table of its documents; "" without.
      documents: numbers of the first of them and of that behind the last.
    """

    split: int
    shard: int
    records: int
    data: tuple[int, int]
    index: tuple[int, int]
    features: Mapping[str, RaggedFeature]
    predicted: int
    logprob: float
    part: str
    part_file: tuple[int, int]
    documents: tuple[int, int]

    def to_row(self) -> dict[str, Any]:
        """Gives it as a row of a table."""
        row = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in ("features", "logprob")}
        told = {"features": {name: feature_to_json(each) for name, each in self.features.items()}, "logprob": self.logprob}
        return row | {"told": json.dumps(told, sort_keys=True)}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> BuiltFeatures:
        """Reads a row that `to_row` gave."""
        told = json.loads(row["told"])
        own: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items() if name != "told"}
        features = {name: feature_from_json(each) for name, each in told["features"].items()}
        return cls(**own, features=features, logprob=told["logprob"])


def write_shard(job: FeatureJob, plan: SplitRange, model: Callable[[], Extractor]) -> BuiltFeatures:
    """Writes a shard; one that this job finished before it was interrupted is compared with its digests and kept.

    Args:
      job: what is extracted.
      plan: which shard.
      model: gives the model.

    Raises:
      BuildError: the model says what cannot be stored; names the examples.
    """
    split, examples = job.splits[plan.split]
    name, index_name = (make(split, plan.index, plan.count) for make in (naming.shard, naming.shard_index))
    folder = job.work.shards.ready()
    path, index_path, part = job.work.unplaced(name), job.work.unplaced(index_name), f"{name}{_PART}" if job.documents else ""
    record, identity = files.join(folder, f"{name}.json"), keys.digest(job.made_by, str(plan))
    if (known := _find(job, record, identity, path, index_path)) is not None:
        return known
    sums, extractor, batch = SegmentSums(), model(), job.config.batch_size
    predicted, logprob = 0, 0.0
    job = dataclasses.replace(job, predicting=extractor.predicting)
    with files.write_atomic(path) as file:
        writer = RaggedWriter(file)
        for first in range(plan.first, plan.last, batch):
            rows = min(batch, plan.last - first)
            arranged = job.batch(split, first, examples)
            try:
                said = extractor(arranged)
            except BuildError as error:
                raise BuildError(f"split {split!r}, examples {first:,} to {first + rows - 1:,}: {error}.") from error
            writer.write(said.examples(first, rows))
            if said.logprobs is not None:
                weights = arranged.weights[:rows]
                predicted += int(weights.sum())
                logprob += float(said.logprobs[:rows][weights].sum(dtype="float64"))
                if job.documents:
                    sums.add(arranged, said.logprobs, first, rows)
    index = b"".join(to_parts(writer.index()))
    job.work.shards.ready()
    files.write_bytes(index_path, index)
    documents, part_file = (0, 0), (0, 0)
    if part:
        part_path = files.join(folder, part)
        documents = document_scores.write_part(part_path, job.dataset, job.fingerprint, split, plan.first, plan.last, sums)
        part_file = files.checksum(part_path) or part_file
    made = BuiltFeatures(
        split=plan.split,
        shard=plan.index,
        records=writer.records,
        data=(writer.bytes, writer.crc32c),
        index=(len(index), crc32c(index)),
        features=writer.features,
        predicted=predicted,
        logprob=logprob,
        part=part,
        part_file=part_file,
        documents=documents,
    )
    sealed.write(record, {**made.to_row(), "identity": identity})
    return made


def _find(job: FeatureJob, record: str, identity: str, path: str, index_path: str) -> BuiltFeatures | None:
    """Finds a shard that is whole."""
    row = sealed.read(record)
    if row is None or row.pop("identity", None) != identity:
        return None
    found = BuiltFeatures.of_row(row)
    wanted = {path: found.data, index_path: found.index}
    if found.part:
        wanted[files.join(job.work.shards.path, found.part)] = found.part_file
    return found if all(files.checksum(each) == sums for each, sums in wanted.items()) else None
