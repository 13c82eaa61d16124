"""Copies tokens to where a layout puts them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError
from tokenreel.layouts.table import Layout
from tokenreel.ragged import Ints, ranks


def fill(
    tokens: npt.NDArray[Any],
    document_offsets: npt.ArrayLike,
    layout: Layout,
    seq_len: int,
    pad_id: int,
    *,
    out: npt.NDArray[Any] | None = None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], Ints]:
    """Copies tokens to where a layout puts them.

    Args:
      tokens: [num_tokens] ids of any integer type.
      document_offsets: int [num_documents] where each document's first token is in `tokens`. The first may be negative when the layout
        needs only its end.
      layout: which segment stands where.
      seq_len: positions in an example (with an overlap, the overlap included).
      pad_id: fills the rest.
      out: [num_examples, seq_len] C-contiguous array of the tokens' dtype to write to, such as a slice of a shard's buffer.

    Returns:
      tokens: [num_examples, seq_len] of the tokens' dtype.
      document_starts: bool [num_examples, seq_len], true where a segment begins; at position 0 only if the segment begins its document, so
        that an example which goes on with a cut document can be told. With `align`, also where a gap begins, never at a multiple of it.
      num_tokens: int64 [num_examples] positions up to the last token.

    Raises:
      BuildError: a segment lies outside `tokens`, or an example is too long.
    """
    num = layout.num_examples
    if out is None:
        out = np.empty((num, seq_len), tokens.dtype)
    if out.shape != (num, seq_len) or out.dtype != tokens.dtype or not out.flags.c_contiguous:
        raise BuildError(f"fill writes to a contiguous {tokens.dtype} array of {(num, seq_len)}, got {out.dtype} {out.shape}")
    place = layout.place
    num_tokens = layout.num_tokens()
    source = np.asarray(document_offsets, dtype=np.int64)[layout.document] + layout.start
    target = layout.example * seq_len + place
    ends = source + layout.length
    if len(layout):
        if source.min() < 0 or ends.max() > len(tokens):
            raise BuildError(
                f"a layout needs the tokens {source.min():,} to {ends.max():,}, there are {len(tokens):,}: "
                "the lengths it was made for are not those of these tokens."
            )
        if num_tokens.max() > seq_len:
            raise BuildError(
                f"a layout for examples of {num_tokens.max()} tokens cannot fill examples of {seq_len}: lay out for {seq_len} or less."
            )

    # An example that goes on with a cut document has no start at position 0: readers tell it from one that begins with a document.
    starts = np.zeros(num * seq_len, np.bool_)
    starts[target] = (place > 0) | (layout.start == 0)
    if layout.align > 1:  # segments begin at multiples of `align`, gaps never do: so a start says by its place which of the two it is
        gap = layout.length % layout.align > 0
        gap_at = place[gap] + layout.length[gap]
        inside = gap_at < num_tokens[layout.example[gap]]
        starts[(layout.example[gap] * seq_len + gap_at)[inside]] = True
    copy_stretches(tokens, source, target, layout.length, out.reshape(-1), pad_id)
    return out, starts.reshape(num, seq_len), num_tokens


_SHORT_STRETCH = 64  # tokens; below this an index per token is cheaper than a slice per stretch (measured)


def copy_stretches(tokens: npt.NDArray[Any], source: Ints, target: Ints, length: Ints, out: npt.NDArray[Any], pad_id: int) -> None:
    """Copies tokens[source : source + length] to out[target : ...], and fills what is between with padding.

    Args:
      tokens: [num_tokens] of any dtype.
      source: int64 [k] where each stretch begins in `tokens`.
      target: int64 [k] where it begins in `out`; ascending, and stretches do not overlap.
      length: int64 [k] its tokens, at least 1.
      out: [num_positions] of the tokens' dtype, all of it written.
      pad_id: stands between the stretches.
    """
    if not len(source):
        out[:] = pad_id
        return
    # Segments that follow each other in both arrays, as those of neighbouring documents mostly do, are one stretch of memory.
    joins = (source[1:] == source[:-1] + length[:-1]) & (target[1:] == target[:-1] + length[:-1])
    heads = np.flatnonzero(np.append(True, ~joins))
    source, target, length = source[heads], target[heads], np.add.reduceat(length, heads)
    stops = target + length
    gaps = np.append(target, len(out)) - np.append(0, stops)  # padding before each stretch, and after the last
    if length.sum() < _SHORT_STRETCH * len(length):
        out[:] = pad_id
        for a in range(0, len(source), 1 << 14):  # some at a time: an index for every token of a shard would be many times its size
            b = a + (1 << 14)
            inside = ranks(length[a:b])
            out[np.repeat(target[a:b], length[a:b]) + inside] = tokens[np.repeat(source[a:b], length[a:b]) + inside]
        return
    # One call joins views of the tokens and of the padding: each token is moved once, by the machine's copy.
    padding = np.full(int(gaps.max()), pad_id, tokens.dtype)
    views = []
    for begin, end, gap in zip(source.tolist(), (source + length).tolist(), gaps.tolist(), strict=False):
        if gap:
            views.append(padding[:gap])
        views.append(tokens[begin:end])
    views.append(padding[: int(gaps[-1])])
    np.concatenate(views, out=out)


def frame(
    tokens: npt.NDArray[Any], document_starts: npt.NDArray[np.bool_], num_tokens: Ints, *, first_id: int | None, last_id: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], Ints]:
    """Puts an id before and after what each example holds, as RoBERTa does with `<s>` and `</s>`; None puts nothing.

    Args:
      tokens: [n, L] ids of any integer dtype.
      document_starts: bool [n, L].
      num_tokens: int64 [n].
      first_id: written to position 0, which becomes part of the first segment.
      last_id: written after the last token, part of the last segment.

    Returns:
      The three arrays, wider by the number of ids. Examples laid out for `L` positions become examples of up to `L + 2`.
    """
    before, after = int(first_id is not None), int(last_id is not None)
    n, width = tokens.shape
    out = np.empty((n, before + width + after), tokens.dtype)
    out[:, before : before + width] = tokens
    starts = np.zeros(out.shape, np.bool_)
    starts[:, before : before + width] = document_starts
    if first_id is not None:
        out[:, 0] = first_id
        starts[:, 0] = starts[:, 1]
        starts[:, 1] = False
    if last_id is not None:
        if width:
            out[:, -1] = out[:, -2]  # padding, where there is any
        out[np.arange(n), before + num_tokens] = last_id
    return out, starts, num_tokens + before + after
