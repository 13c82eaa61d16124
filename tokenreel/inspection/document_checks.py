"""Recounts documents from the provenance tables: which of their tokens the examples hold, and whether that is what the packing mode leaves.

Documents are numbered in the tables, so what is known of each is one entry of a few arrays: about 40 bytes a document are held, and for
segment pairs, which hold a document's tokens several times, 24 for each segment.

Tested in tests/tokenreel/inspection/test_provenance_checks.py and tests/test_reseal.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.format.manifest import Manifest
from tokenreel.inspection.provenance_checks import Table
from tokenreel.inspection.record_checks import Place

_LISTED = 8
_Ints = npt.NDArray[np.int64]
_UNKNOWN = -1
PAIRS = "segment_pairs"


@dataclasses.dataclass(kw_only=True)
class DocumentCounts:
    """What the tables say of the documents of a split, in one variant.

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

    documents: int
    tokens: int
    written: int
    cut: int
    repeats: int
    lengths: _Ints
    of_source: dict[str, int]
    of_copy: dict[str, list[int]]


class Documents:
    """The documents of a split, gathered table by table; a variant begins anew."""

    def __init__(self, manifest: Manifest, split: str, width: int | None) -> None:
        """Prepares the sums.

        Args:
          manifest: describes the dataset.
          split: whose documents these are.
          width: positions that examples were laid out for, overlap not counted; None where that is not known.
        """
        packing = manifest.config.get("packing", {})
        self._mode: str = packing.get("mode", "")
        self._packing, self._split, self._width, self._overlap = packing, split, width, manifest.overlap
        self._variant = 0
        self._sources: dict[str, int] = {}
        self.variants: list[DocumentCounts] = []
        self._clear()

    def _clear(self) -> None:
        self._tokens = np.zeros(0, dtype=np.int64)
        self._source, self._copy = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32)
        self._written = np.zeros(0, dtype=np.int64)
        self._chain = np.zeros(
            0, dtype=np.uint64
        )  # of each document, the sum of mix(end) - mix(begin) over its stretches: equal ones meet at the same ends
        self._whole = np.zeros(0, dtype=bool)
        self._kept: list[tuple[_Ints, _Ints, _Ints]] = []  # of pairs: document, start and length of all segments

    def _grow(self, documents: int) -> None:
        more = documents - len(self._tokens)
        if more > 0:
            self._tokens = np.append(self._tokens, np.full(more, _UNKNOWN))
            for name in ("_source", "_copy", "_written", "_chain", "_whole"):
                values = getattr(self, name)
                setattr(self, name, np.append(values, np.zeros(more, dtype=values.dtype)))

    def add(self, table: Table, place: Place, limit: int) -> Iterator[str]:
        """Adds the rows of a table, and yields what they contradict.

        Args:
          table: the segments of a shard.
          place: the shard.
          limit: documents of the split.
        """
        assert table.number is not None and table.doc_tokens is not None
        wrong = (table.number < 0) | (table.number >= limit) | (table.start + table.length > table.doc_tokens)
        for row in np.flatnonzero(wrong)[:_LISTED].tolist():
            yield (
                f"{table.name}: row {row:,} has {table.length[row]:,} tokens from token {table.start[row]:,} on of document "
                f"{table.number[row]:,}, which has {table.doc_tokens[row]:,}; the split has {limit:,} documents"
            )
        if wrong.any():
            return
        variant = (table.example + place.first) // place.variant_examples
        for number in np.unique(variant).tolist():
            if number != self._variant:
                yield from self.finish()
                self._variant = number
            yield from self._add(table, place, variant == number)

    def _add(self, table: Table, place: Place, rows: npt.NDArray[np.bool_]) -> Iterator[str]:
        assert table.number is not None and table.doc_tokens is not None
        document, start, length = table.number[rows], table.start[rows], table.length[rows]
        if not len(document):
            return
        self._grow(int(document.max()) + 1)
        source = np.array([self._sources.setdefault(name, len(self._sources)) for name in table.sources] or [0], dtype=np.int32)
        for name, values, given in (
            ("doc_tokens", self._tokens, table.doc_tokens[rows]),
            ("source", self._source, source[table.source[rows]]),
            ("copy", self._copy, table.copy[rows]),
        ):
            yield from self._check_same(table, name, values, document, given)
        # Once all that the rows say of the document agrees, they may set it.
        self._source[document], self._copy[document] = source[table.source[rows]], table.copy[rows]
        self._tokens[document] = table.doc_tokens[rows]
        shared = self._shared(table, place)[rows]
        self._whole[document[(length == table.doc_tokens[rows]) & (shared == 0)]] = True
        if self._mode == PAIRS:
            self._kept.append((document, start, length))
            return
        np.add.at(self._written, document, length - shared)
        np.add.at(self._chain, document, keys.mix(start + length) - keys.mix(start + shared))

    def _check_same(self, table: Table, name: str, values: Any, document: _Ints, given: Any) -> Iterator[str]:
        """Checks that the segments of a document agree about it, within a table and with the tables before."""
        said = values.copy() if len(values) else values
        known = self._tokens[document] != _UNKNOWN
        said[document[~known]] = given[~known]
        for row in np.flatnonzero(said[document] != given)[:_LISTED].tolist():
            yield (
                f"{table.name}: {name} of document {document[row]:,} of split {self._split} is {given[row]:,} in one segment and "
                f"{said[document[row]]:,} in another"
            )

    def _shared(self, table: Table, place: Place) -> _Ints:
        """Counts the tokens of each segment that stand in the example before as well: int64 [S]."""
        if not self._overlap:
            return np.zeros(len(table), dtype=np.int64)
        if self._mode == "wrap":
            anew = (table.example + place.first) % place.variant_examples == 0
            return np.where(table.begins_record & ~anew, self._overlap, 0)
        # Pieces of `buckets` have a token more, and share none.
        return np.where(table.start > 0, self._overlap if self._mode == "wrap_within_document" else 0, 0)

    def finish(self) -> Iterator[str]:
        """Ends a variant: checks every document, and appends its sums to `variants`."""
        if self._kept:
            self._written = self._union()
        present = np.flatnonzero(self._tokens != _UNKNOWN)
        if self._mode != PAIRS:
            yield from self._check_stretches(present)
        tokens, names = self._tokens[present], list(self._sources)
        of_source = np.bincount(self._source[present], minlength=len(names)).tolist()
        copies = [self._copy[present[self._source[present] == number]] for number in range(len(names))]
        self.variants.append(
            DocumentCounts(
                documents=len(present),
                tokens=int(tokens.sum()),
                written=int(self._written[present].sum()),
                cut=int(np.count_nonzero(~self._whole[present])),
                repeats=int(np.count_nonzero(self._copy[present] > 0)),
                lengths=np.bincount(np.frexp(tokens.astype(np.float64))[1], minlength=64)[:64],
                of_source=dict(zip(names, of_source, strict=True)),
                of_copy={name: np.bincount(np.maximum(own, 0)).tolist() for name, own in zip(names, copies, strict=True)},
            )
        )
        self._clear()

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

    def _check_stretches(self, present: _Ints) -> Iterator[str]:
        """Checks that the stretches of each document join to one, from where and as long as the packing mode leaves it."""
        tokens, written = self._tokens[present], self._written[present]
        first, expected = self._expected(tokens)
        apart = self._chain[present] != keys.mix(first + written) - keys.mix(first)
        if self._mode == "full_sentences":  # an example that is too short may be left out anywhere
            apart &= written == tokens
        wrong = apart | (written > tokens) | (expected is not None and written != expected)
        expected = written if expected is None else expected
        if self._mode == "wrap" and len(present):
            wrong[-1] = apart[-1] or written[-1] > tokens[-1]  # the stream may end inside its last document
            if len(holes := np.flatnonzero(present != np.arange(len(present)))):
                yield f"{self._split}: the tables leave out document {holes[0]:,} of the stream"
        for at in np.flatnonzero(wrong)[:_LISTED].tolist():
            yield (
                f"{self._split}: the segments of document {present[at]:,} hold {written[at]:,} of its {tokens[at]:,} tokens, and not one "
                f"stretch of {expected[at]:,} from token {first[at]:,} on"
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
