"""What is derived from `document_starts` and `num_tokens`: segment ids, positions, loss weights, attention boundaries.

A record stores one bit per token and a count; everything a model may want to know about boundaries follows from them on load.

A bit marks where a segment, a part of one document, begins. Position 0 always begins a segment, whatever its bit says: there the bit tells
whether the segment begins its document or goes on with one that was cut. With `align`, segments begin at multiples of it, and a bit
anywhere else marks where the padding behind a segment begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError

Bools = npt.NDArray[np.bool_]
Int32s = npt.NDArray[np.int32]


class SegmentMap:
    """Where the segments of a batch begin and how long they are, with the examples laid end to end.

    Padding counts as segments of number 0: the rest behind the last token of an example, and each gap that `align` leaves. So every
    position belongs to exactly one segment, and every field is one value for each segment, repeated. A batch has few segments and many
    positions: that takes less than half the time of running sums over the positions.

    Args:
      document_starts: bool [n, L] as stored.
      num_tokens: int [n] real tokens of each example; None means that every example is full.
      align: the multiple of positions that each segment takes (`packing.align`).

    Attributes:
      shape: (n, L).
      begins: int64 [segments] first position of each segment, of the n * L.
      lengths: int64 [segments] positions of each.
      row: int64 [segments] example that holds it.
      number: int32 [segments] its number in the example, from 1; 0 for padding.
      is_real: bool [segments] whether it holds tokens.

    >>> found = SegmentMap(np.array([[1, 0, 0, 1, 0]], bool), [4])
    >>> found.begins.tolist(), found.lengths.tolist(), found.number.tolist()
    ([0, 3, 4], [3, 1, 1], [1, 2, 0])
    """

    def __init__(self, document_starts: Bools, num_tokens: npt.ArrayLike | None = None, align: int = 1) -> None:
        self.shape = rows, length = document_starts.shape
        begins = document_starts.copy()
        begins[:, :1] = True
        tokens = None if num_tokens is None else np.asarray(num_tokens).astype(np.int64, copy=False)
        if tokens is not None:
            padded = np.flatnonzero(tokens < length)
            begins[padded, tokens[padded]] = True  # the padding behind the tokens
        self.begins = np.flatnonzero(begins)
        self.lengths = np.diff(self.begins, append=rows * length)
        self.row, column = np.divmod(self.begins, max(length, 1))
        self.is_real = column % align == 0  # a bit between two multiples marks a gap
        if tokens is not None:
            self.is_real &= column < tokens[self.row]
        # Real segments are counted through the whole batch; what was counted before the first of an example is taken off again.
        count = np.cumsum(self.is_real)
        first = np.searchsorted(self.begins, self.row * length)
        self.number = np.where(self.is_real, count - (count - self.is_real)[first], 0).astype(np.int32)

    def segment_ids(self) -> Int32s:
        """Gives each position the number of its segment: int32 [n, L]."""
        return np.repeat(self.number, self.lengths).reshape(self.shape)

    def positions(self) -> Int32s:
        """Counts positions from 0 in each segment: int32 [n, L], 0 in padding."""
        index = np.arange(self.shape[0] * self.shape[1], dtype=np.int32)
        index -= np.repeat(self.begins.astype(np.int32), self.lengths)
        if not self.is_real.all():
            index *= np.repeat(self.is_real, self.lengths)
        return index.reshape(self.shape)

    def bounds(self) -> Bools:
        """Marks where segments and padding begin: bool [n, L]."""
        marks = np.zeros(self.shape[0] * self.shape[1], dtype=np.bool_)
        marks[self.begins] = True
        return marks.reshape(self.shape)

    def next_token_weights(self, *, across_documents: bool = False) -> npt.NDArray[np.float32]:
        """Gives the weights that the function `next_token_weights` gives for these segment ids: float32 [n, L]."""
        weights = np.repeat(self.is_real.astype(np.float32), self.lengths)
        # Only the last position of a segment predicts a token outside it.
        counts = np.zeros(len(self.begins), dtype=np.bool_)
        if across_documents:
            counts[:-1] = self.is_real[:-1] & self.is_real[1:] & (self.row[1:] == self.row[:-1])
        weights[(self.begins + self.lengths - 1)[~counts]] = 0
        return weights.reshape(self.shape)


def segment_ids(document_starts: Bools, num_tokens: npt.ArrayLike | None = None, align: int = 1) -> Int32s:
    """Numbers the segments of each example from 1; padding is 0.

    Args:
      document_starts: bool [n, L].
      num_tokens: int [n]; None means that every example is full.
      align: see the module.

    Returns:
      int32 [n, L].

    >>> segment_ids(np.array([[1, 0, 0, 1, 0]], bool), [4]).tolist()
    [[1, 1, 1, 2, 0]]
    """
    return SegmentMap(document_starts, num_tokens, align).segment_ids()


def positions(document_starts: Bools, num_tokens: npt.ArrayLike | None = None, align: int = 1) -> Int32s:
    """Counts positions from 0 in each segment: int32 [n, L], 0 in padding. Arguments as in `segment_ids`.

    >>> positions(np.array([[1, 0, 0, 1, 0]], bool), [4]).tolist()
    [[0, 1, 2, 0, 0]]
    """
    return SegmentMap(document_starts, num_tokens, align).positions()


def segment_lengths(document_starts: Bools, num_tokens: npt.ArrayLike | None = None, align: int = 1, *, max_segments: int) -> Int32s:
    """Counts the tokens of each segment: int32 [n, max_segments], 0 where there is none. Arguments as in `segment_ids`.

    Raises:
      BuildError: an example has more segments.

    >>> segment_lengths(np.array([[1, 0, 0, 1, 0]], bool), [4], max_segments=3).tolist()
    [[3, 1, 0]]
    """
    found = SegmentMap(document_starts, num_tokens, align)
    most = int(found.number.max(initial=0))
    if most > max_segments:
        raise BuildError(f"an example has {most} segments, room was made for {max_segments}: set packing.max_segments")
    counts = np.zeros((found.shape[0], max_segments), dtype=np.int32)
    real = found.is_real
    counts[found.row[real], found.number[real] - 1] = found.lengths[real]
    return counts


def next_token_weights(ids: npt.NDArray[Any], *, across_documents: bool = False) -> npt.NDArray[np.float32]:
    """Says which next-token predictions count: weight i is for token i + 1, predicted from position i.

    A prediction counts if its target is not padding and, unless `across_documents`, belongs to the same segment. The last position has no
    target in the example: with one token of overlap leave it out (`weights[:, :-1]` goes with `tokens[:, 1:]`), without it is 0.

    Args:
      ids: int [n, L] segment ids.
      across_documents: whether to predict a document's first token from the one before (GPT-2 does).

    Returns:
      float32 [n, L] of 0 and 1.

    >>> next_token_weights(np.array([[1, 1, 1, 2, 2, 0]])).tolist()
    [[1.0, 1.0, 0.0, 1.0, 0.0, 0.0]]
    """
    weights = np.zeros(ids.shape, np.float32)
    counts = ids[:, 1:] > 0
    if not across_documents:
        counts &= ids[:, 1:] == ids[:, :-1]
    else:
        counts &= ids[:, :-1] > 0
    weights[:, :-1] = counts
    return weights


def cu_seqlens(
    document_starts: Bools,
    num_tokens: npt.ArrayLike | None = None,
    align: int = 1,
    *,
    seq_len: int | None = None,
    size: int | None = None,
) -> tuple[Int32s, int]:
    """Gives the cumulative lengths that variable-length attention kernels take, over the batch laid end to end.

    The padding behind a segment is a segment of its own, so the lengths add up to n * L and attention never mixes it with text.
    `batches(features=["cu_seqlens", "max_seqlen"])` gives both for the loader's batches.

    Args:
      document_starts: bool [n, L].
      num_tokens: int [n] or None, as in `segment_ids`.
      align: see the module.
      seq_len: positions of each example that the model reads; None for all L. Where examples overlap by a token, `inputs` are one shorter
        than `document_starts`.
      size: entries wanted, for programs of static shapes; the last value is repeated (segments of length 0).

    Returns:
      int32 [segments + 1] or [size], beginning with 0, and the length of the longest segment.

    Raises:
      BuildError: `size` is too small.

    >>> cu_seqlens(np.array([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0]], bool), [4, 5])[0].tolist()
    [0, 3, 4, 5, 7, 10]
    """
    return cumulative_lengths(SegmentMap(document_starts, num_tokens, align).bounds()[:, :seq_len], size=size)


def cumulative_lengths(bounds: Bools, *, size: int | None = None) -> tuple[Int32s, int]:
    """Does what `cu_seqlens` does, for bounds that are known.

    Args:
      bounds: bool [n, L] where a segment or padding begins; each example begins one.
      size: see `cu_seqlens`.

    Raises:
      BuildError: `size` is too small.

    >>> cumulative_lengths(np.array([[1, 0, 0, 1], [0, 0, 1, 0]], bool))
    (array([0, 3, 4, 6, 8], dtype=int32), 3)
    """
    n, length = bounds.shape
    first = np.arange(length) == 0
    cumulative = np.append(np.flatnonzero(bounds | first), n * length).astype(np.int32)
    longest = int(np.diff(cumulative).max(initial=0))
    if size is not None:
        if size < len(cumulative):
            raise BuildError(f"a batch has {len(cumulative) - 1} segments, cu_seqlens has room for {size - 1}: give size {len(cumulative)}")
        cumulative = np.append(cumulative, np.full(size - len(cumulative), n * length, np.int32))
    return cumulative, longest


def prefix_mask(ids: npt.NDArray[Any], token_positions: npt.NDArray[Any], prefix_lengths: npt.ArrayLike) -> Bools:
    """Marks the tokens that a prefix LM reads in both directions.

    Args:
      ids: int [n, L] segment ids.
      token_positions: int [n, L] positions in each segment.
      prefix_lengths: int [n] for examples of one segment, or [n, max_segments] tokens of each segment's prefix.

    Returns:
      bool [n, L]; padding is False.

    >>> prefix_mask(np.array([[1, 1, 1, 2, 2, 0]]), np.array([[0, 1, 2, 0, 1, 0]]), [[2, 1]]).astype(int).tolist()
    [[1, 1, 0, 1, 0, 0]]
    """
    lengths = np.asarray(prefix_lengths)
    if lengths.ndim == 1:
        lengths = lengths[:, None]
    padded = np.concatenate([np.zeros((len(lengths), 1), lengths.dtype), lengths], axis=1)  # segment 0 is padding
    result: Bools = token_positions < np.take_along_axis(padded, ids.astype(np.int64), axis=1)
    return result


def attention_mask(ids: npt.NDArray[Any], *, causal: bool = True, prefix: Bools | None = None) -> Bools:
    """Says which position (row) may read which (column): its own segment, and with `causal` only what came before or lies in the prefix.

    L * L bits per example: for models without segment-aware kernels, and as the reference for those that have them.

    Args:
      ids: int [n, L] segment ids.
      causal: False lets every token of a segment read every other.
      prefix: bool [n, L] tokens that all of their segment may read.

    Returns:
      bool [n, L, L]. A position of padding reads itself and is read by no other: a row without any would make a softmax NaN, which a
      weight of 0 hides in the loss but not in the gradients.
    """
    mask = (ids[:, :, None] == ids[:, None, :]) & (ids[:, :, None] > 0)
    padding = np.arange(ids.shape[1])
    mask[:, padding, padding] = True
    if causal:
        length = ids.shape[1]
        seen: Bools = np.tri(length, dtype=np.bool_)[None]
        if prefix is not None:
            seen = seen | prefix[:, None, :]
        mask = mask & seen
    result: Bools = mask
    return result
