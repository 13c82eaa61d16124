"""The table of all stage files, and of what a build takes of each: one file of columns, however many there are."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.config.splits import key_range
from tokenreel.lazy_sequence import LazySequence
from tokenreel.planning.selection import StageSelection
from tokenreel.staging.columns import StageInfo
from tokenreel.storage import column_file
from tokenreel.storage.column_file import ColumnFile, Columns, Row

SORT_BY = ("source", "block", "part")  # as `StageInfo.sort_key`: as the text lies
_KEPT_ROWS = 1 << 13  # stage files that a process keeps ready; groups ask for one after the other, again and again
_INFO = {field.name: str(field.type) for field in dataclasses.fields(StageInfo)}
_COUNTED = tuple(name for name, kind in _INFO.items() if kind.startswith("Mapping"))  # counts by reason
_SPLIT = "splits/"
SCORED = ("low_score", "no_score")  # why `filters.scores` leaves a document out: a score outside of its bounds, or none
_SIGN = 1 << 63  # taken off a sort value, which is unsigned, where a table keeps it


def to_row(selection: StageSelection) -> Row:
    """Turns what is taken of a stage file into a row of the table."""
    info = selection.info
    row: dict[str, Any] = {name: getattr(info, name) for name in _INFO if name not in _COUNTED}
    for name in _COUNTED:  # one more than the count: 0 says that the file does not tell of the reason
        row |= {f"{name}/{reason}": count + 1 for reason, count in getattr(info, name).items()}
    for split, by_repeat in selection.splits.items():
        row |= {f"{_SPLIT}{split}/{repeat}": counts for repeat, counts in enumerate(by_repeat)}
    if selection.quantiles:
        row["quantiles"] = tuple(value - _SIGN for value in selection.quantiles)
    row |= {name: count for name in SCORED if (count := getattr(selection, name))}
    return row | {"duplicates": selection.duplicates, "not_sampled": selection.not_sampled, "removed": selection.removed or ""}


class StageTable(LazySequence[StageSelection]):
    """What is taken of each stage file, sorted as the text lies; columns are there for whoever counts over all of them."""

    def __init__(self, columns: Columns) -> None:
        """Takes the columns of a table."""
        self.columns = columns
        self._select = functools.lru_cache(maxsize=_KEPT_ROWS)(self._read)
        self._counts: dict[tuple[str, int | None], npt.NDArray[np.int64]] = {}

    @classmethod
    def of(cls, selections: Iterable[StageSelection]) -> StageTable:
        """Makes a table that lies in no file."""
        return cls(Columns.of_rows([to_row(selection) for selection in selections]))

    def __len__(self) -> int:
        return self.columns.rows

    def _make(self, index: int) -> StageSelection:
        return self._select(index)

    def _read(self, index: int) -> StageSelection:
        row = self.columns.row(index)
        fields: dict[str, Any] = {
            name: bool(row[name]) if kind == "bool" else row[name] for name, kind in _INFO.items() if name not in _COUNTED
        }
        fields |= {name: _reasons(row, f"{name}/") for name in _COUNTED}
        splits: dict[str, list[Any]] = {}
        for name, repeat in self._split_columns:
            splits.setdefault(name, []).append(row[f"{_SPLIT}{name}/{repeat}"])
        return StageSelection(
            info=StageInfo(**fields),
            splits={name: tuple(by_repeat) for name, by_repeat in splits.items()},
            duplicates=row["duplicates"],
            not_sampled=row["not_sampled"],
            **{name: row.get(name, 0) for name in SCORED},
            removed=row["removed"] or None,
            quantiles=tuple(value + _SIGN for value in row.get("quantiles", ())),
        )

    @functools.cached_property
    def _split_columns(self) -> list[tuple[str, int]]:
        """The split and the repeat of each column of counts, in order."""
        found = (name.removeprefix(_SPLIT).rsplit("/", 1) for name in self.columns.arrays if name.startswith(_SPLIT))
        return sorted((split, int(repeat)) for split, repeat in found)

    @functools.cached_property
    def identity(self) -> str:
        """Digests what is taken: the names of all files, which follow from their content, and not where they lie."""
        names = (self.columns.arrays.get(name, np.zeros(len(self), dtype="S1")).tolist() for name in ("path", "removed"))
        return keys.digest(b"\n".join(os.path.basename(path) for column in names for path in column))

    def numbers(self, name: str) -> npt.NDArray[np.int64]:
        """Gives the int64 [n] values of an attribute of `StageInfo` or `StageSelection` that is a number."""
        return self.columns.numbers(name)

    def of_source(self, source: int | None) -> npt.NDArray[np.int64]:
        """Lists the stage files of a source, or all: int64 [m], ascending."""
        return np.arange(len(self)) if source is None else np.flatnonzero(self.numbers("source") == source)

    def touching(self, ranges: Sequence[Sequence[tuple[int, int]]]) -> npt.NDArray[np.bool_]:
        """Finds the merged files that may hold documents of some keys: bool [n].

        Args:
          ranges: for each source the ranges [low, high) of keys.
        """
        found = np.zeros(len(self), dtype=bool)
        low, last = self._key_bounds
        for source, wanted in enumerate(ranges):
            own = self.numbers("source") == source
            for begin, end in wanted:
                if begin < end:
                    found |= own & (low <= np.uint64(end - 1)) & (last >= np.uint64(begin))
        return found

    @functools.cached_property
    def _key_bounds(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """The smallest and the largest key that each file may hold: uint64 [n] both."""
        bounds = list(map(key_range, self.numbers("part").tolist(), self.numbers("ranges").tolist()))
        return np.array([low for low, _ in bounds], dtype=np.uint64), np.array([high - 1 for _, high in bounds], dtype=np.uint64)

    def within(self, first: int, last: int, low: int, high: int) -> npt.NDArray[np.int64]:
        """Finds the files among the rows [first, last) that may hold documents whose keys lie in [low, high): their rows, int64 [k]."""
        begin, end = (bounds[first:last] for bounds in self._key_bounds)
        held = (self.numbers("documents")[first:last] > 0) & (begin <= np.uint64(high - 1)) & (end >= np.uint64(low))
        return first + np.flatnonzero(held)

    @functools.cached_property
    def quantiles(self) -> npt.NDArray[np.uint64]:
        """The quantiles of the sort values in each file, all of which are merged and sorted by these: uint64 [n, q]."""
        return self.numbers("quantiles").astype(np.uint64) + np.uint64(_SIGN)  # which wraps around

    def holding(self, split: str, low: int, high: int) -> npt.NDArray[np.bool_]:
        """Finds the merged files that hold documents of a split whose sort values may lie in [low, high), up to 2**64: bool [n]."""
        values = self.quantiles
        return (self.counts(split)[:, 0] > 0) & (values[:, 0] <= np.uint64(high - 1)) & (values[:, -1] >= np.uint64(low))

    def texts(self, name: str, first: int, last: int) -> list[str]:
        """Gives an attribute that is a text of the files in rows [first, last)."""
        found = self.columns.arrays.get(name)
        return (
            [""] * (last - first) if found is None else [value.decode("utf-8", "surrogateescape") for value in found[first:last].tolist()]
        )

    def token_bytes(self) -> npt.NDArray[np.int64]:
        """Tells how many bytes a token takes in each stage file: int64 [n]."""
        dtypes = self.columns.arrays.get("token_dtype", np.zeros(0, dtype="S1"))
        kinds, which = np.unique(dtypes, return_inverse=True)
        return np.array([np.dtype(kind.decode()).itemsize for kind in kinds.tolist()], dtype=np.int64)[which]

    def counts(self, split: str, repeat: int | None = None) -> npt.NDArray[np.int64]:
        """Counts what is taken of each stage file for a split, of one repeat or of all: int64 [n, 4], columns as in `selection.Counts`."""
        found = self._counts.get((split, repeat))
        if found is None:
            found = np.zeros((len(self), 4), dtype=np.int64)
            for name, number in self._split_columns:
                if name == split and repeat in (None, number):
                    found = found + self.columns.numbers(f"{_SPLIT}{name}/{number}")
            self._counts[split, repeat] = found
        return found

    def repeated(self) -> npt.NDArray[np.int64]:
        """Counts the repeats behind the first of the documents of each stage file: int64 [n]."""
        found = np.zeros(len(self), dtype=np.int64)
        for split, repeat in self._split_columns:
            if repeat:
                found += self.columns.numbers(f"{_SPLIT}{split}/{repeat}")[:, 0]
        return found

    def scored(self, rows: npt.NDArray[np.int64] | None = None) -> dict[str, int]:
        """Counts the documents of some stage files or of all that their scores leave out, by reason; reasons without any are left out."""
        total = {name: int((self.numbers(name) if rows is None else self.numbers(name)[rows]).sum()) for name in SCORED}
        return {name: count for name, count in total.items() if count}

    def summed(self, name: str, rows: npt.NDArray[np.int64] | None = None) -> dict[str, int]:
        """Adds the counts by reason of some stage files or of all, sorted by reason; `name` is `filtered` or `lines_removed`."""
        total = {}
        for column in sorted(column for column in self.columns.arrays if column.startswith(f"{name}/")):
            values = self.numbers(column) if rows is None else self.numbers(column)[rows]
            if told := int(np.count_nonzero(values)):
                total[column.removeprefix(f"{name}/")] = int(values.sum()) - told
        return total


def _reasons(row: Mapping[str, Any], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): count - 1 for name, count in row.items() if count and name.startswith(prefix)}


@functools.lru_cache(maxsize=4)
def load(file: ColumnFile) -> StageTable:
    """Reads a table once in each process.

    Raises:
      BuildError: the file is gone or damaged.
    """
    return StageTable(column_file.read(file))


def replace(file: ColumnFile, changed: ColumnFile, directory: str) -> ColumnFile:
    """Writes a table in which some stage files are taken otherwise.

    Args:
      file: the table.
      changed: the rows that take the place of those of the same stage files, sorted.
      directory: where the new table lies.
    """
    old, new = column_file.read(file), column_file.read(changed)
    both = Columns.concatenate([old, new])
    order = np.lexsort([both.numbers(name) for name in reversed(SORT_BY)])  # stable: of two rows of a stage file the new one is behind
    names = np.stack([both.numbers(name)[order] for name in SORT_BY], axis=1)
    last = np.append((names[1:] != names[:-1]).any(axis=1), True)
    return column_file.write(directory, "stages", both.take(order[last]))
