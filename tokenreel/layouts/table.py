"""The layout: which segment of which document stands where in which example.

A layout is computed from the documents' lengths alone: planning touches no tokens. Documents come in the dataset's total order, with
lengths that count everything a document brings with it: its own tokens, bos, eos, separators. A **segment** is a part of a document that
lies in one example.

Rules that every layout keeps: each (document, offset) is in exactly one segment, or counted in `dropped` by reason (or, with an overlap, in
`repeated`); the segments of a document stand in order and concatenate to it; an example never exceeds its length; empty documents vanish.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError, ConfigError
from tokenreel.layouts.settings import LongDocuments
from tokenreel.ragged import Ints, ranks


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """S segments of documents, sorted by (example, place in it).

    Attributes:
      example: int64 [S] example of each segment, from 0.
      document: int64 [S] index of the document among the lengths given.
      start: int64 [S] offset of the segment inside its document, in tokens.
      length: int64 [S] tokens of the segment, at least 1.
      num_examples: how many examples there are; those without segments are all padding.
      align: each segment begins at a multiple of this many positions.
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
        """Counts the segments of each example: int64 [num_examples]."""
        return np.bincount(self.example, minlength=self.num_examples).astype(np.int64)

    @property
    def place(self) -> Ints:
        """Position of each segment's first token inside its example, int64 [S]."""
        # The running sum of the room that all segments take, less what it was at the example's first segment.
        room = -(-self.length // self.align) * self.align
        before = np.cumsum(room) - room
        counts = self.num_segments()
        counts = counts[counts > 0]
        first = np.cumsum(counts) - counts
        result: Ints = before - np.repeat(before[first], counts)
        return result

    def num_tokens(self) -> Ints:
        """Counts the positions up to the last token of each example: int64 [num_examples]; with `align`, gaps between segments count."""
        tokens = np.zeros(self.num_examples, np.int64)  # 0 for examples without segments
        last = np.flatnonzero(np.append(self.example[1:] != self.example[:-1], True)) if len(self) else np.zeros(0, np.int64)
        tokens[self.example[last]] = self.place[last] + self.length[last]
        return tokens

    def select(self, examples: npt.ArrayLike) -> Layout:
        """Keeps some examples, int [n] numbers in any order, and numbers them anew from 0. Drops stay with the whole layout."""
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


def split_documents(lengths: Ints, seq_len: int, long_documents: LongDocuments) -> tuple[Ints, Ints, Ints, dict[str, int]]:
    """Cuts documents into segments of at most `seq_len` tokens.

    Args:
      lengths: int64 [num_documents].
      seq_len: positions in an example.
      long_documents: what becomes of longer documents: see `bin_packing.best_fit`.

    Returns:
      int64 [S] document, start and length of each segment, and the dropped tokens by reason.

    Raises:
      ConfigError: `long_documents` is unknown.
    """
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
    chunks = -(-lengths // seq_len)  # none of an empty document, or of one that is dropped
    document = np.repeat(np.arange(len(lengths), dtype=np.int64), chunks)
    start = ranks(chunks) * seq_len
    return document, start, np.minimum(lengths[document] - start, seq_len), dropped


def counted(**tokens: int) -> dict[str, int]:
    """Keeps those of the reasons that have tokens."""
    return {reason: count for reason, count in tokens.items() if count}


def as_lengths(lengths: npt.ArrayLike) -> Ints:
    """Turns document lengths into int64 [num_documents].

    Raises:
      BuildError: one is negative or no integer.
    """
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or (len(lengths) and (lengths.dtype.kind not in "iu" or lengths.min() < 0)):
        raise BuildError(
            f"document lengths are a list of integers from 0, got {lengths.dtype} {lengths.shape}, the least is {lengths.min()}"
        )
    return lengths.astype(np.int64, copy=False)


def greedy(costs: Ints, capacity: int, max_items: int | None = None, breaks: npt.NDArray[np.bool_] | None = None) -> Ints:
    """Fills blocks in order: an item opens a new block when the open one has no room for it (next fit).

    Args:
      costs: int64 [n], at least 1. One over `capacity` makes a block of its own.
      capacity: of a block.
      max_items: at most so many in a block.
      breaks: bool [n] items that always open a block.

    Returns:
      int64 [blocks] first item of each block.
    """
    # Where a block ends follows from where it begins. So the ends of blocks that begin at any item are found at once, and the loop goes
    # from block to block instead of from item to item.
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
