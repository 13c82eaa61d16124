"""Plans which share of each source a sample takes, from counts alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.config.corpus import ExecutionConfig
from tokenreel.config.tokenizer import Shares
from tokenreel.errors import BuildError
from tokenreel.sources import losses

BUCKETS = 1 << 16  # the upper 16 bits of a hash
SHIFT = np.uint64(48)  # from a hash to its bucket

# Text is more or less than the bytes of its files; a document is written in the first reading if it may be needed by this much.
_MARGIN = 1.5


def cut_lengths(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Counts the bytes of each document that are sampled: at most `limit`, and whole characters only.

    Args:
      text: [num_bytes] uint8, valid UTF-8, n documents end to end.
      offsets: [n + 1] int64 bounds of the documents in `text`.
      limit: most bytes of a document.

    Returns:
      [n] int64.

    >>> text = np.frombuffer("aéab".encode(), np.uint8)
    >>> cut_lengths(text, np.array([0, 3, 5]), 2).tolist()
    [1, 2]
    """
    lengths = np.diff(offsets)
    long = np.flatnonzero(lengths > limit)
    if len(long):
        ends = offsets[long] + limit
        for _ in range(3):  # a character has at most 3 bytes after its first
            ends -= (text[ends] & 0xC0) == 0x80
        lengths[long] = np.maximum(ends - offsets[long], 0)
    return lengths


@dataclasses.dataclass
class Measured:
    """Counts of one part of a block, for the plan of its source.

    Attributes:
      source: index of the source.
      buckets: [b] int64 buckets that hold something, ascending.
      bytes: [b] int64 bytes in each bucket, of documents as they are cut.
      documents: number of documents that are not empty.
      text_bytes: bytes in them, uncut.
      cut_documents: number of documents that are longer than the limit.
      faults: number of documents that could not be read, by reason.
      left_out: number of documents that filters left out, by reason.
      examples: some of the faults: file, position and message.
      lost_bytes: about how many bytes on disk could not be read.
    """

    source: int
    buckets: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]
    documents: int
    text_bytes: int
    cut_documents: int
    faults: Mapping[str, int]
    left_out: Mapping[str, int]
    examples: Sequence[tuple[str, int, str]]
    lost_bytes: int = 0


class Totals:
    """The sum of what was measured, source by source; the order of summing does not matter.

    Attributes:
      bytes: [num_sources, BUCKETS] int64 bytes of documents as they are cut.
      documents, text_bytes, cut_documents, lost_bytes: [num_sources] int64, as in `Measured`.
      faults: for each source, the documents that could not be read, by reason.
      left_out: for each source, the documents that filters left out, by reason.
      examples: for each source, the first faults, by (file, position).
    """

    def __init__(self, sources: int) -> None:
        self.bytes = np.zeros((sources, BUCKETS), dtype=np.int64)
        self.documents, self.text_bytes, self.cut_documents, self.lost_bytes = (np.zeros(sources, dtype=np.int64) for _ in range(4))
        self.faults: list[Counter[str]] = [Counter() for _ in range(sources)]
        self.left_out: list[Counter[str]] = [Counter() for _ in range(sources)]
        self.examples: list[list[tuple[str, int, str]]] = [[] for _ in range(sources)]

    def add(self, part: Measured) -> None:
        """Adds one part of a block."""
        source = part.source
        self.bytes[source, part.buckets] += part.bytes
        self.documents[source] += part.documents
        self.text_bytes[source] += part.text_bytes
        self.cut_documents[source] += part.cut_documents
        self.faults[source].update(part.faults)
        self.left_out[source].update(part.left_out)
        self.lost_bytes[source] += part.lost_bytes
        self._show(source, part.examples)

    def merge(self, other: Totals) -> None:
        """Adds another sum."""
        self.bytes += other.bytes
        self.documents += other.documents
        self.text_bytes += other.text_bytes
        self.cut_documents += other.cut_documents
        for mine, theirs in zip([*self.faults, *self.left_out], [*other.faults, *other.left_out], strict=True):
            mine.update(theirs)
        self.lost_bytes += other.lost_bytes
        for source, examples in enumerate(other.examples):
            self._show(source, examples)

    def _show(self, source: int, examples: Sequence[tuple[str, int, str]]) -> None:
        """Adds faults, and keeps the first."""
        self.examples[source] = sorted([*self.examples[source], *examples])[: losses.SHOWN]


