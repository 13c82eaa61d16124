"""Finds texts that are elsewhere in the corpus, and leaves all of each but one out.

Tested in tests/pipelines/test_selection.py.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation import duplicates, hash_tables
from tokenreel.curation.hash_tables import HashTable
from tokenreel.planning import stage_table
from tokenreel.planning.selection import StageSelection, count_splits
from tokenreel.sources.inputs import Block
from tokenreel.sources.reading import read_documents
from tokenreel.staging import stage_file
from tokenreel.storage import column_file, files
from tokenreel.storage.column_file import ColumnFile, Row
from transforms.gather_rows import GatherRows
from transforms.merge_tables import MergeTables, listed_tables, searched_tables


@dataclasses.dataclass
class FindDuplicates(beam.PTransform):
    """Compares the tables of all parts range by range.

    Takes a file that lists the tables, and what reads it; emits the index of each table that loses something, and the file that lists its
    rows. Hashes stay in files; what passes through the runner is eight bytes for each text that goes.
    """

    config: JobConfig
    work: Workspace
    tables_of: Callable[[ColumnFile], Sequence[HashTable]]
    merge_levels: int = 0

    def expand(self, listed: beam.PCollection[ColumnFile]) -> beam.PCollection[tuple[int, str]]:
        every_table = beam.pvalue.AsSingleton(listed)
        searched = every_table
        if self.merge_levels:
            merge = MergeTables(self.config, self.work, self.tables_of, self.merge_levels, "search for duplicates")
            searched = beam.pvalue.AsSingleton(listed | merge)
        found = (
            listed
            | "CutRanges" >> beam.FlatMap(lambda file: hash_tables.ranges(self.tables_of(file)))  # (low, high): ranges of hashes
            | "SpreadRanges" >> beam.Reshuffle()
            | "CompareTables" >> beam.FlatMap(self._find, searched)  # (table, rows as bytes)
        )
        own = listed | "TablesWithDuplicates" >> beam.FlatMap(self._with_duplicates)  # (table, no rows): they may lose nothing to others
        return (
            (found, own)
            | "JoinRows" >> beam.Flatten()
            | "GroupRows" >> beam.GroupByKey()  # (table, [rows as bytes])
            | "WriteRows" >> beam.Map(self._write, every_table)  # (table, path)
        )

    def _find(self, bounds: tuple[int, int], listed: ColumnFile) -> Iterator[tuple[int, bytes]]:
        for index, rows in hash_tables.find(searched_tables(listed, self.tables_of), *bounds):
            yield index, rows.astype("<i8").tobytes()

    def _with_duplicates(self, listed: ColumnFile) -> Iterator[tuple[int, bytes]]:
        for index, table in enumerate(self.tables_of(listed)):
            if table.duplicates:
                yield index, b""

    def _write(self, found: tuple[int, Iterable[bytes]], listed: ColumnFile) -> tuple[int, str]:
        index, parts = found
        rows = [np.frombuffer(data, dtype="<i8") for data in parts]
        every = np.sort(np.concatenate([*rows, self.tables_of(listed)[index].read_duplicates()]))
        return index, hash_tables.write_rows(self.work.duplicates.ready(), self.config.duplicates.remove, every)


@dataclasses.dataclass
class RemoveDuplicateDocuments(beam.PTransform):
    """Leaves documents out whose text is that of another.

    Takes and emits the table of stage files; the files stay as they are, since other builds may take other documents.
    """

    config: JobConfig
    work: Workspace
    merge_levels: int = 0

    def expand(self, stages: beam.PCollection[ColumnFile]) -> beam.PCollection[ColumnFile]:
        gather = GatherRows(stage_table.to_row, self.work.tables, "changed", stage_table.SORT_BY)
        changed = (
            stages
            | "FindDuplicates" >> FindDuplicates(self.config, self.work, _stage_tables, self.merge_levels)
            | "CountAgain" >> beam.Map(self._count, beam.pvalue.AsSingleton(stages))  # StageSelection
            | "CollectChanged" >> beam.CombineGlobally(gather)  # table of StageSelection
        )
        # The table is no main input of a step that waits for another one: see `MergeLevels`.
        both = map(beam.pvalue.AsSingleton, (stages, changed))
        return stages.pipeline | "Once" >> beam.Create([None]) | "Replace" >> beam.Map(self._replace, *both)

    def _replace(self, _: None, stages: ColumnFile, changed: ColumnFile) -> ColumnFile:
        return stage_table.replace(stages, changed, self.work.tables.ready())

    def _count(self, found: tuple[int, str], stages: ColumnFile) -> StageSelection:
        index, removed = found
        return count_splits(stage_table.load(stages)[index].info, self.config, removed)


@functools.lru_cache(maxsize=2)
def _stage_tables(stages: ColumnFile) -> list[HashTable]:
    """Lists the tables in the stage files, once in each process."""
    return [stage_file.hash_table(selection.info) for selection in stage_table.load(stages)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashedPart:
    """A part of a block, and the table of the texts in it."""

    source: int
    block: int
    part: int
    table: HashTable


@dataclasses.dataclass
class RemoveDuplicateText(beam.PTransform):
    """Finds the paragraphs or lines that are elsewhere; emits the blocks with the list of what to leave out of each.

    Reads all text once more than a build does otherwise.
    """

    config: JobConfig
    work: Workspace
    merge_levels: int = 0

    def expand(self, blocks: beam.PCollection[Block]) -> beam.PCollection[Block]:
        gather = GatherRows(_part_row, self.work.tables, "parts", stage_table.SORT_BY)
        parts = (
            blocks
            | "HashBlock" >> beam.FlatMap(self._hash)  # HashedPart
            | "CollectParts" >> beam.CombineGlobally(gather)  # table of HashedPart, as the text lies
        )
        removed = (
            parts
            | "FindDuplicates" >> FindDuplicates(self.config, self.work, listed_tables, self.merge_levels)
            | "NameBlocks" >> beam.Map(_name_block, beam.pvalue.AsSingleton(parts))  # (block, (part, path))
        )
        named = blocks | "OwnNames" >> beam.Map(_with_name)  # (block, Block)
        return (
            {"block": named, "removed": removed}
            | "JoinBlocks" >> beam.CoGroupByKey()
            | "ToBlocks" >> beam.Map(_with_removed, beam.pvalue.AsSingleton(parts))
            | "SpreadBlocks" >> beam.Reshuffle()
        )

    def _hash(self, block: Block) -> Iterator[HashedPart]:
        config = self.config
        reading = read_documents(block, config.sources[block.source], config.execution.block_bytes)
        for part, documents in enumerate(reading):
            entries, duplicate_rows = duplicates.tabulate_parts(documents, config.duplicates)
            name = keys.digest(block.source, block.fingerprint, config.duplicates.remove, part)
            table = hash_tables.write_table(files.join(self.work.duplicates.ready(), f"{name}.hashes"), entries, duplicate_rows)
            yield HashedPart(source=block.source, block=block.index, part=part, table=table)


def _part_row(part: HashedPart) -> Row:
    return {**dataclasses.asdict(part.table), "source": part.source, "block": part.block, "part": part.part}


def _name_block(removed: tuple[int, str], listed: ColumnFile) -> tuple[tuple[int, int], tuple[int, str]]:
    """Says to which part of which block a table's file of rows belongs."""
    index, path = removed
    row = column_file.read(listed).row(index)
    return (row["source"], row["block"]), (row["part"], path)


def _with_name(block: Block) -> tuple[tuple[int, int], Block]:
    return (block.source, block.index), block


def _with_removed(named: tuple[tuple[int, int], dict[str, Iterable[Any]]], listed: ColumnFile) -> Block:
    """Gives a block the files that list what to leave out of its parts, with "" for a part that keeps everything."""
    block: Block
    name, joined = named
    (block,), removed = joined["block"], dict(joined["removed"])
    return dataclasses.replace(block, removed=tuple(removed.get(part, "") for part in range(_parts(listed, *name))) if removed else ())


def _parts(listed: ColumnFile, source: int, block: int) -> int:
    """Counts the parts of a block; the table is sorted by source and block."""
    found = column_file.read(listed)
    first, last = np.searchsorted(found.numbers("source"), [source, source + 1])
    low, high = np.searchsorted(found.numbers("block")[first:last], [block, block + 1])
    return int(high - low)
