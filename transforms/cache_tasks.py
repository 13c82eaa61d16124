"""Tasks to caches.

Tested in tests/pipelines/test_cache_tasks.py.
"""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from tokenreel.caching import cache_output, shards, staging, units
from tokenreel.caching.cache_job import SHARD_BYTES, CacheJob
from tokenreel.caching.shards import BuiltShard, ShardPlan
from tokenreel.caching.staging import Staged
from tokenreel.caching.units import Unit
from tokenreel.format import naming
from tokenreel.storage import column_file
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import ColumnFile, Columns
from tokenreel.storage.stored_value import StoredValue
from transforms.gather_rows import GatherRows


@dataclasses.dataclass
class StageTasks(beam.PTransform):
    """Runs the steps of tasks over their sources, unit by unit, and emits the table of what was staged; examples never pass the runner.

    Units that are parts of one file are counted first: an example is named by its number in its file.
    """

    job: StoredValue[CacheJob]
    tables: Folder

    def expand(self, root: beam.Pipeline) -> beam.PCollection[ColumnFile]:
        listed = (
            root
            | "Splits" >> beam.Create([(task, split) for task, cache in enumerate(self.job.load().caches) for split in cache.splits])
            | "ListUnits" >> beam.FlatMapTuple(self._list)  # Unit
            | "SpreadUnits" >> beam.Reshuffle()
        )
        counted = (
            listed
            | "CutFiles" >> beam.Filter(_is_cut)
            | "CountUnit" >> beam.Map(self._count)  # row
            | "CollectCounts" >> beam.CombineGlobally(GatherRows(dict, self.tables, "counts", ("task", "split", "number")))
        )
        return (
            listed
            | "StageUnit" >> beam.Map(self._stage, beam.pvalue.AsSingleton(counted))  # Staged
            | "CollectStages" >> beam.CombineGlobally(GatherRows(Staged.to_row, self.tables, "staged", staging.SORT_BY))
        )

    def _list(self, task: int, split: int) -> Iterator[Unit]:
        cache = self.job.load().caches[task]
        return units.list_units(cache.load(), task, split, cache.unit_bytes)

    def _count(self, unit: Unit) -> dict[str, Any]:
        cache = self.job.load().caches[unit.task]
        with cache.work.explaining():
            found = units.count(cache.load(), unit)
        file = int(unit.ranges[0].file.name)
        return {"task": unit.task, "split": unit.split, "number": unit.number, "file": file, "count": found}

    def _stage(self, unit: Unit, counted: ColumnFile) -> Staged:
        cache = self.job.load().caches[unit.task]
        with cache.work.explaining():
            first = _before(unit, column_file.read(counted)) if _is_cut(unit) else 0
            return cache.stage(unit, first)


def _is_cut(unit: Unit) -> bool:
    """Says whether a unit is part of one file."""
    return len(unit.ranges) == 1 and unit.ranges[0].end is not None


def _before(unit: Unit, counted: Columns) -> int:
    """Gives the number of a unit's first example in its file."""
    wanted = {"task": unit.task, "split": unit.split, "file": int(unit.ranges[0].file.name)}
    found = counted.numbers("number") < unit.number
    for name, value in wanted.items():
        found = found & (counted.numbers(name) == value)
    return int(counted.numbers("count")[found].sum())


@dataclasses.dataclass
class WriteCaches(beam.PTransform):
    """Cuts what was staged into shards, writes them, and moves each task's files to their places; emits the fingerprints."""

    job: StoredValue[CacheJob]
    tables: Folder

    def expand(self, staged: beam.PCollection[ColumnFile]) -> beam.PCollection[str]:
        table = beam.pvalue.AsSingleton(staged)
        return (
            staged
            | "CutShards" >> beam.FlatMap(self._plan)  # ShardPlan
            | "SpreadShards" >> beam.Reshuffle()
            | "WriteShard" >> beam.Map(self._write, table)  # BuiltShard
            | "CollectShards" >> beam.CombineGlobally(GatherRows(BuiltShard.to_row, self.tables, "shards", shards.SORT_BY))
            | "WriteManifests" >> beam.FlatMap(self._finish, table)  # str
        )

    def _plan(self, table: ColumnFile) -> Iterator[ShardPlan]:
        job = self.job.load()
        for (task, split), found in by_split(table).items():
            cache = job.caches[task]
            cache_output.features_of(cache, cache.load().splits[split], found)  # what is wrong is said before anything is written
            count = shards.number_of_shards(found, job.min_shards, job.max_shards, SHARD_BYTES)
            yield from (ShardPlan(task, split, shard, count) for shard in range(count))

    def _write(self, plan: ShardPlan, table: ColumnFile) -> BuiltShard:
        cache = self.job.load().caches[plan.task]
        split, found = cache.load().splits[plan.split], by_split(table)[plan.task, plan.split]
        with cache.work.explaining():
            cache.work.shards.ready()
            paths = [cache.work.unplaced(name(split, plan.shard, plan.shards)) for name in (naming.shard, naming.shard_index)]
            features = cache_output.features_of(cache, split, found)
            return shards.write_shard(found, features, cache.work.stages.path, plan, paths[0], paths[1])

    def _finish(self, built: ColumnFile, table: ColumnFile) -> Iterator[str]:
        job, staged = self.job.load(), by_split(table)
        found = column_file.read(built)
        written = [BuiltShard.of_row(found.row(row)) for row in range(found.rows)]
        for number, cache in enumerate(job.caches):
            with cache.work.explaining():
                stages = {split: staged[number, split] for split in cache.splits}
                of_task = {split: [each for each in written if (each.task, each.split) == (number, split)] for split in cache.splits}
                yield cache_output.finish(cache, stages, of_task, job.completed)


@functools.lru_cache(maxsize=8)
def by_split(table: ColumnFile) -> dict[tuple[int, int], list[Staged]]:
    """Reads the table of stage files, once in a process: by task and split, those of each in the order of its units."""
    found = column_file.read(table)
    splits: dict[tuple[int, int], list[Staged]] = {}
    for row in range(found.rows):
        staged = Staged.of_row(found.row(row))
        splits.setdefault((staged.task, staged.split), []).append(staged)
    return splits
