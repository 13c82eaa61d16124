"""Gathers rows from all workers into one table, and sums of what shards hold.

Tested in tests/pipelines/test_elements.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam

from tokenreel.assembly.shard_building import BuiltShard
from tokenreel.assembly.shard_statistics import ShardStatistics, StoredStatistics
from tokenreel.format.manifest import VocabularyInfo
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import ColumnFile, Row
from tokenreel.storage.gathering import Gathered


class GatherRows(beam.CombineFn):
    """Writes a table of all elements: what passes through the runner is its path, and before that the paths of its parts."""

    def __init__(self, to_row: Callable[[Any], Row], directory: Folder, stem: str, sort_by: Sequence[str]) -> None:
        self._to_row, self._directory, self._stem, self._sort_by = to_row, directory, stem, sort_by

    def create_accumulator(self) -> Gathered:
        return Gathered(self._directory, self._stem)

    def add_input(self, gathered: Gathered, element: Any) -> Gathered:
        gathered.add(self._to_row(element))
        return gathered

    def merge_accumulators(self, accumulators: Iterable[Gathered]) -> Gathered:
        merged = self.create_accumulator()
        for gathered in accumulators:
            merged.merge(gathered)
        return merged

    def compact(self, gathered: Gathered) -> Gathered:
        gathered.shrink()
        return gathered

    def extract_output(self, gathered: Gathered) -> ColumnFile:
        return gathered.finish(self._sort_by)


Sums = Mapping[str, ShardStatistics | StoredStatistics]  # by split: in memory while a worker adds, stored while they travel


class SumStatistics(beam.CombineFn):
    """Adds what was counted in the shards of each split; counts by token id travel as files."""

    def __init__(self, vocabulary: VocabularyInfo, directory: Folder) -> None:
        self._vocabulary, self._directory = vocabulary, directory

    def create_accumulator(self) -> Sums:
        return {}

    def add_input(self, sums: Sums, built: BuiltShard) -> Sums:
        return self._sum([sums, {built.split: built.statistics}])

    def merge_accumulators(self, accumulators: Iterable[Sums]) -> Sums:
        return self._sum(accumulators)

    def _sum(self, parts: Iterable[Sums]) -> Sums:
        total: dict[str, ShardStatistics | StoredStatistics] = {}
        for part in parts:
            for split, found in part.items():
                before = total.get(split)
                total[split] = found if before is None else self._load(before) + self._load(found)
        return total

    def _load(self, found: ShardStatistics | StoredStatistics) -> ShardStatistics:
        return found if isinstance(found, ShardStatistics) else found.load(self._vocabulary)

    def compact(self, sums: Sums) -> dict[str, StoredStatistics]:
        return {split: self._store(found) if isinstance(found, ShardStatistics) else found for split, found in sums.items()}

    def _store(self, found: ShardStatistics) -> StoredStatistics:
        return found.store(self._directory.ready())

    def extract_output(self, sums: Sums) -> dict[str, StoredStatistics]:
        return self.compact(sums)
