"""Makes one shard: its examples are gathered, converted and written, some rows at a time.

Tested in tests/pipelines/test_build_tasks.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.assembly import shard_writer
from tokenreel.assembly.shard_writer import ShardWriter
from tokenreel.assembly.split_range import SplitRange
from tokenreel.converting.prepared_task import PreparedTask
from tokenreel.converting.row_job import RowJob
from tokenreel.converting.row_plan import SplitRows
from tokenreel.errors import BuildError
from tokenreel.format import naming, schema
from tokenreel.format.example_codec import make_fixed_format
from tokenreel.format.manifest import ShardInfo
from tokenreel.format.schema import Feature
from tokenreel.storage import files, sealed
from tokenreel.tasks.feature_converters import blocks

_TOGETHER = 256  # rows that are converted at a time
SORT_BY = ("split", "shard")


@dataclasses.dataclass(frozen=True)
class BuiltRows:
    """A shard that was written, and lies in its place or is to be moved there."""

    split: int
    shard: int
    file: str
    records: int
    bytes: int
    crc32c: int

    def to_row(self) -> Mapping[str, Any]:
        """Gives it as a row of a table."""
        return dataclasses.asdict(self)

    @property
    def info(self) -> ShardInfo:
        """What the manifest says of it."""
        return ShardInfo(file=self.file, records=self.records, bytes=self.bytes, crc32c=self.crc32c)


def write_shard(job: RowJob, plan: SplitRange, rows: SplitRows, features: Sequence[Feature]) -> BuiltRows:
    """Writes a shard; one that this build finished before it was interrupted is verified and kept.

    Args:
      job: what is built.
      plan: which shard.
      rows: those of the split.
      features: of a record.

    Raises:
      BuildError: a row has another shape than those before it.
    """
    prepared: PreparedTask = job.load()
    name = naming.shard(prepared.splits[plan.split], plan.index, plan.count)
    path, record = job.work.unplaced(name), files.join(job.work.shards.ready(), f"{name}.json")
    identity = keys.digest(job.made_by, str(plan), str(features))
    known = sealed.read(record)
    if known is not None and known.pop("identity", None) == identity:
        found = BuiltRows(**known)
        if any(shard_writer.matches(each, found.info) for each in (path, files.join(job.directory, name))):
            return found
    with files.write_atomic(path) as file:
        writer = ShardWriter(file, make_fixed_format(features), job.config.shards.format)
        for first in range(plan.first, plan.last, _TOGETHER):
            arrays = _convert(prepared, rows, first, min(first + _TOGETHER, plan.last))
            for feature in features:
                shape = arrays[feature.name].shape[1:] if feature.name != schema.EXAMPLE_ID else feature.shape
                if shape != feature.shape:
                    raise BuildError(
                        f"{job.name!r}: {feature.name} has the shape {list(shape)} in one row and {list(feature.shape)} in the first. Give "
                        "the size of each axis in task_feature_lengths, or make rows of one shape."
                    )
            writer.write(arrays, first)
    made = BuiltRows(plan.split, plan.index, name, writer.records, writer.bytes, writer.crc32c)
    sealed.write(record, {**made.to_row(), "identity": identity})
    return made


def _convert(prepared: PreparedTask, rows: SplitRows, first: int, last: int) -> dict[str, Any]:
    """Makes some rows: [last - first, ...] of each feature."""
    wanted, heads = rows.examples(first, last)
    block = rows.records.take(wanted)
    if not prepared.stages_rows:
        return dict(prepared.converter.fill_planned(block, prepared.lengths, heads))
    made = {}
    for name, (values, bounds) in block.items():
        parts = blocks.split(values, bounds)
        if len({np.shape(part) for part in parts}) > 1:
            raise BuildError(f"{prepared.name!r}: rows of the converter differ in the shape of {name}. Make rows of one shape.")
        made[name] = np.stack(parts)
    return made
