"""A sample of documents that depends on the text and the seed alone, found without moving the text.

Every document has a hash of (seed, its key). The sample of a source is its documents with the smallest hashes, up to a number of bytes.
Each worker counts bytes by *bucket*, the upper 16 bits of the hash; the sum over all workers tells at which bucket the budget is full; only
documents below it are written to files, and one worker cuts the last bucket exactly.
"""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config.tokenizer import Shares
from tokenreel.errors import BuildError
from tokenreel.storage import files
from tokenreel.tokenizer_text import Texts

BUCKETS = 1 << 16

_SHIFT = np.uint64(48)

_FAULTS_SHOWN = 3

# Text is more or less than the bytes of its files; a document is written in the first reading if it may be needed by this much.
_MARGIN = 1.5


def hash_documents(seed: int, key: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hashes documents to the numbers by which they are sampled: uint64 [n], different for different keys."""
    return keys.streams(seed, "tokenizer/sample", key)


def cut_lengths(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Counts the bytes of each document that are sampled: at most `limit`, and whole characters only.

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
    """What one part of a block tells about its source.

    Attributes:
      source: index of the source.
      buckets: [b] int64 buckets that hold something, ascending.
      bytes: [b] int64 in each, documents cut.
      documents: that are not empty.
      text_bytes: in them, uncut.
      cut_documents: longer than the limit.
      faults: documents that could not be read, by reason.
      left_out: documents that were, by reason.
      examples: some of the faults, where and why.
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


@dataclasses.dataclass
class Candidates:
    """Some documents of a source, cut, in the order of their hashes.

    Attributes:
      hashes: [n] uint64.
      text: [bytes] uint8, end to end.
      offsets: [n + 1] int64.
    """

    hashes: npt.NDArray[np.uint64]
    text: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def document(self, i: int) -> bytes:
        """Gives the text of a document."""
        return self.text[self.offsets[i] : self.offsets[i + 1]].tobytes()


def measure(documents: Texts, source: int, seed: int, max_document_bytes: int, limit: int) -> tuple[Measured, Candidates]:
    """Counts documents by bucket, and takes those in the first `limit` buckets.

    Args:
      documents: [n] documents.
      source: their index.
      seed: decides which documents are chosen.
      max_document_bytes: where documents are cut.
      limit: number of buckets to take.
    """
    hashes = hash_documents(seed, documents.key)
    lengths = cut_lengths(documents.text, documents.offsets, max_document_bytes)
    buckets = (hashes >> _SHIFT).astype(np.int64)
    full = lengths > 0
    found, inverse = np.unique(buckets[full], return_inverse=True)
    sizes = np.zeros(len(found), dtype=np.int64)
    np.add.at(sizes, inverse, lengths[full])
    whole = np.diff(documents.offsets)
    measured = Measured(
        source=source,
        buckets=found,
        bytes=sizes,
        documents=int(np.count_nonzero(full)),
        text_bytes=int(whole.sum()),
        cut_documents=int(np.count_nonzero(lengths < whole)),
        faults=dict(Counter(fault.reason for fault in documents.faults)),
        left_out=documents.left_out,
        examples=[(fault.file, fault.position, fault.message) for fault in documents.faults[:_FAULTS_SHOWN]],
    )
    taken = np.flatnonzero(full & (buckets < limit))
    taken = taken[np.argsort(hashes[taken], kind="stable")]
    if not len(taken):
        nothing = Candidates(hashes[:0], documents.text[:0], np.zeros(1, dtype=np.int64))
        return measured, nothing
    text, offsets = ragged.take(documents.text, documents.offsets, taken)
    if (lengths[taken] < whole[taken]).any():  # keep the beginnings
        position = np.arange(len(text)) - np.repeat(offsets[:-1], np.diff(offsets))
        text = text[position < np.repeat(lengths[taken], np.diff(offsets))]
        offsets = ragged.offsets_of(lengths[taken])
    return measured, Candidates(hashes[taken], text, offsets)


class Totals:
    """The sum of what was measured, source by source; the order of summing does not matter.

    Attributes:
      bytes: [sources, BUCKETS] int64.
      documents, text_bytes, cut_documents: [sources] int64.
      faults: documents that could not be read, by reason, for each source.
      left_out: documents that were, likewise.
      examples: the first of them by (source, file, position).
    """

    def __init__(self, sources: int) -> None:
        self.bytes = np.zeros((sources, BUCKETS), dtype=np.int64)
        self.documents, self.text_bytes, self.cut_documents = (np.zeros(sources, dtype=np.int64) for _ in range(3))
        self.faults: list[Counter[str]] = [Counter() for _ in range(sources)]
        self.left_out: list[Counter[str]] = [Counter() for _ in range(sources)]
        self.examples: list[tuple[int, str, int, str]] = []

    def add(self, part: Measured) -> None:
        """Adds one part of a block."""
        source = part.source
        self.bytes[source, part.buckets] += part.bytes
        self.documents[source] += part.documents
        self.text_bytes[source] += part.text_bytes
        self.cut_documents[source] += part.cut_documents
        self.faults[source].update(part.faults)
        self.left_out[source].update(part.left_out)
        self.examples = sorted([*self.examples, *((source, *example) for example in part.examples)])[:_FAULTS_SHOWN]

    def merge(self, other: Totals) -> None:
        """Adds another sum."""
        self.bytes += other.bytes
        self.documents += other.documents
        self.text_bytes += other.text_bytes
        self.cut_documents += other.cut_documents
        for mine, theirs in zip([*self.faults, *self.left_out], [*other.faults, *other.left_out], strict=True):
            mine.update(theirs)
        self.examples = sorted([*self.examples, *other.examples])[:_FAULTS_SHOWN]


def check(totals: Totals, names: Sequence[str], max_dead_letter_fraction: float) -> None:
    """Checks that there is text, and that most of it could be read.

    Raises:
      BuildError: no document holds any text, or too many could not be read.
    """
    dead, left_out = (sum(sum(counts.values()) for counts in counters) for counters in (totals.faults, totals.left_out))
    read = int(totals.documents.sum()) + left_out
    if dead > max_dead_letter_fraction * (dead + read):
        places = "\n  ".join(f"{names[source]}: {file} byte {position:,}: {message}" for source, file, position, message in totals.examples)
        raise BuildError(
            f"{dead:,} of {dead + read:,} documents could not be read, more than execution.max_dead_letter_fraction = "
            f"{max_dead_letter_fraction:g} allows. The first:\n  {places}"
        )
    if not totals.documents.any():
        reasons: Counter[str] = sum(totals.left_out, Counter())
        why = f" All {left_out:,} documents were left out: {', '.join(f'{n:,} {reason}' for reason, n in reasons.most_common())}."
        raise BuildError(
            f"the sources {', '.join(names)} hold no text to train on.{why if left_out else ''} Check sources, filters and splits."
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplePlan:
    """How much of each source is sampled, and where its documents are.

    Attributes:
      quotas: bytes of the sample from each source.
      held_out: bytes of other documents to measure on.
      limits: the documents are in the first so many buckets.
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
      held_out_bytes: to measure on.
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


def write_candidates(path: str, candidates: Candidates) -> None:
    """Writes documents for the worker that trains."""
    buffer = io.BytesIO()
    np.savez(buffer, hashes=candidates.hashes, text=candidates.text, offsets=candidates.offsets)
    files.write_bytes(path, buffer.getvalue())


def read_candidates(path: str, limit: int = BUCKETS) -> Candidates:
    """Reads those of the documents that `write_candidates` wrote that lie in the first `limit` buckets."""
    with np.load(io.BytesIO(files.read_bytes(path))) as arrays:
        hashes, offsets, text = arrays["hashes"], arrays["offsets"], arrays["text"]
    count = int(np.searchsorted(hashes >> _SHIFT, np.uint64(limit)))
    return Candidates(hashes[:count], text[: offsets[count]].copy(), offsets[: count + 1])  # a copy, so that the rest is given back


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A sampled document.

    Attributes:
      source: its index.
      hash: its place in the order.
      text: UTF-8; of the document at the end of a quota the beginning.
    """

    source: int
    hash: int
    text: bytes


class Sample:
    """The chosen documents, in the order of their hashes.

    Attributes:
      bytes, documents: [sources] of the sample.
      measured_on: for each source "held_out", or "sample" where the sample took everything there is.
    """

    def __init__(self, sample_plan: SamplePlan, parts: Iterable[tuple[int, str]]) -> None:
        """Reads the files of candidates: memory for the sample, once.

        Args:
          sample_plan: what to take.
          parts: (source, path) of the files.
        """
        sources = len(sample_plan.quotas)
        self.bytes, self.documents = [0] * sources, [0] * sources
        self.measured_on = ["held_out"] * sources
        self._plan = sample_plan
        self._parts: list[list[Candidates]] = [[] for _ in range(sources)]
        for source, path in parts:
            self._parts[source].append(read_candidates(path, sample_plan.limits[source]))
        self._sample: list[tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64], bytes]] = []
        self._held_out: list[list[bytes]] = []
        for source in range(sources):
            self._choose(source)

    def _choose(self, source: int) -> None:
        parts, quota, wanted = self._parts[source], self._plan.quotas[source], self._plan.held_out[source]
        hashes = np.concatenate([np.zeros(0, dtype=np.uint64), *(part.hashes for part in parts)])
        part = np.repeat(np.arange(len(parts)), [len(one.hashes) for one in parts]).astype(np.int64)
        row = np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(len(one.hashes)) for one in parts)])
        order = np.argsort(hashes, kind="stable")
        for start, end in _runs(hashes[order]):  # documents of one name: by their text, so that where they lie does not matter
            order[start:end] = sorted(order[start:end].tolist(), key=lambda i: parts[part[i]].document(int(row[i])))
        hashes, part, row = hashes[order], part[order], row[order]
        sizes = np.concatenate([np.zeros(0, dtype=np.int64), *(np.diff(one.offsets) for one in parts)])[order]
        ends = np.cumsum(sizes)
        count = min(int(np.searchsorted(ends, quota)) + 1, len(ends)) if quota else 0  # the last is the one that fills the quota
        before = int(ends[count - 2]) if count > 1 else 0
        last = _cut(parts[part[count - 1]].document(int(row[count - 1])), quota - before) if count else b""
        self._sample.append((hashes[:count], part[:count], row[:count], last))
        self.documents[source], self.bytes[source] = count - (count > 0 and not last), before + len(last)
        everything = count == len(ends) or not any(self._plan.quotas)
        self.measured_on[source] = "sample" if everything else "held_out"
        first = 0 if everything else count
        before = int(ends[first - 1]) if first else 0
        end = min(int(np.searchsorted(ends, before + wanted)) + 1, len(ends)) if wanted else first
        self._held_out.append([parts[part[i]].document(int(row[i])) for i in range(first, end)])

    def __iter__(self) -> Iterator[Chosen]:
        hashes = np.concatenate([found[0] for found in self._sample])
        source = np.repeat(np.arange(len(self._sample)), [len(found[0]) for found in self._sample])
        place = np.concatenate([np.arange(len(found[0])) for found in self._sample])
        for i in np.argsort(hashes, kind="stable"):
            s, at = int(source[i]), int(place[i])
            _, part, row, last = self._sample[s]
            text = last if at == len(row) - 1 else self._parts[s][part[at]].document(int(row[at]))
            if text:
                yield Chosen(s, int(hashes[i]), text)

    def held_out(self, source: int) -> list[bytes]:
        """Gives the documents to measure on: those after the sample, or the first of it where nothing is left."""
        return self._held_out[source]


def _runs(values: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Finds the bounds of the runs of equal values that are longer than 1, in sorted values."""
    bounds = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]])) if len(values) else np.zeros(1, dtype=np.int64)
    for i in np.flatnonzero(np.diff(bounds) > 1):
        yield int(bounds[i]), int(bounds[i + 1])


def _cut(text: bytes, size: int) -> bytes:
    return text[: int(cut_lengths(np.frombuffer(text, dtype=np.uint8), np.array([0, len(text)]), size)[0])] if size < len(text) else text
