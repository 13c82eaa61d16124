"""Recounts documents from the provenance tables: which of their tokens the examples hold, and whether that is what the packing mode leaves.

Documents are numbered in the tables, so what is known of each is one entry of a few arrays: about 40 bytes a document are held, and for
segment pairs, which hold a document's tokens several times, 24 for each segment. They are looked at some `RANGE` at a time.

Tested in tests/tokenreel/inspection/test_provenance_checks.py and tests/test_reseal.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.format.manifest import Manifest
from tokenreel.inspection.provenance_checks import Table
from tokenreel.inspection.record_checks import Place

RANGE = 1 << 18
"""Documents that are looked at together: their number times the range's is the first of them."""

PAIRS = "segment_pairs"
_LISTED = 8
_MOST_COPIES = 1 << 12  # repeats that are told apart: an altered number must not take memory
_Ints = npt.NDArray[np.int64]
_UNKNOWN = -1


@dataclasses.dataclass(kw_only=True)
class DocumentCounts:
    """What the tables say of documents of a split, in one variant. Those of several ranges add up.

    Attributes:
      documents: that have a token in an example.
      tokens: of these, wherever they are.
      written: those of the tokens that are in an example, each counted once.
      cut: documents that lie whole in no example.
      repeats: documents that are a repeat behind the first.
      lengths: int64 [64] documents by the binary digits of their tokens.
      of_source: documents of each source.
      of_copy: documents of each source by the number of their repeat.
    """

    documents: int = 0
    tokens: int = 0
    written: int = 0
    cut: int = 0
    repeats: int = 0
    lengths: _Ints = dataclasses.field(default_factory=lambda: np.zeros(64, dtype=np.int64))
    of_source: dict[str, int] = dataclasses.field(default_factory=dict)
    of_copy: dict[str, list[int]] = dataclasses.field(default_factory=dict)

    def __add__(self, other: DocumentCounts) -> DocumentCounts:
        names = sorted({*self.of_source, *other.of_source})
        return DocumentCounts(
            lengths=self.lengths + other.lengths,
            of_source={name: self.of_source.get(name, 0) + other.of_source.get(name, 0) for name in names},
            of_copy={name: _add(self.of_copy.get(name, []), other.of_copy.get(name, [])) for name in names},
            **{name: getattr(self, name) + getattr(other, name) for name in ("documents", "tokens", "written", "cut", "repeats")},
        )


def _add(first: list[int], second: list[int]) -> list[int]:
    longest = max(len(first), len(second))
    return [one + other for one, other in zip(*([*each, *[0] * (longest - len(each))] for each in (first, second)), strict=True)]


@dataclasses.dataclass(kw_only=True)
class DocumentFindings:
    """What is wrong with the documents of a variant, as far as they were looked at; those of several ranges add up.

    However many documents there are, it stays small: of each kind the first are listed.

    Attributes:
      counts: what they amount to.
      contradictions: (number of the field, shard, row, sentence) of segments that disagree about their document.
      hole: the first document that no table names, though it stands before one that is named; only where that is wrong.
      stretches: (document, sentence) of documents whose segments do not join to what they have to be.
      failures: sentences about what could not be read, or made no sense at all.
    """

    counts: DocumentCounts = dataclasses.field(default_factory=DocumentCounts)
    contradictions: list[tuple[int, int, int, str]] = dataclasses.field(default_factory=list)
    hole: int | None = None
    stretches: list[tuple[int, str]] = dataclasses.field(default_factory=list)
    failures: list[str] = dataclasses.field(default_factory=list)

    def __add__(self, other: DocumentFindings) -> DocumentFindings:
        both = sorted([*self.contradictions, *other.contradictions])
        return DocumentFindings(
            counts=self.counts + other.counts,
            contradictions=[each for field in range(len(_FIELDS)) for each in [found for found in both if found[0] == field][:_LISTED]],
            hole=min((hole for hole in (self.hole, other.hole) if hole is not None), default=None),
            stretches=sorted([*self.stretches, *other.stretches])[:_LISTED],
            failures=sorted({*self.failures, *other.failures})[:_LISTED],
        )

    def sentences(self, split: str) -> Iterator[str]:
        """Says all of it, in the order of the tables and of the documents."""
        yield from (sentence for _, _, _, sentence in sorted(self.contradictions, key=lambda each: each[1:3]))
        if self.hole is not None:
            yield f"{split}: the tables leave out document {self.hole:,} of the stream"
        yield from (sentence for _, sentence in self.stretches)
        yield from self.failures


_FIELDS = ("doc_tokens", "source", "copy")


def check_numbers(table: Table, limit: int) -> Iterator[str]:
    """Yields what cannot be the number or the length of a document, of which the split has so many."""
    assert table.number is not None and table.doc_tokens is not None
    wrong = (table.number < 0) | (table.number >= limit) | (table.start + table.length > table.doc_tokens)
    for row in np.flatnonzero(wrong)[:_LISTED].tolist():
        yield (
            f"{table.name}: row {row:,} has {table.length[row]:,} tokens from token {table.start[row]:,} on of document "
            f"{table.number[row]:,}, which has {table.doc_tokens[row]:,}; the split has {limit:,} documents"
        )


