"""The parts of a check, each of which looks at a little of a dataset, wherever it runs: a shard with its table, a range of documents.

What a part finds out for others is a row of a table or adds up. So memory does not grow with a dataset, and a job whose parts run on many
machines says what a check on one says.

Tested in tests/tokenreel/inspection/test_verification.py and tests/pipelines/test_verify.py.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.format import naming
from tokenreel.format.manifest import Manifest
from tokenreel.inspection.beside_checks import check_file
from tokenreel.inspection.document_checks import RANGE, DocumentFindings, Documents
from tokenreel.inspection.objective_settings import ObjectiveSettings, laid_out_width
from tokenreel.inspection.provenance_checks import Table, describe_break, read_table
from tokenreel.inspection.record_checks import Place
from tokenreel.inspection.shard_check import ShardCheck
from tokenreel.inspection.statistics_checks import NEW
from tokenreel.inspection.tally import Tally
from tokenreel.storage.column_file import Columns, Row

NONSENSE = (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError)
"""What an altered number leads to, which has no end."""

SHARDS_BY = ("split", "shard")
RANGES_BY = ("split", "variant", "range", "shard")
_NONE_LOST = 1 << 62  # behind every shard
_OPEN_RANGES = 3  # of documents, each of which takes 10 MB: shards that are neighbours name documents of one range, or of two


def describe_nonsense(directory: str, error: BaseException) -> str:
    """Says that a dataset is none that a build writes, which is all there is to say."""
    return f"{directory}: {naming.MANIFEST} or {naming.STATISTICS} is not what a build writes ({error!r})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What every part of a check has to know of a dataset.

    Attributes:
      directory: holds it.
      called: what the user calls the directory.
      manifest: describes it.
      settings: of the objective.
      statistics: the content of `statistics.json`; None where it is missing or damaged.
      letters: dead letters of each source; None where their file is damaged.
      present: for each split, bool [2, shards] whether a shard is there, and its provenance table.
    """

    directory: str
    called: str
    manifest: Manifest
    settings: ObjectiveSettings | None
    statistics: Mapping[str, Any] | None
    letters: Mapping[str, int] | None
    present: Mapping[str, npt.NDArray[np.bool_]]

    @functools.cached_property
    def splits(self) -> list[str]:
        """The splits; rows of tables name one by its number here."""
        return list(self.manifest.splits)

    @functools.cached_property
    def _first(self) -> dict[str, npt.NDArray[np.int64]]:
        records = {split: np.array([0, *(shard.records for shard in info.shards)]) for split, info in self.manifest.splits.items()}
        return {split: np.cumsum(each) for split, each in records.items()}

    def place(self, split: str, index: int) -> Place:
        """Says where a shard stands."""
        info = self.manifest.splits[split]
        return Place(
            manifest=self.manifest, shard=info.shards[index], first=int(self._first[split][index]), split_examples=int(info.examples)
        )

    def table(self, split: str, index: int) -> str:
        """Names the provenance table of a shard."""
        return naming.provenance(split, index, len(self.manifest.splits[split].shards))

    def documents(self, split: str) -> int | None:
        """Gives the documents of a split, as the statistics have them; None where they have none that a table can be compared with."""
        said = {} if self.statistics is None else self.statistics["splits"].get(split, {})
        return int(said.get("documents", 0)) if NEW in said else None


