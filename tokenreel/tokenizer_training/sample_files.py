"""Writes and reads the candidates of a sample."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from tokenreel.storage import files
from tokenreel.tokenizer_training.sample_plan import BUCKETS, SHIFT, SamplePlan, cut_lengths


@dataclasses.dataclass
class Candidates:
    """Some documents of a source, cut, in the order of their hashes.

    Attributes:
      hashes: [n] uint64.
      text: [num_bytes] uint8, documents end to end.
      offsets: [n + 1] int64 bounds of the documents in `text`.
    """

    hashes: npt.NDArray[np.uint64]
    text: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    def document(self, i: int) -> bytes:
        """Gives the text of a document."""
        return self.text[self.offsets[i] : self.offsets[i + 1]].tobytes()


def write_candidates(path: str, candidates: Candidates) -> None:
    """Writes documents for the worker that trains."""
    buffer = io.BytesIO()
    np.savez(buffer, hashes=candidates.hashes, text=candidates.text, offsets=candidates.offsets)
    files.write_bytes(path, buffer.getvalue())


def read_candidates(path: str, limit: int = BUCKETS) -> Candidates:
    """Reads those of the documents that `write_candidates` wrote that lie in the first `limit` buckets."""
    with np.load(io.BytesIO(files.read_bytes(path))) as arrays:
        hashes, offsets, text = arrays["hashes"], arrays["offsets"], arrays["text"]
    count = int(np.searchsorted(hashes >> SHIFT, np.uint64(limit)))
    return Candidates(hashes[:count], text[: offsets[count]].copy(), offsets[: count + 1])  # a copy, so that the rest is given back


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A sampled document.

    Attributes:
      source: index of its source.
      hash: what it is sampled and sorted by.
      text: UTF-8; of the document at the end of a quota the beginning.
    """

    source: int
    hash: int
    text: bytes


class Sample:
    """The chosen documents, in the order of their hashes.

    Attributes:
      bytes: bytes of the sample from each source.
      documents: documents of the sample from each source.
      measured_on: for each source "held_out", or "sample" where the sample took everything there is.
    """

    def __init__(self, sample_plan: SamplePlan, parts: Iterable[tuple[int, str]]) -> None:
        """Reads the files of candidates: memory for the sample, once.

        Args:
          sample_plan: what to take of each source.
          parts: (source, path) of the files, in any order.
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
        """Takes the documents of a source with the smallest hashes, as many as fill its quota, and those after them to measure on."""
        parts, quota, wanted = self._parts[source], self._plan.quotas[source], self._plan.held_out[source]
        hashes = np.concatenate([np.zeros(0, dtype=np.uint64), *(part.hashes for part in parts)])
        part = np.repeat(np.arange(len(parts)), [len(one.hashes) for one in parts]).astype(np.int64)
        row = np.concatenate([np.zeros(0, dtype=np.int64), *(np.arange(len(one.hashes)) for one in parts)])
        order = np.argsort(hashes, kind="stable")
        for start, end in _sorted_runs(hashes[order]):  # documents of one name: by their text, so that where they lie does not matter
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


def _sorted_runs(values: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """Yields the bounds of the sorted runs of equal values that are longer than 1, in [n] uint64 ascending values."""
    bounds = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]])) if len(values) else np.zeros(1, dtype=np.int64)
    for i in np.flatnonzero(np.diff(bounds) > 1):
        yield int(bounds[i]), int(bounds[i + 1])


def _cut(text: bytes, size: int) -> bytes:
    """Takes the first characters of a text, in at most `size` bytes."""
    return text[: int(cut_lengths(np.frombuffer(text, dtype=np.uint8), np.array([0, len(text)]), size)[0])] if size < len(text) else text