def check(
    totals: Totals,
    inputs: Mapping[str, Any],
    execution: ExecutionConfig,
    note: Callable[[str], object] = str,
    empty: Iterable[tuple[int, str, Mapping[str, int]]] = (),
    where: str = "",
) -> None:
    """Checks that there is text, and that most of each source could be read.

    Args:
      totals: the sum of what was measured in all blocks.
      inputs: the files and bytes of each source, as the listing found them.
      execution: how much may be lost.
      note: told what is lost and allowed.
      empty: files that gave dead letters alone: their source, name, and number of documents by reason.
      where: says where the dead letters are, for messages.

    Raises:
      BuildError: no document holds any text, too many of a source could not be read, or none of a source or a file.
    """
    found = losses.start(inputs)
    for index, loss in enumerate(found):
        loss.documents = int(totals.documents[index]) + sum(totals.left_out[index].values())
        loss.dead_letters, loss.lost_bytes = totals.faults[index], int(totals.lost_bytes[index])
        loss.add_first(f"{file} byte {position:,}: {losses.shorten(message)}" for file, position, message in totals.examples[index])
    for source, name, reasons in empty:
        found[source].add_empty([(name, reasons)], 1)
    losses.check_fraction(found, execution, where)
    if not totals.documents.any():
        left_out: Counter[str] = sum(totals.left_out, Counter())
        why = f" All {left_out.total():,} documents were left out: {losses.counts(left_out)}."
        raise BuildError(
            f"the sources {', '.join(inputs)} hold no text to train on.{why if left_out else ''} Check sources, filters and splits."
        )
    losses.check_empty(found, execution, note, where)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """How much of each source is sampled, and where its documents are.

    Attributes:
      quotas: bytes of the sample from each source.
      held_out: bytes of other documents to measure on, from each source.
      limits: number of buckets, from the first on, in which the documents of each source lie.
    """

    quotas: tuple[int, ...]
    held_out: tuple[int, ...]
    limits: tuple[int, ...]


def share(budget: int, weights: Sequence[int | Fraction], available: Sequence[int]) -> tuple[int, ...]:
    """Divides a budget by weights; what a source has too little of goes to the others, by their weights.

    Worked out in fractions, so that no platform rounds otherwise.

    >>> share(100, [1, 1, 2], [10, 1000, 1000])
    (10, 30, 60)
    >>> share(100, [1, 1], [20, 30])
    (20, 30)
    """
    quotas = [0] * len(weights)
    left, unsettled = Fraction(budget), [i for i in range(len(weights)) if available[i]]
    while unsettled:
        total = sum((weights[i] for i in unsettled), Fraction(0))
        small = [i for i in unsettled if available[i] <= left * weights[i] / total]
        for i in small or unsettled:
            quotas[i] = available[i] if small else int(left * weights[i] / total)
        if not small:
            break
        left -= sum(available[i] for i in small)
        unsettled = [i for i in unsettled if i not in small]
    return tuple(quotas)


def plan(totals: Totals, budget: int | None, held_out_bytes: int, shares: Shares, max_document_bytes: int) -> SamplePlan:
    """Decides the sample from the counts.

    Args:
      totals: the sum of what was measured in all blocks.
      budget: bytes to sample; None samples nothing, for what is fitted on the whole text, and takes the first documents to measure on.
      held_out_bytes: bytes of other documents to measure on.
      shares: says how the budget is divided among the sources.
      max_document_bytes: where documents are cut.
    """
    cumulative = np.cumsum(totals.bytes, axis=1)
    available = [int(total) for total in cumulative[:, -1]]
    weights = shares.of(available)
    quotas = (0,) * len(available) if budget is None else share(budget, weights, available)
    sampled = [n if q or budget is None else 0 for n, q in zip(available, quotas, strict=True)]
    held_out = share(held_out_bytes, weights if budget is None else quotas, sampled)
    # The last document of a sample may be a long one, and what is held out begins after it.
    needed = [q + h + max_document_bytes if q + h else 0 for q, h in zip(quotas, held_out, strict=True)]
    limits = [min(BUCKETS, int(np.searchsorted(row, need)) + 1) if need else 0 for row, need in zip(cumulative, needed, strict=True)]
    return SamplePlan(quotas=quotas, held_out=held_out, limits=tuple(limits))


def guess_limits(
    budget: int | None, held_out_bytes: int, shares: Shares, max_document_bytes: int, file_bytes: Sequence[int]
) -> tuple[int, ...]:
    """Guesses how many buckets of each source are needed, so that most jobs read the text once; too low a guess costs a second reading."""
    weights = shares.of(file_bytes)
    parts = [float(weight / (sum(weights) or 1)) for weight in weights]
    needed = [((budget or 0) + held_out_bytes) * part * _MARGIN + max_document_bytes for part in parts]
    return tuple(min(BUCKETS, int(BUCKETS * need / max(size, 1)) + 1) for need, size in zip(needed, file_bytes, strict=True))