class ShardPart:
    """The check of a shard and of its table, and what it finds out for others.

    Attributes:
      tally: what the shard holds.
    """

    def __init__(self, facts: Facts, split: str, index: int) -> None:
        """Takes the place of a shard."""
        self._facts, self._split, self._index = facts, split, index
        self._check: ShardCheck | None = None
        self.tally = Tally(facts.settings)

    def check(self, note: Callable[[str], None]) -> Iterator[str]:
        """Yields a line for each difference; `note` is told what could not be checked."""
        facts, split = self._facts, self._split
        shard_is_there, table_is_there = facts.present[split][:, self._index].tolist()
        # A file that is missing was named already; what depends on it is not counted.
        name: str | None = facts.table(split, self._index)
        info = facts.manifest.find_file(str(name)) if table_is_there else None
        read = io.BytesIO()
        if info is None or not (yield from check_file(facts.directory, info, read)):
            name = None
            self.tally.lose_segments()
        if not shard_is_there:
            self.tally.complete = False
            return
        place = facts.place(split, self._index)
        whole = read if info is not None and read.tell() == info.bytes else None
        self._check = ShardCheck(facts.directory, place, self.tally, name, note, facts.documents(split), whole)
        yield from self._check.check()

    def take_table(self) -> Table | None:
        """Gives the table once, if documents can be counted by it, and forgets it."""
        if self._check is None:
            return None
        table, self._check.table = self._check.table, None
        return table

    def row(self) -> Row:
        """Gives what the shard's neighbours ask for, and those who look at documents."""
        check = self._check
        where = {"split": self._facts.splits.index(self._split), "shard": self._index}
        ends = None if check is None else check.ends
        known = {} if ends is None else {**dataclasses.asdict(ends), "follows": int(ends.follows), "known": 1}
        return {**where, "numbered": int(check is not None and check.numbered), **known}

    def named(self) -> Sequence[tuple[int, int]]:
        """Gives the ranges of documents that the table names: their variants and numbers."""
        return () if self._check is None else self._check.ranges

    def ranges(self) -> Iterator[Row]:
        """Gives the same as rows of a table."""
        split = self._facts.splits.index(self._split)
        for variant, number in self.named():
            yield {"split": split, "variant": variant, "range": number, "shard": self._index}


def check_neighbours(facts: Facts, split: str, shards: Columns) -> Iterator[str]:
    """Checks that each shard of a stream goes on where the one before ends, by the rows of all of them."""
    rows = shards.take(np.flatnonzero(shards.numbers("split") == facts.splits.index(split)))
    if "last" not in rows.arrays or rows.rows < 2:
        return
    known, end, start = rows.numbers("known").astype(bool), rows.numbers("end"), rows.numbers("start")
    goes_on = (rows.arrays["first"][1:] == rows.arrays["last"][:-1]) & (start[1:] == end[:-1])
    for index in (1 + np.flatnonzero(rows.numbers("follows")[1:].astype(bool) & known[1:] & known[:-1] & ~goes_on)).tolist():
        try:
            yield describe_break(read_table(facts.directory, facts.table(split, index), facts.place(split, index)), 0)
        except ValueError as error:
            yield f"{facts.table(split, index)}: no readable table ({error})"


def cut_ranges(ranges: Columns) -> Iterator[tuple[int, int]]:
    """Yields the rows, from one to before another, of each range of documents in a variant of a split, sorted by `RANGES_BY`."""
    columns = np.stack([ranges.numbers(name) for name in RANGES_BY[:3]])
    begins = np.flatnonzero((np.diff(columns, axis=1, prepend=-1) != 0).any(axis=0))
    yield from zip(begins.tolist(), [*begins[1:].tolist(), ranges.rows], strict=True) if len(begins) else ()


def check_range(facts: Facts, shards: Columns, ranges: Columns, begin: int, end: int) -> tuple[str, int, DocumentFindings]:
    """Looks at a range of documents: the split and the variant, and what is wrong with them."""
    number, variant, which = (int(ranges.numbers(name)[begin]) for name in RANGES_BY[:3])
    split = facts.splits[number]
    lost = _first_lost(shards, number)
    rows = [row for row in range(begin, end) if ranges.numbers("shard")[row] < lost]
    try:
        return split, variant, _look(facts, ranges, rows, split, variant, which, lost) if rows else DocumentFindings()
    except NONSENSE as error:
        return split, variant, DocumentFindings(failures=[describe_nonsense(facts.called, error)])


def _documents(facts: Facts, split: str, variant: int, which: int) -> Documents:
    width = laid_out_width(facts.manifest, facts.settings)
    return Documents(facts.manifest, split, width and width - facts.manifest.overlap, variant, which)