class Documents:
    """The documents of a range in a variant, gathered table by table."""

    def __init__(self, manifest: Manifest, split: str, width: int | None, variant: int, number: int) -> None:
        """Prepares the sums.

        Args:
          manifest: describes the dataset.
          split: whose documents these are.
          width: positions that examples were laid out for, overlap not counted; None where that is not known.
          variant: of the split.
          number: of the range of documents.
        """
        packing: Mapping[str, Any] = manifest.config.get("packing", {})
        self._mode: str = packing.get("mode", "")
        self._packing, self._split, self._width, self._overlap = packing, split, width, manifest.overlap
        self._variant, self._first = variant, number * RANGE
        self._sources: dict[str, int] = {}
        self._contradictions: list[tuple[int, int, int, str]] = []
        self._tokens = np.full(RANGE, _UNKNOWN, dtype=np.int64)
        self._source, self._copy = np.zeros(RANGE, dtype=np.int32), np.zeros(RANGE, dtype=np.int64)
        self._written = np.zeros(RANGE, dtype=np.int64)
        # Of each document, the sum of mix(end) - mix(begin) over its stretches: equal ones meet at the same ends.
        self._chain = np.zeros(RANGE, dtype=np.uint64)
        self._whole = np.zeros(RANGE, dtype=bool)
        self._kept: list[tuple[_Ints, _Ints, _Ints]] = []  # of pairs: document, start and length of all segments

    def add(self, table: Table, place: Place, shard: int) -> None:
        """Adds those rows of a table that are of the variant and the range.

        Args:
          table: the segments of a shard; `check_numbers` found nothing.
          place: the shard.
          shard: its number in the split; shards come in order.
        """
        assert table.number is not None and table.doc_tokens is not None
        rows = np.flatnonzero(place.variant_of(table.example) == self._variant)
        rows = rows[table.number[rows] // RANGE == self._first // RANGE]
        document, start, length = table.number[rows] - self._first, table.start[rows], table.length[rows]
        numbers = np.array([self._sources.setdefault(name, len(self._sources)) for name in table.sources] or [0], dtype=np.int32)
        source = numbers[table.source[rows]]
        known, names = self._tokens[document] != _UNKNOWN, list(self._sources)
        fields: list[tuple[npt.NDArray[Any], npt.NDArray[Any]]] = [
            (self._tokens, table.doc_tokens[rows]),
            (self._source, source),
            (self._copy, table.copy[rows]),
        ]
        for field, (values, given) in enumerate(fields):
            said = values.copy()
            said[document[~known]] = given[~known]
            for at in np.flatnonzero(said[document] != given)[:_LISTED].tolist():
                one, other = (names[i] if field == 1 else f"{i:,}" for i in (int(given[at]), int(said[document[at]])))
                sentence = (
                    f"{table.name}: {_FIELDS[field]} of document {document[at] + self._first:,} of split {self._split} is {one} in one "
                    f"segment and {other} in another"
                )
                self._contradictions.append((field, shard, int(rows[at]), sentence))
        # Once all that the rows say of the document is compared, they may set it.
        self._source[document], self._copy[document] = source, table.copy[rows]
        self._tokens[document] = table.doc_tokens[rows]
        shared = self._shared(table, place)[rows]
        self._whole[document[(length == table.doc_tokens[rows]) & (shared == 0)]] = True
        if self._mode == PAIRS:
            self._kept.append((document, start, length))
            return
        np.add.at(self._written, document, length - shared)
        np.add.at(self._chain, document, keys.mix(start + length) - keys.mix(start + shared))

    def _shared(self, table: Table, place: Place) -> _Ints:
        """Counts the tokens of each segment that stand in the example before as well: int64 [S]."""
        if not self._overlap:
            return np.zeros(len(table), dtype=np.int64)
        if self._mode == "wrap":
            anew = (table.example + place.first) % place.variant_examples == 0
            return np.where(table.begins_record & ~anew, self._overlap, 0)
        # Pieces of `buckets` have a token more, and share none.
        return np.where(table.start > 0, self._overlap if self._mode == "wrap_within_document" else 0, 0)

    def finish(self, hole: int | None, *, last: bool) -> DocumentFindings:
        """Checks every document.

        Args:
          hole: the first document before the range that no table can name, where whole ranges are missing.
          last: whether no table names a document behind the range.
        """
        if self._kept:
            self._written = self._union()
        present = np.flatnonzero(self._tokens != _UNKNOWN)
        found = DocumentFindings(contradictions=self._contradictions)
        if self._mode != PAIRS:
            found.stretches = list(self._check_stretches(present, last))
        if self._mode == "wrap":
            missing = np.flatnonzero(present != np.arange(len(present)))
            short = int(missing[0]) if len(missing) else len(present)
            ended = short == (len(present) if last else RANGE)
            found.hole = hole if hole is not None else None if ended else self._first + short
        tokens, names = self._tokens[present], list(self._sources)
        of_source = np.bincount(self._source[present], minlength=len(names)).tolist()
        copies = [np.clip(self._copy[present[self._source[present] == number]], 0, _MOST_COPIES) for number in range(len(names))]
        found.counts = DocumentCounts(
            documents=len(present),
            tokens=int(tokens.sum()),
            written=int(self._written[present].sum()),
            cut=int(np.count_nonzero(~self._whole[present])),
            repeats=int(np.count_nonzero(self._copy[present] > 0)),
            lengths=np.bincount(np.frexp(tokens.astype(np.float64))[1], minlength=64)[:64],
            of_source=dict(zip(names, of_source, strict=True)),
            of_copy={name: np.bincount(own).tolist() for name, own in zip(names, copies, strict=True)},
        )
        return DocumentFindings() + found  # sorted, and no longer than it may be

    def _union(self) -> _Ints:
        """Counts the tokens of each document that a segment holds, int64 [documents]: once, however many do."""
        document, start, length = (np.concatenate(column) for column in zip(*self._kept, strict=True))
        base = np.cumsum(np.maximum(self._tokens, 0)) - np.maximum(self._tokens, 0)
        begin = base[document] + start
        order = np.argsort(begin, kind="stable")
        begin, end = begin[order], (begin + length)[order]
        reached = np.append(0, np.maximum.accumulate(end)[:-1])
        fresh = np.maximum(end - np.maximum(begin, reached), 0)
        return np.bincount(document[order], weights=fresh, minlength=len(self._tokens)).astype(np.int64)

    def _check_stretches(self, present: _Ints, last: bool) -> Iterator[tuple[int, str]]:
        """Checks that the stretches of each document join to one, from where and as long as the packing mode leaves it."""
        tokens, written = self._tokens[present], self._written[present]
        first, expected = self._expected(tokens)
        apart = self._chain[present] != keys.mix(first + written) - keys.mix(first)
        if self._mode == "full_sentences":  # an example that is too short may be left out anywhere
            apart &= written == tokens
        wrong = apart | (written > tokens) | (expected is not None and written != expected)
        expected = written if expected is None else expected
        if self._mode == "wrap" and last and len(present):
            wrong[-1] = apart[-1] or written[-1] > tokens[-1]  # the stream may end inside its last document
        for at in np.flatnonzero(wrong)[:_LISTED].tolist():
            document = self._first + int(present[at])
            yield (
                document,
                f"{self._split}: the segments of document {document:,} hold {written[at]:,} of its {tokens[at]:,} tokens, and not one "
                f"stretch of {expected[at]:,} from token {first[at]:,} on",
            )

    def _expected(self, tokens: _Ints) -> tuple[_Ints, _Ints | None]:
        """Says where the laid out part of documents of int64 [n] tokens begins, and how long it is (None where that is not known)."""
        first = np.zeros_like(tokens)
        if self._mode in ("best_fit", "first_fit", "next_fit", "pad"):
            long = self._packing.get("long_documents") or ("truncate" if self._mode == "pad" else "split")
            if long == "split" or self._width is None:
                return first, tokens if long == "split" else None
            return first, np.minimum(tokens, self._width) if long == "truncate" else np.where(tokens <= self._width, tokens, -1)
        if self._mode == "buckets":
            return self._bucket(tokens)
        if self._mode == "wrap":
            return first, tokens
        if self._mode == "wrap_within_document" and self._width is not None:
            return first, self._within(tokens, self._width)
        return first, None

    def _bucket(self, tokens: _Ints) -> tuple[_Ints, _Ints | None]:
        """Cuts documents into powers of two, longest first; gives where those of this dataset begin, and what they hold."""
        options = self._packing.get("options", {})
        first, left = np.zeros_like(tokens), tokens.copy()
        for exponent in reversed(range(int(options.get("min_exponent", 8)), int(options.get("max_exponent", 13)) + 1)):
            length = 2**exponent + self._overlap
            if 2**exponent == self._packing.get("seq_len"):
                return first, left // length * length
            first += left // length * length
            left %= length
        return first, None

    def _within(self, tokens: _Ints, width: int) -> _Ints:
        """Says what is kept of documents that are cut on their own."""
        room = np.maximum(tokens - self._overlap, 0)
        rest = room % width
        keeps = (self._packing.get("last_example") or "pad") == "pad"
        # The last example holds the rest and the overlap; what is shorter than `min_tokens` is left out.
        kept = keeps & (rest > 0) & (rest + self._overlap >= int(self._packing.get("options", {}).get("min_tokens", 1)))
        whole = room // width * width
        return np.where(whole + rest * kept > 0, whole + rest * kept + self._overlap, 0)
