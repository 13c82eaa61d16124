"""Which part of which document lies where in which example.

A layout is a table of segments computed from the documents' lengths alone; `fill` then copies the tokens. Documents come in their final
order, with lengths that include bos and eos.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged, schema
from tokenreel.config import PackingConfig
from tokenreel.errors import ConfigError

VERSION = "layouts-1"
WRAP = "wrap"
BEST_FIT = "best_fit"


@dataclasses.dataclass(frozen=True)
class Segments:
    """A table of pieces of documents, sorted by example and place.

    Attributes:
      example: [s] int64 example that holds the piece.
      document: [s] int64 index of the document.
      start: [s] int64 first token of the piece in its document.
      length: [s] int64 tokens in the piece.
      num_examples: examples laid out.
    """

    example: npt.NDArray[np.int64]
    document: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    num_examples: int

    @property
    def place(self) -> npt.NDArray[np.int64]:
        """[s] how many tokens of the example come before the piece."""
        before = ragged.offsets_of(self.length)[:-1]
        opening = np.append(True, self.example[1:] != self.example[:-1])[: len(before)]
        first: npt.NDArray[np.int64] = np.repeat(before[opening], np.diff(np.append(np.flatnonzero(opening), len(before))))
        return before - first


def pads(packing: PackingConfig) -> bool:
    """Whether examples may hold padding."""
    return packing.mode != WRAP or packing.last_example == "pad"


def layout(lengths: npt.NDArray[np.int64], packing: PackingConfig) -> Segments:
    """Lays the documents of a group out by the mode of the settings."""
    if packing.mode == BEST_FIT:
        return best_fit(lengths, packing.seq_len)
    raise ConfigError(f"packing.mode must be one of {WRAP}, {BEST_FIT}, got {packing.mode!r}")


def count_wrapped(tokens: int, packing: PackingConfig) -> int:
    """How many examples a stream of tokens makes.

    >>> count_wrapped(25, PackingConfig(seq_len=8)), count_wrapped(25, PackingConfig(seq_len=8, last_example="pad"))
    (3, 4)
    """
    usable = tokens - packing.overlap  # the last token of the stream has no target
    if usable <= 0:
        return 0
    return -(-usable // packing.seq_len) if packing.last_example == "pad" else usable // packing.seq_len


def wrap_range(
    lengths: npt.NDArray[np.int64], first_offset: int, first_example: int, num_examples: int, packing: PackingConfig
) -> Segments:
    """Lays a part of an endless stream out: examples are cut every `seq_len` tokens of the whole, `overlap` tokens longer.

    Args:
      lengths: [n] of neighbouring documents that cover the examples wanted.
      first_offset: token of the stream with which the first of them begins.
      first_example: number in the stream of the first example wanted.
      num_examples: how many are wanted; the last may be short where the documents end.
      packing: `seq_len` and `overlap`.

    Returns:
      segments whose examples are numbered from 0.

    >>> wrap_range(np.array([3, 4]), 0, 0, 2, PackingConfig(seq_len=4)).length.tolist()
    [3, 1, 3]
    """
    seq_len, overlap = packing.seq_len, packing.overlap
    bounds = first_offset + ragged.offsets_of(lengths)
    begins = (first_example + np.arange(num_examples)) * seq_len
    ends = np.minimum(begins + seq_len + overlap, bounds[-1])
    first = np.searchsorted(bounds[1:], begins, side="right")
    last = np.searchsorted(bounds[:-1], ends, side="left")
    counts = np.maximum(last - first, 0)
    example = np.repeat(np.arange(num_examples), counts)
    document = np.arange(len(example)) - np.repeat(ragged.offsets_of(counts)[:-1] - first, counts)
    low = np.maximum(bounds[document], begins[example])
    high = np.minimum(bounds[document + 1], ends[example])
    full = high > low  # a document without tokens lies nowhere
    return Segments(example[full], document[full], (low - bounds[document])[full], (high - low)[full], num_examples)


def best_fit(lengths: npt.NDArray[np.int64], seq_len: int) -> Segments:
    """Best-fit decreasing (Ding et al. 2024, arXiv 2404.10830): documents in the examples with the least sufficient space, longest first.

    A document of more than `seq_len` tokens is cut into full examples and a rest; none that fits is cut. Ties are broken by the order of
    the documents, and among examples with equal space by which came to have it first. It is computed on counts of equal lengths: while
    pieces of one length are placed, an example takes as many as fit before the next one is looked at, because the space it then has left
    is less than what any other sufficient one has.

    >>> segments = best_fit(np.array([14, 7, 5, 2, 3]), seq_len=8)
    >>> segments.example.tolist(), segments.document.tolist(), segments.length.tolist()
    ([0, 1, 2, 2, 3, 3], [0, 1, 0, 3, 2, 4], [8, 7, 6, 2, 5, 3])
    """
    pieces = -(-lengths // seq_len)
    document = np.repeat(np.arange(len(lengths)), pieces)
    start = (np.arange(len(document)) - np.repeat(ragged.offsets_of(pieces)[:-1], pieces)) * seq_len
    length = np.minimum(lengths[document] - start, seq_len)
    order = np.argsort(-length, kind="stable")
    sizes, firsts, counts = np.unique(-length[order], return_index=True, return_counts=True)
    example = np.empty(len(order), dtype=np.int64)
    spaces = _Spaces(seq_len)
    for size, first, count in zip((-sizes).tolist(), firsts.tolist(), counts.tolist(), strict=True):
        at = first
        while at < first + count:
            space = spaces.smallest(size)
            each = space // size
            rows = spaces.pop(space, -(-(first + count - at) // each))
            placed = min(len(rows) * each, first + count - at)
            example[at : at + placed] = np.repeat(rows, each)[:placed]
            full = placed // each
            spaces.push(space - each * size, rows[:full])
            spaces.push(space - (placed - full * each) * size, rows[full:])
            at += placed
    by_example = np.argsort(example, kind="stable")
    order = order[by_example]
    return Segments(example[by_example], document[order], start[order], length[order], spaces.examples)


class _Spaces:
    """Examples by the space they have left, first come first served; an empty example is made when no other fits."""

    def __init__(self, seq_len: int) -> None:
        self.examples = 0
        self._seq_len = seq_len
        self._queues: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(seq_len + 1)]
        self._filled = 0  # bit s: some example has space s

    def smallest(self, size: int) -> int:
        """The least space of at least `size`; that of an empty example if there is none."""
        sufficient = self._filled >> size
        return size + (sufficient & -sufficient).bit_length() - 1 if sufficient else self._seq_len

    def pop(self, space: int, wanted: int) -> npt.NDArray[np.int64]:
        """Takes at most `wanted` examples of a space, at least one."""
        queue = self._queues[space]
        if not queue:
            self.examples += wanted
            return np.arange(self.examples - wanted, self.examples)
        rows = queue[0]
        if len(rows) > wanted:
            queue[0] = rows[wanted:]
            return rows[:wanted]
        queue.pop(0)
        if not queue:
            self._filled &= ~(1 << space)
        return rows

    def push(self, space: int, rows: npt.NDArray[np.int64]) -> None:
        """Adds examples behind those of equal space."""
        if space and len(rows):
            self._queues[space].append(rows)
            self._filled |= 1 << space


def select(segments: Segments, examples: npt.NDArray[np.int64]) -> Segments:
    """Keeps some examples, in the order given, numbered from 0."""
    bounds = np.searchsorted(segments.example, np.arange(segments.num_examples + 1))
    counts = np.diff(bounds)[examples]
    picked = np.arange(int(counts.sum())) - np.repeat(ragged.offsets_of(counts)[:-1] - bounds[examples], counts)
    example = np.repeat(np.arange(len(examples)), counts)
    return Segments(example, segments.document[picked], segments.start[picked], segments.length[picked], len(examples))


def fill(
    tokens: npt.NDArray[Any], lengths: npt.NDArray[np.int64], segments: Segments, packing: PackingConfig, pad_id: int
) -> dict[str, npt.NDArray[Any]]:
    """Copies the tokens to where the layout says.

    Args:
      tokens: documents end to end.
      lengths: [n] tokens of each.
      segments: the layout.
      packing: as it was laid out by.
      pad_id: for places that no segment covers.

    Returns:
      `tokens` [examples, seq_len + overlap], `document_starts` of the same shape and, where the layout pads, `num_tokens` [examples].
    """
    width = packing.seq_len + packing.overlap
    source = ragged.offsets_of(lengths)[segments.document] + segments.start
    counts = np.bincount(segments.example, weights=segments.length, minlength=segments.num_examples).astype(np.int64)
    if packing.mode == WRAP:  # neighbouring examples are neighbours in the stream
        flat = _windows(tokens, int(source[0]), segments.num_examples, packing.seq_len, width) if len(source) else tokens[:0]
    else:
        flat = _pieces(tokens, source, segments.length)
    out = np.empty((segments.num_examples, width), dtype=tokens.dtype)
    if counts.sum() == out.size:
        out[:] = flat.reshape(out.shape)
    else:
        real = np.arange(width) < counts[:, None]
        out[real] = flat.ravel()
        out[~real] = pad_id
    starts = np.zeros(out.shape, dtype=bool)
    begins = segments.start == 0 if packing.mode == WRAP else slice(None)
    starts[segments.example[begins], segments.place[begins]] = True
    arrays = {schema.TOKENS: out, schema.DOCUMENT_STARTS: starts}
    if pads(packing):
        arrays[schema.NUM_TOKENS] = counts.astype(np.int32)
    return arrays


def _windows(tokens: npt.NDArray[Any], first: int, count: int, step: int, width: int) -> npt.NDArray[Any]:
    """Cuts [count, width] windows, `step` tokens apart; where the tokens end early, the last is short and the result flat."""
    end = first + (count - 1) * step + width
    if end <= len(tokens):
        return np.lib.stride_tricks.sliding_window_view(tokens[first:end], width)[::step]
    whole = _windows(tokens, first, count - 1, step, width).ravel() if count > 1 else tokens[:0]
    return np.concatenate([whole, tokens[first + (count - 1) * step :]])


def _pieces(tokens: npt.NDArray[Any], source: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Copies ranges that do not overlap end to end."""
    by_source = np.argsort(source, kind="stable")
    # What lies between the ranges wanted becomes ranges of its own, so that all of them are one ragged array.
    bounds = np.empty(2 * len(source), dtype=np.int64)
    bounds[0::2] = source[by_source]
    bounds[1::2] = bounds[0::2] + length[by_source]
    rank = np.empty(len(source), dtype=np.int64)
    rank[by_source] = np.arange(len(source)) * 2
    return ragged.take(tokens, bounds, rank)[0]