class DocumentsInOrder:
    """Looks at the documents of a split shard by shard, so that no table is read again; finds what `check_range` finds.

    Tables name documents in about the order of their numbers. The ranges that were named last are kept open, and one is finished when
    others follow it. Where a table names a document of a finished range, the findings are given up.
    """

    def __init__(self, facts: Facts, split: str) -> None:
        """Prepares the check of a split."""
        self._facts, self._split = facts, split
        self._open: dict[tuple[int, int], Documents] = {}  # by variant and range
        self._closed: tuple[int, float] = (-1, math.inf)  # no table may name this range from here on, nor one before it
        self._before: tuple[int, int] | None = None  # the range that was finished last
        self._found: list[tuple[int, DocumentFindings]] = []
        self._lost = _NONE_LOST
        self._given_up = False

    def add(self, part: ShardPart, index: int) -> None:
        """Adds the table of the next shard, which was checked; behind one without a usable table none counts."""
        table = part.take_table()
        if table is None:
            self._lost = min(self._lost, index)
            return
        if self._given_up or index >= self._lost:
            return
        place = self._facts.place(self._split, index)
        try:
            for key in sorted(part.named()):
                if key <= self._closed:
                    self._given_up = True
                    return
                if key not in self._open:
                    self._open[key] = _documents(self._facts, self._split, *key)
                self._open[key].add(table, place, index)
                while len(self._open) > _OPEN_RANGES:
                    self._finish()
        except NONSENSE:  # told by the range that it is in
            self._given_up = True

    def _finish(self) -> None:
        """Finishes the first of the open ranges."""
        variant, which = key = min(self._open)
        last = not any(other > key and other[0] == variant for other in self._open)
        first_missing = self._before[1] + 1 if self._before is not None and self._before[0] == variant else 0
        documents = self._open.pop(key)
        self._found.append((variant, documents.finish(None if first_missing == which else first_missing * RANGE, last=last)))
        self._before, self._closed = key, (variant, math.inf if last else which)

    def findings(self) -> dict[int, DocumentFindings] | None:
        """Gives what is wrong with the documents of each variant, at the end; None where it was given up."""
        try:
            while self._open and not self._given_up:
                self._finish()
        except NONSENSE:
            self._given_up = True
        if self._given_up:
            return None
        total: dict[int, DocumentFindings] = {}
        for variant, found in self._found:
            total[variant] = total.get(variant, DocumentFindings()) + _if_whole(self._facts, self._split, variant, self._lost, found)
        return total


def _first_lost(shards: Columns, split: int) -> int:
    """Finds the first shard of a split whose table cannot be used: those behind it could not be told from what it holds."""
    rows = np.flatnonzero((shards.numbers("split") == split) & (shards.numbers("numbered") == 0))
    return int(shards.numbers("shard")[rows[0]]) if len(rows) else _NONE_LOST


def _look(facts: Facts, ranges: Columns, rows: list[int], split: str, variant: int, which: int, lost: int) -> DocumentFindings:
    documents = _documents(facts, split, variant, which)
    unreadable = []
    for row in rows:
        index = int(ranges.numbers("shard")[row])
        place = facts.place(split, index)
        try:
            documents.add(read_table(facts.directory, facts.table(split, index), place, ids=False), place, index)
        except ValueError as error:  # it was readable before
            unreadable.append(f"{facts.table(split, index)}: no readable table ({error})")
    before, behind = (_next_range(ranges, row, step, lost) for row, step in ((rows[0], -1), (rows[-1], 1)))
    first_missing = 0 if before is None else before + 1
    found = documents.finish(None if first_missing == which else first_missing * RANGE, last=behind is None)
    found.failures += unreadable
    return _if_whole(facts, split, variant, -1 if unreadable else lost, found)


def _if_whole(facts: Facts, split: str, variant: int, lost: int, found: DocumentFindings) -> DocumentFindings:
    """Leaves out what only counts where all tables of a variant could be read; `lost` is the first that could not, -1 any of them."""
    whole = lost > len(facts.present[split][0])
    if not whole and lost >= 0:
        whole = variant < int(facts.place(split, lost).variant_of(np.zeros(1, dtype=np.int64))[0])
    return found if whole else dataclasses.replace(found, hole=None, stretches=[])


def _next_range(ranges: Columns, row: int, step: int, lost: int) -> int | None:
    """Finds the range before or behind a row's own that a usable table of the same variant names."""
    split, variant, number, shard = (ranges.numbers(name) for name in RANGES_BY)
    other = row + step
    while 0 <= other < ranges.rows and split[other] == split[row] and variant[other] == variant[row]:
        if number[other] != number[row] and shard[other] < lost:
            return int(number[other])
        other += step
    return None


def count_variants(facts: Facts, split: str, shards: Columns, found: Mapping[int, DocumentFindings], tally: Tally) -> None:
    """Adds the documents of each variant to the tally of a split, if all tables could be used."""
    if facts.documents(split) is not None and _first_lost(shards, facts.splits.index(split)) == _NONE_LOST:
        tally.variants = [found[variant].counts if variant in found else DocumentFindings().counts for variant in sorted({0, *found})]
