"""What the records of a shard hold, counted from their values and from the provenance tables; the counts of several shards add up.

Tested in tests/tokenreel/inspection/test_verification.py and tests/test_reseal.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.format import schema
from tokenreel.inspection import label_checks, objective_counts
from tokenreel.inspection.document_checks import PAIRS, DocumentCounts
from tokenreel.inspection.objective_settings import ObjectiveSettings
from tokenreel.inspection.provenance_checks import Table, count_document_starts
from tokenreel.inspection.record_checks import Place, Records
from tokenreel.inspection.restored import Restored, restore

_FRAME = 3  # tokens of a pair that no document has: [CLS] and two [SEP]


@dataclasses.dataclass
class Tally:
    """The counts of some shards of a split. What is None, or empty, is not known.

    Attributes:
      settings: of the objective.
      examples: how many there are.
      tokens: of documents in them, before the objective; padding is no token.
      document_starts: bits that are set.
      specials: for each special token that the vocabulary has, the number of examples that hold it.
      counts: int64 [ids that occur] how often each id occurs among the tokens.
      complete: whether every record could be counted.
      restored: whether what stood before the objective could be told for every record.
      objective: what the objective did.
      labels: classes and entities, by feature.
      segments: rows of the provenance tables, None where a table is missing or damaged.
      continued: segments that do not begin their document.
      table_starts: document starts that follow from the tables.
      segment_lengths: int64 [64] how many segments have a length of so many binary digits.
      variants: documents of each variant, once they are counted; None where a table cannot be used or does not number documents.
    """

    settings: ObjectiveSettings | None
    examples: int = 0
    tokens: int = 0
    document_starts: int = 0
    specials: dict[str, int] = dataclasses.field(default_factory=dict)
    counts: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    complete: bool = True
    restored: bool = True
    objective: dict[str, Any] = dataclasses.field(default_factory=dict)
    labels: dict[str, Any] = dataclasses.field(default_factory=dict)
    segments: int | None = 0
    continued: int = 0
    table_starts: int = 0
    segment_lengths: npt.NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(64, dtype=np.int64))
    variants: list[DocumentCounts] | None = None

    def add(self, records: Records) -> npt.NDArray[np.int64] | None:
        """Counts the values of records; gives the int64 [n] tokens of each, None where they are not known."""
        self.examples += len(records)
        self.labels = _added(self.labels, label_checks.count(records))
        if records.has_tokens:
            self.document_starts += int(np.count_nonzero(records.starts))
        found = restore(records, self.settings)
        if found is None:
            self.restored = False
            return records.real_tokens if records.has_tokens else None
        frame = _FRAME if records.place.packing.get("mode") == PAIRS else 0
        self.tokens += int(found.counts.sum()) - frame * len(records)
        self._count_ids(found, records.place)
        if self.settings is not None:
            self.objective = _added(self.objective, objective_counts.count(records, self.settings, found))
        return found.counts

    def _count_ids(self, found: Restored, place: Place) -> None:
        vocabulary, pad_id = place.manifest.vocabulary, place.manifest.pad_id
        ids = found.tokens.ravel() if found.real is None else found.tokens[found.real]
        # Ids that the vocabulary does not have are told by another check.
        self.counts = _sum(self.counts, np.bincount(ids[(ids >= 0) & (ids < vocabulary.vocab_size)]))
        for name in ("bos", "eos", "pad", "unk"):
            number = getattr(vocabulary, f"{name}_id")
            if number is not None:
                holds = found.tokens == number
                holding = (holds if found.real is None else holds & found.real).any(axis=1)
                self.specials[name] = self.specials.get(name, 0) + int(np.count_nonzero(holding | (found.padded & (number == pad_id))))

    def add_segments(self, table: Table, place: Place) -> None:
        """Counts the segments of a provenance table by their starts in their documents and their lengths, in tokens."""
        if self.segments is None:
            return
        self.segments += len(table)
        self.continued += int(np.count_nonzero(table.start))
        if schema.DOCUMENT_STARTS not in (feature.name for feature in place.manifest.features):
            self.table_starts += count_document_starts(table, place)
        digits = np.frexp(table.length.astype(np.float64))[1]  # the exponent of 2**(d - 1) <= length < 2**d is d
        self.segment_lengths += np.bincount(np.maximum(digits, 0), minlength=64)[:64]

    def lose_segments(self) -> None:
        """Forgets what the tables say, once one of them cannot be used."""
        self.segments = None

    def merge(self, other: Tally) -> None:
        """Adds the counts of other shards of the split."""
        for name in ("examples", "tokens", "document_starts", "continued", "table_starts"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.complete, self.restored = self.complete and other.complete, self.restored and other.restored
        self.counts = _sum(self.counts, other.counts)
        self.labels = _added(self.labels, other.labels)
        self.specials = {name: self.specials.get(name, 0) + other.specials.get(name, 0) for name in {**self.specials, **other.specials}}
        self.objective = _added(self.objective, other.objective)
        self.segments = None if self.segments is None or other.segments is None else self.segments + other.segments
        self.segment_lengths = self.segment_lengths + other.segment_lengths


def _added(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Adds counts of two parts of a dataset, of which one may not have been counted yet."""
    added: dict[str, Any] = objective_counts.add(first, second) if first and second else first or second
    return added


def _sum(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Adds counts by id, which end at the largest id that occurs."""
    longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
    total = longer.copy()
    total[: len(shorter)] += shorter
    return total
