"""Leaves out documents by their scores, once stage files are there: other bounds tokenize nothing again.

Tested in tests/pipelines/test_scores.py.
"""

import dataclasses
from collections.abc import Sequence

import apache_beam as beam

from tokenreel.config.build import JobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.planning import scored_selection, stage_table
from tokenreel.planning.selection import StageSelection
from tokenreel.storage.column_file import ColumnFile
from transforms.gather_rows import GatherRows


@dataclasses.dataclass
class FilterByScores(beam.PTransform):
    """Takes and emits the table of stage files; the files stay as they are, since other builds may take other documents."""

    config: JobConfig
    work: Workspace
    contents: Sequence[str]  # digests of the tables of each source

    def expand(self, stages: beam.PCollection[ColumnFile]) -> beam.PCollection[ColumnFile]:
        every_stage = beam.pvalue.AsSingleton(stages)
        return (
            stages
            | "NumberScored" >> beam.FlatMap(lambda file: range(len(stage_table.load(file))))  # int: a stage file
            | "SpreadScored" >> beam.Reshuffle()
            | "JudgeByScore" >> beam.Map(self._judge, every_stage)  # StageSelection
            | "CollectScored" >> beam.CombineGlobally(GatherRows(stage_table.to_row, self.work.tables, "scored", stage_table.SORT_BY))
        )

    def _judge(self, index: int, stages: ColumnFile) -> StageSelection:
        with self.work.explaining():
            return scored_selection.judge(self.config, self.contents, stage_table.load(stages)[index], self.work.duplicates.ready())
