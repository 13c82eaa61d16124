"""Merge passes over tables of hashes.

Tested in tests/pipelines/test_merging.py and tests/tokenreel/planning/test_repeated_ids.py.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
import numpy as np

from tokenreel.config.build import JobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation import hash_tables, merged_tables
from tokenreel.curation.hash_tables import HashTable
from tokenreel.storage import column_file
from tokenreel.storage.column_file import ColumnFile, Row
from tokenreel.storage.merge_tasks import MergeTask
from tokenreel.wording import plural
from transforms.gather_rows import GatherRows
from transforms.merge_levels import MergeLevels
from transforms.workers.saying import say


@dataclasses.dataclass
class MergeTables(beam.PTransform):
    """Merges tables of hashes, as often as a search through all of them asks for.

    Takes a file that lists tables, and what reads it; emits the file that lists the merged ones, or the same where none is needed.
    """

    config: JobConfig
    work: Workspace
    tables_of: Callable[[ColumnFile], Sequence[HashTable]]
    merge_levels: int
    purpose: str

    def expand(self, listed: beam.PCollection[ColumnFile]) -> beam.PCollection[ColumnFile]:
        gather = GatherRows(_merged_row, self.work.tables, "merged-hashes", ("strand", "part"))
        return listed | MergeLevels(self.merge_levels, self._plan, self._cut, self._merge, gather)

    def _plan(self, listed: ColumnFile) -> int:
        execution, tables = self.config.execution, self.tables_of(listed)
        entries = sum(table.entries for table in tables)
        found = hash_tables.levels(len(tables), entries, execution.merge_files, execution.max_reads)
        level = min(found, self.merge_levels)
        if level:
            without, reads = (hash_tables.reads(len(tables), entries, execution.merge_files, passes) for passes in (0, level))
            say(f"{self.purpose}: {plural(level, 'merge level')}, {plural(reads, 'read')} in place of {without:,}")
        return level

    def _cut(self, listed: ColumnFile) -> Iterator[MergeTask]:
        tables = searched_tables(listed, self.tables_of)
        strands = column_file.read(listed).numbers("strand") if _is_merged(listed) else np.arange(len(tables))
        return merged_tables.cut(tables, strands, self.config.execution.merge_files)

    def _merge(self, task: MergeTask, listed: ColumnFile) -> Iterator[tuple[int, HashTable]]:
        tables = searched_tables(listed, self.tables_of)
        yield task.strand, merged_tables.merge(self.work.duplicates.ready(), tables, task)


def searched_tables(listed: ColumnFile, tables_of: Callable[[ColumnFile], Sequence[HashTable]]) -> Sequence[HashTable]:
    """Gives the tables that a file lists: merged ones, or those that `tables_of` reads."""
    return listed_tables(listed) if _is_merged(listed) else tables_of(listed)


def _is_merged(listed: ColumnFile) -> bool:
    return "strand" in column_file.read(listed).arrays


def _merged_row(merged: tuple[int, HashTable]) -> Row:
    strand, table = merged
    return {"strand": strand, **dataclasses.asdict(table)}


@functools.lru_cache(maxsize=2)
def listed_tables(listed: ColumnFile) -> list[HashTable]:
    """Lists the tables of all parts, or merged ones, once in each process."""
    found = column_file.read(listed)
    names = [field.name for field in dataclasses.fields(HashTable)]
    return [HashTable(**{name: row[name] for name in names}) for row in map(found.row, range(found.rows))]
