"""Finds ids that several documents have.

Tested in tests/tokenreel/planning/test_repeated_ids.py.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence

import apache_beam as beam

from tokenreel.config.build import JobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation import hash_tables
from tokenreel.curation.hash_tables import HashTable
from tokenreel.planning import repeated_ids, stage_table
from tokenreel.planning.repeated_ids import Found
from tokenreel.storage.column_file import ColumnFile
from transforms.merge_tables import MergeTables, searched_tables
from transforms.workers.saying import say


@dataclasses.dataclass
class CheckIds(beam.PTransform):
    """Tells of ids that several documents have, and ends a build that would hold out and train on documents of one id.

    Takes and emits the table of stage files, which passes once all ids are compared. Ids stay in files, and hashes too.
    """

    config: JobConfig
    work: Workspace
    merge_levels: int = 0

    def expand(self, stages: beam.PCollection[ColumnFile]) -> beam.PCollection[ColumnFile]:
        every_stage = beam.pvalue.AsSingleton(stages)
        entries = (
            stages
            | "NumberStages" >> beam.FlatMap(lambda file: range(len(stage_table.load(file))))  # int: a stage file
            | "SpreadStages" >> beam.Reshuffle()
            | "HashIds" >> beam.Map(self._hash, every_stage)  # int: entries of its table
            | "CountIds" >> beam.CombineGlobally(sum)
        )
        searched = every_stage
        if self.merge_levels:
            # Behind the hashes, which it reads.
            hashed = (
                stages.pipeline
                | "OnceHashed" >> beam.Create([None])
                | "TakeHashed" >> beam.Map(_first, every_stage, beam.pvalue.AsSingleton(entries))
            )
            merge = MergeTables(self.config, self.work, self._tables, self.merge_levels, "comparison of ids")
            searched = beam.pvalue.AsSingleton(hashed | merge)
        found = (
            entries
            | "CutIdRanges" >> beam.FlatMap(hash_tables.ranges_of)  # (low, high): ranges of hashes
            | "SpreadIdRanges" >> beam.Reshuffle()
            | "CompareIds" >> beam.FlatMap(self._compare, every_stage, searched)  # Found
            | "AddRepeatedIds" >> beam.CombineGlobally(repeated_ids.add)
        )
        # The table is no main input of a step that waits for another one: see `MergeLevels`.
        both = (every_stage, beam.pvalue.AsSingleton(found))
        return stages.pipeline | "Once" >> beam.Create([None]) | "ReportIds" >> beam.Map(self._report, *both)

    def _hash(self, index: int, stages: ColumnFile) -> int:
        return repeated_ids.hash_ids(self.work.duplicates.ready(), stage_table.load(stages), index)

    def _tables(self, stages: ColumnFile) -> Sequence[HashTable]:
        return _id_tables(self.work.duplicates.path, stages)

    def _compare(self, bounds: tuple[int, int], stages: ColumnFile, searched: ColumnFile) -> Iterator[Found]:
        if found := repeated_ids.compare(searched_tables(searched, self._tables), stage_table.load(stages), *bounds):
            yield found

    def _report(self, _: None, stages: ColumnFile, found: Found) -> ColumnFile:
        repeated_ids.report(self.config, found, say)
        return stages


@functools.lru_cache(maxsize=2)
def _id_tables(directory: str, stages: ColumnFile) -> list[HashTable]:
    """Lists the tables of ids of all stage files, once in each process: every range of hashes asks for all of them."""
    return repeated_ids.tables(directory, stage_table.load(stages))


def _first(_: None, stages: ColumnFile, entries: int) -> ColumnFile:
    """Takes the table of stage files once the ids of all of them are hashed."""
    return stages
