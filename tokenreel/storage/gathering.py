"""Gathers the rows of a table from many workers: what travels stays small, whatever the number of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenreel.storage import column_file
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import ColumnFile, Columns, Row

_INLINE_ROWS = 8  # travel in an accumulator; more go to a file before it does
_SPILLED_ROWS = 4096  # held in memory
_RUNS = 8  # files of one level, which are then put together into one of the next


@dataclasses.dataclass
class Gathered:
    """Rows on their way into one table: what does not fit into a small element of a runner lies in files, whatever the number of rows.

    Attributes:
      directory: where the files lie.
      stem: begins their names.
      rows: those that are in no file yet.
      runs: files of rows, by level; one of level n holds those of several of level n - 1.
    """

    directory: Folder
    stem: str
    rows: list[Row] = dataclasses.field(default_factory=list)
    runs: list[list[ColumnFile]] = dataclasses.field(default_factory=list)

    def add(self, row: Row) -> None:
        """Takes a row up."""
        self.rows.append(row)
        if len(self.rows) >= _SPILLED_ROWS:
            self._spill()

    def merge(self, other: Gathered) -> None:
        """Takes up what another one holds."""
        for level, runs in enumerate(other.runs):
            for run in runs:
                self._add_run(run, level)
        for row in other.rows:
            self.add(row)

    def shrink(self) -> None:
        """Becomes small enough to travel."""
        if len(self.rows) > _INLINE_ROWS:
            self._spill()

    def _spill(self) -> None:
        self._add_run(column_file.write(self.directory.ready(), f"{self.stem}-run", Columns.of_rows(self.rows)), 0)
        self.rows = []

    def _add_run(self, run: ColumnFile, level: int) -> None:
        while len(self.runs) <= level:
            self.runs.append([])
        self.runs[level].append(run)
        if len(self.runs[level]) >= _RUNS:
            merged = Columns.concatenate([column_file.load(each) for each in self.runs[level]])
            self.runs[level] = []
            self._add_run(column_file.write(self.directory.ready(), f"{self.stem}-run", merged), level + 1)

    def finish(self, sort_by: Sequence[str], about: Any = None) -> ColumnFile:
        """Writes all rows, sorted by the columns of integers named, the first of which counts most: the same rows give the same file."""
        return column_file.write(self.directory.ready(), self.stem, self.columns(sort_by, about))

    def columns(self, sort_by: Sequence[str], about: Any = None) -> Columns:
        """Gives all rows, sorted as `finish` does."""
        parts = [*(column_file.load(run) for runs in self.runs for run in runs), Columns.of_rows(self.rows)]
        found = Columns.concatenate(parts, about)
        return found.take(np.lexsort([found.numbers(name) for name in reversed(sort_by)]))
