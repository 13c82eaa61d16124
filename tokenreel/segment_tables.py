"""Tables that say which piece of which document stands where in which example, and the copy that follows them.

Every layout is such a table, computed from the documents' lengths alone: planning touches no tokens. Documents come in the dataset's total
order, with lengths that count everything a document brings with it: its own tokens, bos, eos, separators.

Rules that every layout keeps: each (document, offset) is in exactly one piece, or counted in `dropped` by reason (or, with an overlap, in
`repeated`); the pieces of a document stand in order and concatenate to it; an example never exceeds its length; empty documents vanish.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError, ConfigError
from tokenreel.ragged import Ints, ranks

LongDocuments = Literal["split", "truncate", "drop"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Segments:
    """A layout: S pieces of documents, sorted by (example, place in it).

    Attributes:
      example: int64 [S] example of each piece, from 0.
      document: int64 [S] index of the document among the lengths given.
      start: int64 [S] offset of the piece inside its document, in tokens.
      length: int64 [S] tokens of the piece, at least 1.
      num_examples: how many examples there are; those without pieces are all padding.
      align: each piece begins at a multiple of this many positions.
      dropped: tokens left out, by reason.
      repeated: tokens that stand in two examples because of an overlap.
    """

    example: Ints
    document: Ints
    start: Ints
    length: Ints
    num_examples: int
    align: int = 1
    dropped: Mapping[str, int] = dataclasses.field(default_factory=dict)
    repeated: int = 0

    def __len__(self) -> int:
        return len(self.example)

    def num_segments(self) -> Ints:
        """Pieces of each example, int64 [num_examples]."""
        return np.bincount(self.example, minlength=self.num_examples).astype(np.int64)

    @property
    def place(self) -> Ints:
        """Position of each piece's first token inside its example, int64 [S]."""
        room = -(-self.length // self.align) * self.align
        before = np.cumsum(room) - room
        counts = self.num_segments()
        counts = counts[counts > 0]
        first = np.cumsum(counts) - counts
        result: Ints = before - np.repeat(before[first], counts)
        return result

    def num_tokens(self) -> Ints:
        """Positions up to the last token of each example, int64 [num_examples]; with `align`, gaps between pieces count."""
        tokens = np.zeros(self.num_examples, np.int64)
        last = np.flatnonzero(np.append(self.example[1:] != self.example[:-1], True)) if len(self) else np.zeros(0, np.int64)
        tokens[self.example[last]] = self.place[last] + self.length[last]
        return tokens

    def select(self, examples: npt.ArrayLike) -> Segments:
        """Keeps some examples, in the order given, numbered from 0. Drops stay with the whole layout."""
        examples = np.asarray(examples, dtype=np.int64)
        counts = self.num_segments()
        first = np.cumsum(counts) - counts
        kept = counts[examples]
        picked = np.repeat(first[examples], kept) + ranks(kept)
        return dataclasses.replace(
            self,
            example=np.repeat(np.arange(len(examples), dtype=np.int64), kept),
            document=self.document[picked],
            start=self.start[picked],
            length=self.length[picked],
            num_examples=len(examples),
            dropped={},
            repeated=0,
        )


def fill(
    tokens: npt.NDArray[Any],
    document_offsets: npt.ArrayLike,
    segments: Segments,
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
      segments: the layout.
      seq_len: positions in an example (with an overlap, the overlap included).
      pad_id: fills the rest.
      out: [num_examples, seq_len] C-contiguous array of the tokens' dtype to write to, such as a slice of a shard's buffer.

    Returns:
      tokens: [num_examples, seq_len] of the tokens' dtype.
      document_starts: bool [num_examples, seq_len], true where a piece begins; at position 0 only if the piece begins its document, so that
        an example which goes on with a cut document can be told. With `align`, also where a gap begins, which is never a multiple of it.
      num_tokens: int64 [num_examples] positions up to the last token.

    Raises:
      BuildError: a piece lies outside `tokens`, or an example is too long.
    """
    num = segments.num_examples
    if out is None:
        out = np.empty((num, seq_len), tokens.dtype)
    if out.shape != (num, seq_len) or out.dtype != tokens.dtype or not out.flags.c_contiguous:
        raise BuildError(f"fill writes to a contiguous {tokens.dtype} array of {(num, seq_len)}, got {out.dtype} {out.shape}")
    place = segments.place
    num_tokens = segments.num_tokens()
    source = np.asarray(document_offsets, dtype=np.int64)[segments.document] + segments.start
    target = segments.example * seq_len + place
    ends = source + segments.length
    if len(segments):
        if source.min() < 0 or ends.max() > len(tokens):
            raise BuildError(
                f"a layout needs the tokens {source.min():,} to {ends.max():,}, there are {len(tokens):,}: "
                "the lengths it was made for are not those of these tokens."
            )
        if num_tokens.max() > seq_len:
            raise BuildError(
                f"a layout for examples of {num_tokens.max()} tokens cannot fill examples of {seq_len}: lay out for {seq_len} or less."
            )

    starts = np.zeros(num * seq_len, np.bool_)
    starts[target] = (place > 0) | (segments.start == 0)
    if segments.align > 1:
        gap = segments.length % segments.align > 0
        gap_at = place[gap] + segments.length[gap]
        inside = gap_at < num_tokens[segments.example[gap]]
        starts[(segments.example[gap] * seq_len + gap_at)[inside]] = True
    copy_runs(tokens, source, target, segments.length, out.reshape(-1), pad_id)
    return out, starts.reshape(num, seq_len), num_tokens


_SHORT_RUN = 64  # tokens; below this an index per token is cheaper than a slice per run (measured)


def copy_runs(tokens: npt.NDArray[Any], source: Ints, target: Ints, length: Ints, out: npt.NDArray[Any], pad_id: int) -> None:
    """Copies tokens[source : source + length] to out[target : ...] for ascending, disjoint targets; fills what is between with padding."""
    if not len(source):
        out[:] = pad_id
        return
    joins = (source[1:] == source[:-1] + length[:-1]) & (target[1:] == target[:-1] + length[:-1])
    heads = np.flatnonzero(np.append(True, ~joins))
    source, target, length = source[heads], target[heads], np.add.reduceat(length, heads)
    stops = target + length
    gaps = np.append(target, len(out)) - np.append(0, stops)  # padding before each run, and after the last
    if length.sum() < _SHORT_RUN * len(length):
        out[:] = pad_id
        for a in range(0, len(source), 1 << 14):
            b = a + (1 << 14)
            inside = ranks(length[a:b])
            out[np.repeat(target[a:b], length[a:b]) + inside] = tokens[np.repeat(source[a:b], length[a:b]) + inside]
        return
    padding = np.full(int(gaps.max()), pad_id, tokens.dtype)
    pieces = []
    for begin, end, gap in zip(source.tolist(), (source + length).tolist(), gaps.tolist(), strict=False):
        if gap:
            pieces.append(padding[:gap])
        pieces.append(tokens[begin:end])
    pieces.append(padding[: int(gaps[-1])])
    np.concatenate(pieces, out=out)


def pieces(lengths: Ints, seq_len: int, long_documents: LongDocuments) -> tuple[Ints, Ints, Ints, dict[str, int]]:
    """Cuts documents into pieces of at most `seq_len` tokens: document, start, length of each, and the drops."""
    too_long = lengths > seq_len
    if long_documents == "split":
        dropped = {}
    elif long_documents == "truncate":
        dropped = counted(truncated=int((lengths - seq_len)[too_long].sum()))
        lengths = np.minimum(lengths, seq_len)
    elif long_documents == "drop":
        dropped = counted(too_long=int(lengths[too_long].sum()))
        lengths = np.where(too_long, 0, lengths)
    else:
        raise ConfigError(f"packing.long_documents must be 'split', 'truncate' or 'drop', got {long_documents!r}")
    chunks = -(-lengths // seq_len)
    document = np.repeat(np.arange(len(lengths), dtype=np.int64), chunks)
    start = ranks(chunks) * seq_len
    return document, start, np.minimum(lengths[document] - start, seq_len), dropped


def counted(**tokens: int) -> dict[str, int]:
    """Keeps the reasons that have tokens."""
    return {reason: count for reason, count in tokens.items() if count}


def as_lengths(lengths: npt.ArrayLike) -> Ints:
    """Checks document lengths."""
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or (len(lengths) and (lengths.dtype.kind not in "iu" or lengths.min() < 0)):
        raise BuildError(
            f"document lengths are a list of integers from 0, got {lengths.dtype} {lengths.shape}, the least is {lengths.min()}"
        )
    return lengths.astype(np.int64, copy=False)


def check_seq_len(seq_len: int) -> None:
    """Refuses examples without room."""
    if seq_len < 1:
        raise ConfigError(f"packing.seq_len must be at least 1, got {seq_len}")


def check_overlap(overlap: int, seq_len: int) -> None:
    """Refuses an overlap as long as the stride."""
    if not 0 <= overlap < seq_len:
        raise ConfigError(
            f"packing.overlap must be between 0 and seq_len - 1 = {seq_len - 1}, got {overlap}; 1 makes every token a target once"
        )


def check_max_segments(max_segments: int | None) -> None:
    """Refuses examples without pieces."""
    if max_segments is not None and max_segments < 1:
        raise ConfigError(f"packing.max_segments must be at least 1, got {max_segments}; leave it out for no limit")


def check_align(align: int, seq_len: int) -> None:
    """Refuses an alignment that does not divide the examples."""
    if align < 1 or seq_len % align:
        raise ConfigError(
            f"packing.align must divide packing.seq_len, got {align} and {seq_len}; "
            f"seq_len {max(1, seq_len // max(align, 1)) * max(align, 1)} would work"
        )


def greedy(costs: Ints, capacity: int, max_items: int | None = None, breaks: npt.NDArray[np.bool_] | None = None) -> Ints:
    """Fills blocks in order: an item opens a new block when the open one has no room for it (next fit).

    Where each block ends follows from where it begins, so all ends are searched for at once and only the blocks are walked through.

    Args:
      costs: int64 [n], at least 1. One over `capacity` makes a block of its own.
      capacity: of a block.
      max_items: at most so many in a block.
      breaks: bool [n] items that always open a block.

    Returns:
      int64 [blocks] first item of each block.
    """
    total = np.append(0, np.cumsum(costs))
    items = np.arange(len(costs))
    following = np.maximum(np.searchsorted(total, total[:-1] + capacity, side="right") - 1, items + 1)
    if max_items is not None:
        following = np.minimum(following, items + max_items)
    if breaks is not None:
        at = np.append(np.flatnonzero(breaks), len(costs))
        following = np.minimum(following, at[np.searchsorted(at, items, side="right")] if len(costs) else following)
    jump = following.tolist()
    first, heads = 0, []
    while first < len(jump):
        heads.append(first)
        first = jump[first]
    return np.array(heads, np.int64)


def frame(
    tokens: npt.NDArray[Any], document_starts: npt.NDArray[np.bool_], num_tokens: Ints, *, first_id: int | None, last_id: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_], Ints]:
    """Puts an id before and after what each example holds, as RoBERTa does with `<s>` and `</s>`; None puts nothing.

    Args:
      tokens: [n, L].
      document_starts: bool [n, L].
      num_tokens: int64 [n].
      first_id: written to position 0, which becomes part of the first piece.
      last_id: written after the last token, part of the last piece.

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
