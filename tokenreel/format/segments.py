"""What is derived from `document_starts` and `num_tokens`: segment ids, positions, loss weights, attention boundaries.

A record stores one bit per token and a count; everything a model may want to know about boundaries follows from them on load.

A bit marks where a piece of a document begins. Position 0 always begins a piece, whatever its bit says: there the bit tells whether the
piece begins its document or goes on with one that was cut. With `align`, pieces begin at multiples of it, and a bit anywhere else marks
where the padding behind a piece begins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError

Bools = npt.NDArray[np.bool_]

Int32s = npt.NDArray[np.int32]


def _tokens_per_example(document_starts: Bools, num_tokens: npt.ArrayLike | None) -> npt.NDArray[np.int64]:
    n, length = document_starts.shape
    return np.full(n, length) if num_tokens is None else np.asarray(num_tokens).astype(np.int64)


def segment_ids(document_starts: Bools, num_tokens: npt.ArrayLike | None = None, align: int = 1) -> Int32s:
    """Numbers the pieces of each example from 1; padding is 0.

    Args:
      document_starts: bool [n, L].
      num_tokens: int [n]; None means that every example is full.
      align: see the module.

    Returns:
      int32 [n, L].

    >>> segment_ids(np.array([[1, 0, 0, 1, 0]], bool), [4]).tolist()
    [[1, 1, 1, 2, 0]]
    """
    length = document_starts.shape[1]
    begins = document_starts
    if align > 1:
        aligned = np.arange(length) % align == 0
        begins = document_starts & aligned
    ids = np.cumsum(begins, axis=1, dtype=np.int32)
    if length:
        ids += ~document_starts[:, :1]
    if align > 1 and (document_starts & ~aligned).any():
        # The last bit at or before a position says whether it lies in a gap.
        bit = np.where(document_starts, np.arange(length, dtype=np.int32) * 2 + ~aligned, 0)
        ids[np.maximum.accumulate(bit, axis=1) % 2 == 1] = 0
    if num_tokens is not None:
        ids[np.arange(length) >= _tokens_per_example(document_starts, num_tokens)[:, None]] = 0
    return ids


def positions(document_starts: Bools, num_tokens: npt.ArrayLike | None = None, align: int = 1) -> Int32s:
    """Counts positions from 0 in each piece; padding is 0. Arguments as in `segment_ids`.

    >>> positions(np.array([[1, 0, 0, 1, 0]], bool), [4]).tolist()
    [[0, 1, 2, 0, 0]]
    """
    length = document_starts.shape[1]
    index = np.arange(length, dtype=np.int32)
    begins = document_starts & (index % align == 0) if align > 1 else document_starts
    result = index - np.maximum.accumulate(np.where(begins, index, 0), axis=1)
    if num_tokens is not None or align > 1:
        result[segment_ids(document_starts, num_tokens, align) == 0] = 0
    return result.astype(np.int32, copy=False)


def segment_lengths(document_starts: Bools, num_tokens: npt.ArrayLike | None = None, align: int = 1, *, max_segments: int) -> Int32s:
    """Counts the tokens of each piece, int32 [n, max_segments], 0 where there is none.

    Raises:
      BuildError: an example has more pieces.

    >>> segment_lengths(np.array([[1, 0, 0, 1, 0]], bool), [4], max_segments=3).tolist()
    [[3, 1, 0]]
    """
    ids = segment_ids(document_starts, num_tokens, align)
    if ids.size and ids.max() > max_segments:
        raise BuildError(f"an example has {ids.max()} segments, room was made for {max_segments}: set packing.max_segments")
    n = len(ids)
    flat = (ids + np.arange(n, dtype=np.int64)[:, None] * (max_segments + 1)).ravel()
    counts = np.bincount(flat, minlength=n * (max_segments + 1)).reshape(n, max_segments + 1)
    return counts[:, 1:].astype(np.int32)


def next_token_weights(ids: npt.NDArray[Any], *, across_documents: bool = False) -> npt.NDArray[np.float32]:
    """Says which next-token predictions count: weight i is for token i + 1, predicted from position i.

    A prediction counts if its target is not padding and, unless `across_documents`, belongs to the same piece. The last position has no
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
    document_starts: Bools, num_tokens: npt.ArrayLike | None = None, align: int = 1, *, size: int | None = None
) -> tuple[Int32s, int]:
    """Gives the cumulative lengths that variable-length attention kernels take, over the batch laid end to end.

    The padding behind a piece is a piece of its own, so the lengths add up to n * L and attention never mixes it with text.

    Args:
      document_starts: bool [n, L].
      num_tokens: int [n] or None, as in `segment_ids`.
      align: see the module.
      size: entries wanted, for programs of static shapes; the last value is repeated (pieces of length 0).

    Returns:
      int32 [pieces + 1] or [size], beginning with 0, and the length of the longest piece.

    Raises:
      BuildError: `size` is too small.

    >>> cu_seqlens(np.array([[1, 0, 0, 1, 0], [0, 0, 1, 0, 0]], bool), [4, 5])[0].tolist()
    [0, 3, 4, 5, 7, 10]
    """
    n, length = document_starts.shape
    begins = document_starts.copy()
    if num_tokens is not None:
        tokens = _tokens_per_example(document_starts, num_tokens)
        padded = np.flatnonzero(tokens < length)
        begins[padded, tokens[padded]] = True
    if length:
        begins[:, 0] = True
    cumulative = np.append(np.flatnonzero(begins), n * length).astype(np.int32)
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
      token_positions: int [n, L] positions in each piece.
      prefix_lengths: int [n] for examples of one piece, or [n, max_segments] tokens of each piece's prefix.

    Returns:
      bool [n, L]; padding is False.

    >>> prefix_mask(np.array([[1, 1, 1, 2, 2, 0]]), np.array([[0, 1, 2, 0, 1, 0]]), [[2, 1]]).astype(int).tolist()
    [[1, 1, 0, 1, 0, 0]]
    """
    lengths = np.asarray(prefix_lengths)
    if lengths.ndim == 1:
        lengths = lengths[:, None]
    padded = np.concatenate([np.zeros((len(lengths), 1), lengths.dtype), lengths], axis=1)  # piece 0 is padding
    result: Bools = token_positions < np.take_along_axis(padded, ids.astype(np.int64), axis=1)
    return result


def attention_mask(ids: npt.NDArray[Any], *, causal: bool = True, prefix: Bools | None = None) -> Bools:
    """Says which position (row) may read which (column): its own piece, and with `causal` only what came before or lies in the prefix.

    L * L bits per example: for models without segment-aware kernels, and as the reference for those that have them.

    Args:
      ids: int [n, L] segment ids.
      causal: False lets every token of a piece read every other.
      prefix: bool [n, L] tokens that all of their piece may read.

    Returns:
      bool [n, L, L]. Padding reads and is read by nothing.
    """
    mask = (ids[:, :, None] == ids[:, None, :]) & (ids[:, :, None] > 0)
    if causal:
        length = ids.shape[1]
        seen: Bools = np.tri(length, dtype=np.bool_)[None]
        if prefix is not None:
            seen = seen | prefix[:, None, :]
        mask = mask & seen
    result: Bools = mask
    return result
