"""Finds texts that are elsewhere in the corpus, and leaves all of each but one out.

Tested in tests/pipelines/test_selection.py.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.curation import duplicates, hash_tables
from tokenreel.curation.hash_tables import HashTable
from tokenreel.planning.selection import StageSelection, count_splits
from tokenreel.sources.inputs import Block
from tokenreel.sources.reading import read_documents
from tokenreel.staging import stage_file
from tokenreel.storage import files


@dataclasses.dataclass
class FindDuplicates(beam.PTransform):
    """Compares the tables of all parts range by range.

    Takes the sorted list of tables as one element; emits the index of each table that loses something, and the file that lists its rows.
    Hashes stay in files; what passes through the runner is eight bytes for each text that goes.
    """

    directory: str
    unit: str

    def expand(self, tables: beam.PCollection[list[HashTable]]) -> beam.PCollection[tuple[int, str]]:
        every_table = beam.pvalue.AsSingleton(tables)
        found = (
            tables
            | "CutRanges" >> beam.FlatMap(hash_tables.ranges)  # (low, high): ranges of hashes
            | "SpreadRanges" >> beam.Reshuffle()
            | "CompareTables" >> beam.FlatMap(_find, every_table)  # (table, rows as bytes)
        )
        own = tables | "TablesWithDuplicates" >> beam.FlatMap(_with_duplicates)  # (table, no rows): they may lose nothing to others
        return (
            (found, own)
            | "JoinRows" >> beam.Flatten()
            | "GroupRows" >> beam.GroupByKey()  # (table, [rows as bytes])
            | "WriteRows" >> beam.Map(self._write, every_table)  # (table, path)
        )

    def _write(self, found: tuple[int, Iterable[bytes]], tables: list[HashTable]) -> tuple[int, str]:
        index, parts = found
        rows = [np.frombuffer(data, dtype="<i8") for data in parts]
        every = np.sort(np.concatenate([*rows, tables[index].read_duplicates()]))
        return index, hash_tables.write_rows(self.directory, self.unit, every)


def _find(bounds: tuple[int, int], tables: list[HashTable]) -> Iterator[tuple[int, bytes]]:
    for index, rows in hash_tables.find(tables, *bounds):
        yield index, rows.astype("<i8").tobytes()


def _with_duplicates(tables: list[HashTable]) -> Iterator[tuple[int, bytes]]:
    for index, table in enumerate(tables):
        if table.duplicates:
            yield index, b""


@dataclasses.dataclass
class RemoveDuplicateDocuments(beam.PTransform):
    """Leaves documents out whose text is that of another.

    Takes and emits the sorted list of stage files as one element; the files stay as they are, since other builds may take other documents.
    """

    config: JobConfig
    directory: str

    def expand(self, selections: beam.PCollection[list[StageSelection]]) -> beam.PCollection[list[StageSelection]]:
        counted = (
            selections
            | "Tables" >> beam.Map(lambda found: [stage_file.hash_table(selection.info) for selection in found])
            | "FindDuplicates" >> FindDuplicates(self.directory, self.config.duplicates.remove)
            | "CountAgain" >> beam.Map(self._count, beam.pvalue.AsSingleton(selections))  # (index, StageSelection)
        )
        return selections | "Replace" >> beam.Map(_replace, beam.pvalue.AsDict(counted))

    def _count(self, found: tuple[int, str], selections: list[StageSelection]) -> tuple[int, StageSelection]:
        index, removed = found
        return index, count_splits(selections[index].info, self.config, removed)


def _replace(selections: list[StageSelection], counted: dict[int, StageSelection]) -> list[StageSelection]:
    return [counted.get(index, selection) for index, selection in enumerate(selections)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashedPart:
    """A part of a block, and the table of the texts in it."""

    block: Block
    part: int
    table: HashTable

    @property
    def sort_key(self) -> tuple[int, int, int]:
        """Sorts parts as the sources, their files and the text in them lie."""
        return self.block.source, self.block.index, self.part


@dataclasses.dataclass
class RemoveDuplicateText(beam.PTransform):
    """Finds the paragraphs or lines that are elsewhere; emits the blocks with the list of what to leave out of each.

    Reads all text once more than a build does otherwise.
    """

    config: JobConfig
    directory: str

    def expand(self, blocks: beam.PCollection[Block]) -> beam.PCollection[Block]:
        parts = (
            blocks
            | "HashBlock" >> beam.FlatMap(self._hash)  # HashedPart
            | "CollectParts" >> beam.CombineGlobally(beam.combiners.ToListCombineFn())
            | "SortParts" >> beam.Map(sorted, key=lambda item: item.sort_key)  # [HashedPart] as the text lies
        )
        removed = (
            parts
            | "Tables" >> beam.Map(lambda found: [part.table for part in found])
            | "FindDuplicates" >> FindDuplicates(self.directory, self.config.duplicates.remove)
        )
        return parts | "ToBlocks" >> beam.FlatMap(_blocks, beam.pvalue.AsDict(removed)) | "SpreadBlocks" >> beam.Reshuffle()

    def _hash(self, block: Block) -> Iterator[HashedPart]:
        config = self.config
        reading = read_documents(block, config.sources[block.source], config.execution.block_bytes)
        for part, documents in enumerate(reading):
            entries, duplicate_rows = duplicates.tabulate_parts(documents, config.duplicates)
            name = keys.digest(block.source, block.fingerprint, config.duplicates.remove, part)
            table = hash_tables.write_table(files.join(self.directory, f"{name}.hashes"), entries, duplicate_rows)
            yield HashedPart(block=block, part=part, table=table)


def _blocks(parts: list[HashedPart], removed: dict[int, str]) -> Iterator[Block]:
    """Makes blocks again of parts in the order of the text, each with the files that list what to leave out of its parts."""
    found: dict[tuple[int, int], list[str]] = {}
    blocks = {}
    for index, part in enumerate(parts):
        name = part.block.source, part.block.index
        blocks[name] = part.block
        found.setdefault(name, []).append(removed.get(index, ""))
    for name, block in blocks.items():
        yield dataclasses.replace(block, removed=tuple(found[name]) if any(found[name]) else ())
