"""Staged examples of a task to a dataset of rows.

Tested in tests/pipelines/test_build_tasks.py.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from tokenreel.assembly.split_range import SplitRange
from tokenreel.caching.cache_job import CacheJob
from tokenreel.caching.staging import Staged
from tokenreel.converting import row_output, row_plan, row_shards
from tokenreel.converting.row_job import RowJob
from tokenreel.converting.row_output import FinishedSplit
from tokenreel.converting.row_plan import SplitRows
from tokenreel.converting.row_shards import BuiltRows
from tokenreel.format.example_codec import make_fixed_format
from tokenreel.format.schema import Feature
from tokenreel.storage import column_file
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import ColumnFile
from tokenreel.storage.stored_value import StoredValue
from transforms.cache_tasks import by_split
from transforms.gather_rows import GatherRows


@dataclasses.dataclass
class WriteRows(beam.PTransform):
    """Divides what was staged among rows and shards, converts and writes them, and then the manifest; emits the dataset's fingerprint."""

    job: StoredValue[CacheJob]
    tables: Folder

    def expand(self, staged: beam.PCollection[ColumnFile]) -> beam.PCollection[str]:
        table = beam.pvalue.AsSingleton(staged)
        return (
            staged
            | "CutRows" >> beam.FlatMap(self._plan)  # SplitRange: a shard
            | "SpreadRows" >> beam.Reshuffle()
            | "WriteRows" >> beam.Map(self._write, table)  # BuiltRows
            | "CollectRows" >> beam.CombineGlobally(GatherRows(BuiltRows.to_row, self.tables, "rows", row_shards.SORT_BY))
            | "WriteManifest" >> beam.Map(self._finish, table)  # str
        )

    def _plan(self, table: ColumnFile) -> Iterator[SplitRange]:
        job = _job(self.job)
        with job.work.explaining():
            size = job.config.shards.examples_per_shard(make_fixed_format(_features(self.job, table)).record_bytes)
            for split in job.splits:
                rows = _rows(self.job, table, split)
                row_plan.check_rows(job, job.load().splits[split], rows)
                yield from SplitRange.cut(split, rows.rows, size)

    def _write(self, plan: SplitRange, table: ColumnFile) -> BuiltRows:
        job = _job(self.job)
        with job.work.explaining():
            return row_shards.write_shard(job, plan, _rows(self.job, table, plan.split), _features(self.job, table))

    def _finish(self, built: ColumnFile, table: ColumnFile) -> str:
        job = _job(self.job)
        with job.work.explaining():
            found = column_file.read(built)
            written = [BuiltRows(**found.row(row)) for row in range(found.rows)]
            splits = {
                job.load().splits[split]: FinishedSplit(
                    staged=by_split(table)[0, split],
                    rows=_rows(self.job, table, split),
                    built=[each for each in written if each.split == split],
                )
                for split in job.splits
            }
            return row_output.finish(job, _features(self.job, table), splits).fingerprint


def _job(job: StoredValue[CacheJob]) -> RowJob:
    """Gives the only task of a job."""
    found: Any = job.load().caches[0]
    return found  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=4)
def _rows(job: StoredValue[CacheJob], table: ColumnFile, split: int) -> SplitRows:
    """Plans the rows of a split, once in a process."""
    staged: list[Staged] = by_split(table)[0, split]
    return row_plan.plan_rows(_job(job), staged)


@functools.lru_cache(maxsize=4)
def _features(job: StoredValue[CacheJob], table: ColumnFile) -> tuple[Feature, ...]:
    """Decides the features of a record, once in a process: they are those of all splits."""
    return row_plan.features_of(_job(job), [each for staged in by_split(table).values() for each in staged])
