"""The checks of a shard's provenance table, one a function: its rows against each other, and against what the records hold."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ManifestError
from tokenreel.format import provenance, schema
from tokenreel.format.provenance import COPY, DOC_ID, DOC_TOKEN_START, DOC_TOKENS, DOCUMENT, EXAMPLE, LENGTH, META, SEGMENT, SOURCE
from tokenreel.inspection import label_checks
from tokenreel.inspection.record_checks import Place, Records, and_more, stretches
from tokenreel.ragged import run_lengths

_LISTED = 8  # differences of one kind in a shard; the others are left out
_Ints = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The S segments that the provenance table of a shard describes.

    Attributes:
      name: path of the table in the dataset.
      example: int64 [S] the record that holds the segment, by its number in the shard.
      segment: int64 [S] its number in the record.
      start: int64 [S] its first token, counted in its document.
      length: int64 [S] its tokens.
      document: [S] ids of the documents, an Arrow column; None where they are not read.
      source: int32 [S] numbers of the sources.
      sources: their names.
      copy: int64 [S] which repeat of its document a segment is from.
      number, doc_tokens: int64 [S] number and tokens of the document; None in tables from before there were these.
      fields: by their names, [S] texts of the documents' fields that the records hold as labels; None where a document has none.
    """

    name: str
    example: _Ints
    segment: _Ints
    start: _Ints
    length: _Ints
    document: Any
    source: npt.NDArray[np.int32]
    sources: list[str]
    copy: _Ints
    number: _Ints | None
    doc_tokens: _Ints | None
    fields: Mapping[str, list[str | None]] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.example)

    @functools.cached_property
    def begins_record(self) -> npt.NDArray[np.bool_]:
        """Bool [S], true for the first segment of each record."""
        return np.append(True, np.diff(self.example) != 0)[: len(self)]

    def places(self, align: int) -> _Ints:
        """Gives the position at which each segment begins in its record: int64 [S]."""
        room = -(-self.length // align) * align
        before = np.cumsum(room) - room
        return before - np.maximum.accumulate(np.where(self.begins_record, before, 0))


def read_table(directory: str, name: str, place: Place, *, ids: bool = True, read: IO[bytes] | None = None) -> Table:
    """Reads the table of a shard, with or without the ids of the documents, or takes the bytes that were read already.

    Raises:
      ModuleNotFoundError: pyarrow is not installed.
      ValueError: it is no readable table of this kind.
    """
    try:
        wanted = [META + label.field for label in label_checks.of(place.manifest)] if ids else []
        columns = [EXAMPLE, SEGMENT, DOC_TOKEN_START, LENGTH, SOURCE, *([DOC_ID] if ids else [])]
        rows = provenance.read(directory, place.manifest, name, columns, optional=[COPY, DOCUMENT, DOC_TOKENS, *wanted], file=read)
    except (ManifestError, OSError) as error:
        raise ValueError(str(error.__cause__ or error).splitlines()[0]) from error

    def integers(column: str) -> _Ints | None:
        return rows.column(column).to_numpy().astype(np.int64) if column in rows.column_names else None

    example, segment, start, length = (rows.column(name).to_numpy().astype(np.int64) for name in columns[:4])
    source = rows.column(SOURCE).cast("string").combine_chunks().dictionary_encode()
    copy = integers(COPY)
    return Table(
        name=name,
        example=example - place.first,  # tables number examples through the split
        segment=segment,
        start=start,
        length=length,
        document=rows.column(DOC_ID) if ids else None,
        source=source.indices.to_numpy().astype(np.int32),
        sources=source.dictionary.to_pylist(),
        copy=np.zeros_like(example) if copy is None else copy,
        number=integers(DOCUMENT),
        doc_tokens=integers(DOC_TOKENS),
        fields={name.removeprefix(META): rows.column(name).to_pylist() for name in wanted if name in rows.column_names},
    )


class Held:
    """What the records of a shard hold, for comparison with the table; gathered while they are read."""

    def __init__(self) -> None:
        self._lengths: list[_Ints] = []
        self._tokens: list[_Ints] = []
        self._starts: list[_Ints] = []
        self._pairs: list[_Ints] = []

    def add(self, records: Records, counts: _Ints) -> None:
        """Adds the next records of the shard, none may be missing in between, and the int64 [n] tokens that they hold."""
        self._tokens.append(counts)
        if records.has_tokens:
            self._lengths.append(records.lengths)
            self._starts.append(np.flatnonzero(records.starts) + int(records.rows[0]) * records.tokens.shape[1])
        if "segment_ids" in records.arrays:
            # [CLS] A [SEP] B [SEP]: those of B, and its separator, are 1.
            second = np.count_nonzero(records.arrays["segment_ids"], axis=1) - 1
            self._pairs.append(np.stack([counts - 3 - second, second], axis=1))

    def __len__(self) -> int:
        return sum(map(len, self._tokens))

    @property
    def lengths(self) -> _Ints:
        """int64 [records] positions up to the last token."""
        return np.concatenate(self._lengths)

    @property
    def tokens(self) -> _Ints:
        """int64 [records] real tokens."""
        return np.concatenate(self._tokens)

    @property
    def pairs(self) -> _Ints:
        """int64 [2 * records] tokens of both segments of each record; empty where there are no pairs."""
        return np.concatenate(self._pairs).ravel() if self._pairs else np.zeros(0, dtype=np.int64)

    @property
    def starts(self) -> _Ints:
        """int64 sorted positions of the document starts, in all records laid end to end."""
        return np.concatenate(self._starts)


def find_misplaced_row(table: Table, place: Place) -> str:
    """Says what is wrong with the first row that no other check could make sense of; nothing where there is none."""
    example, start, length = table.example, table.start, table.length
    outside = np.flatnonzero((example < 0) | (example >= place.shard.records))
    if len(outside):
        row = int(outside[0])
        return f"row {row:,} names example {example[row] + place.first:,}, which {place.shard.file} does not hold"
    step = np.diff(example)
    if ((step < 0) | ((step == 0) & (np.diff(table.segment) != 1))).any() or (table.segment[table.begins_record] != 0).any():
        return "its rows are not sorted by example and segment, or a segment is missing"
    empty = np.flatnonzero((length < 1) | (start < 0))
    if len(empty):
        row = int(empty[0])
        return f"row {row:,} describes {length[row]:,} tokens from token {start[row]:,} of its document on"
    return ""


def check_table(table: Table, place: Place, held: Held) -> Iterator[str]:
    """Compares the rows of a table with the records of its shard.

    Args:
      table: the segments; `find_misplaced_row` found nothing.
      place: the shard.
      held: what its records hold; nothing where they hold no tokens.
    """
    if len(held):
        yield from _check_tokens(table, place, held)
        if schema.DOCUMENT_STARTS in (feature.name for feature in place.manifest.features):
            yield from _check_document_starts(table, place, held)
        if len(held.pairs):
            yield from _check_pairs(table, place, held)
    else:
        yield from _check_all_examples(table, place)


def _tokens_by_record(table: Table, place: Place) -> _Ints:
    return np.bincount(table.example, weights=table.length, minlength=place.shard.records).astype(np.int64)


def _check_all_examples(table: Table, place: Place) -> Iterator[str]:
    """Checks that every record has a segment; for records that hold no tokens to compare with."""
    for stretch in stretches(np.flatnonzero(_tokens_by_record(table, place) == 0)):
        yield f"{table.name}: has no segment of example {int(stretch[0]) + place.first:,}{and_more(stretch)}"


def _check_tokens(table: Table, place: Place, held: Held) -> Iterator[str]:
    """Checks that the segments of every record hold as many tokens as the record."""
    described, tokens = _tokens_by_record(table, place), held.tokens
    special = 3 if place.packing.get("mode") == "segment_pairs" else 0  # [CLS] and two [SEP]
    for stretch in stretches(np.flatnonzero(described + special != tokens)):
        at = int(stretch[0])
        yield (
            f"{table.name}: the segments of example {at + place.first:,} hold {described[at]:,} tokens, the record "
            f"{tokens[at]:,}{and_more(stretch)}"
        )


def _check_pairs(table: Table, place: Place, held: Held) -> Iterator[str]:
    """Checks that each record has two segments, of the lengths that its segment ids tell."""
    pairs = held.pairs
    if len(table) != len(pairs):
        yield f"{table.name}: has {len(table):,} segments, the records of {place.shard.file} {len(pairs):,}"
        return
    for at in np.flatnonzero(table.length != pairs)[:_LISTED].tolist():
        yield f"{place.where(at // 2)}: its segment {at % 2} holds {pairs[at]:,} tokens, {table.name} says {table.length[at]:,}"


def count_document_starts(table: Table, place: Place) -> int:
    """Counts the document starts that follow from the segments, of records that hold none themselves; `align` leaves no gaps in these."""
    return len(table) - int(np.count_nonzero(table.begins_record & (table.start > 0)))


def _check_document_starts(table: Table, place: Place, held: Held) -> Iterator[str]:
    """Checks that records mark the document starts that follow from the segments, and no others."""
    width = place.manifest.fixed_format.feature(schema.TOKENS).size
    # The position of a segment is the room of all before it, less that of the records before: tables hold lengths, not positions.
    room = -(-table.length // place.align) * place.align
    before = np.cumsum(room) - room
    first = table.begins_record
    position = before - np.repeat(before[first], np.diff(np.append(np.flatnonzero(first), len(first))))
    # A bit for every segment but one that continues a document at position 0, and for every gap that `align` leaves.
    expected = (table.example * width + position)[(position > 0) | (table.start == 0)]
    gaps = (room > table.length) & (position + table.length < held.lengths[table.example])
    expected = _distinct(np.concatenate([expected, (table.example * width + position + table.length)[gaps]]))
    starts = _distinct(held.starts)
    for at in np.setdiff1d(expected, starts, assume_unique=True)[:_LISTED].tolist():
        yield f"{place.where(at // width)}: {table.name} begins a document at position {at % width:,}, the record does not"
    for at in np.setdiff1d(starts, expected, assume_unique=True)[:_LISTED].tolist():
        yield f"{place.where(at // width)}: begins a document at position {at % width:,}, {table.name} does not"


def _distinct(values: _Ints) -> _Ints:
    """Sorts numbers and leaves out repeats, as `np.unique` does, whose hashing of a million numbers takes seventy times as long."""
    return run_lengths(np.sort(values))[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ends:
    """Where the table of a shard begins and ends in a stream, small however long the ids of documents are.

    Attributes:
      follows: whether its first segment has to go on where the shard before ends.
      first, last: digests of the ids of the first and the last document.
      start: token of the first document behind what the shard shares with the one before, which has to end there.
      end: token of the last document behind the last segment.
    """

    follows: bool
    first: str
    start: int
    last: str
    end: int


def ends_of(table: Table, place: Place) -> Ends:
    """Says where a table with at least one row begins and ends."""
    anew = (int(table.example[0]) + place.first) % place.variant_examples == 0
    first, last = (keys.digest(table.document[row].as_py()) for row in (0, -1))
    start, end = int(table.start[0]), int(table.start[-1] + table.length[-1])
    # With an overlap, a record begins with the token that the one before ends with.
    return Ends(follows=start > 0 and not anew, first=first, start=start + place.manifest.overlap, last=last, end=end)


def check_continuity(table: Table, place: Place) -> Iterator[str]:
    """Checks that a stream was cut and nothing else: a segment that does not begin its document goes on where the one before ended.

    What the first segment has to go on from is in the shard before, so `describe_break` tells of that.

    Args:
      table: the segments, at least one; `find_misplaced_row` found nothing.
      place: the shard.
    """
    import pyarrow.compute as pc

    documents, start = table.document, table.start
    ends = np.append(0, (start + table.length)[:-1])
    # Arrow compares the ids: a string for each row in Python would take longer than reading the shard.
    same = np.append(True, pc.equal(documents[1:], documents[:-1]).to_numpy().astype(bool))
    shared = table.begins_record * place.manifest.overlap
    anew = ((table.example + place.first) % place.variant_examples == 0) & table.begins_record
    wrong = np.where(anew, start != 0, (start > 0) & ~(same & (start == ends - shared)))
    if not anew[0]:
        wrong[0] = False  # what comes before is not known here
    for row in np.flatnonzero(wrong)[:_LISTED].tolist():
        yield describe_break(table, row)


def describe_break(table: Table, row: int) -> str:
    """Says that a segment does not go on where the one before ends."""
    document = table.document[row].as_py()
    return f"{table.name}: row {row:,} goes on with {document} at its token {table.start[row]:,}, the row before ends elsewhere"
