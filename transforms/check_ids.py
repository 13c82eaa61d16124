"""Finds ids that several documents have.

Tested in tests/tokenreel/planning/test_repeated_ids.py.
"""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam

from tokenreel.config.build import JobConfig
from tokenreel.curation import hash_tables
from tokenreel.planning import repeated_ids, stage_table
from tokenreel.planning.repeated_ids import Found
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import ColumnFile
from transforms.workers.saying import say


@dataclasses.dataclass
class CheckIds(beam.PTransform):
    """Tells of ids that several documents have, and ends a build that would hold out and train on documents of one id.

    Takes and emits the table of stage files, which passes once all ids are compared. Ids stay in files, and hashes too.
    """

    config: JobConfig
    tables: Folder

    def expand(self, stages: beam.PCollection[ColumnFile]) -> beam.PCollection[ColumnFile]:
        every_stage = beam.pvalue.AsSingleton(stages)
        entries = (
            stages
            | "NumberStages" >> beam.FlatMap(lambda file: range(len(stage_table.load(file))))  # int: a stage file
            | "SpreadStages" >> beam.Reshuffle()
            | "HashIds" >> beam.Map(self._hash, every_stage)  # int: entries of its table
            | "CountIds" >> beam.CombineGlobally(sum)
        )
        found = (
            entries
            | "CutIdRanges" >> beam.FlatMap(hash_tables.ranges_of)  # (low, high): ranges of hashes
            | "SpreadIdRanges" >> beam.Reshuffle()
            | "CompareIds" >> beam.FlatMap(self._compare, every_stage)  # Found
            | "AddRepeatedIds" >> beam.CombineGlobally(repeated_ids.add)
        )
        # The table is no main input of a step that waits for another one: see `MergeLevels`.
        both = (every_stage, beam.pvalue.AsSingleton(found))
        return stages.pipeline | "Once" >> beam.Create([None]) | "ReportIds" >> beam.Map(self._report, *both)

    def _hash(self, index: int, stages: ColumnFile) -> int:
        return repeated_ids.hash_ids(self.tables.ready(), stage_table.load(stages), index)

    def _compare(self, bounds: tuple[int, int], stages: ColumnFile) -> Iterator[Found]:
        if found := repeated_ids.compare(self.tables.path, stage_table.load(stages), *bounds):
            yield found

    def _report(self, _: None, stages: ColumnFile, found: Found) -> ColumnFile:
        repeated_ids.report(self.config, found, say)
        return stages
