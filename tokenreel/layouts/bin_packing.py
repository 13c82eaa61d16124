"""Whole documents put together into examples: best fit over all of them, or first and next fit in the order they come."""

from __future__ import annotations

import bisect
import collections
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.layouts.settings import LongDocuments, check_align, check_max_segments, check_seq_len
from tokenreel.layouts.table import Layout, as_lengths, greedy, split_documents
from tokenreel.ragged import Ints, ranks, run_lengths


def best_fit(
    lengths: npt.ArrayLike, seq_len: int, max_segments: int | None = None, align: int = 1, *, long_documents: LongDocuments = "split"
) -> Layout:
    """Packs documents by best-fit decreasing (Ding et al. 2024, arXiv:2404.10830): almost no padding, and no document cut that fits.

    Documents over `seq_len` are cut into full segments and a tail. The segments, longest first and equal ones in input order, go one by one
    into the open example with the least sufficient room; among equals, into the one that has had this room for the longest time (first in,
    first out); when none has room, into a new example. Examples are numbered as they were opened, and hold their segments in order of
    placement: lengths do not increase, neither inside an example nor from one example's first segment to the next one's. Patterns (the
    lengths in each example) follow from the histogram of lengths alone; the input order decides only which of equal documents goes where.

    Equal lengths are placed together, so the cost is a sort plus a step per distinct pattern.

    Args:
      lengths: int [num_documents].
      seq_len: positions in an example.
      max_segments: the most segments in an example; None sets no limit.
      align: each segment takes a multiple of this many positions (models that downsample); must divide `seq_len`. Segments that take the
        same room then count as equally long.
      long_documents: "split" as above, "truncate" (reason `truncated`), or "drop" (reason `too_long`).

    Raises:
      ConfigError: a setting is out of its range.
      BuildError: a length is negative or no integer.

    >>> layout = best_fit([14, 7, 5, 2, 3], 8)  # figure 1 of the paper: {8}, {7}, {6, 2}, {5, 3}
    >>> layout.example.tolist(), layout.length.tolist(), layout.document.tolist()
    ([0, 1, 2, 2, 3, 3], [8, 7, 6, 2, 5, 3], [0, 1, 0, 3, 2, 4])
    """
    check_seq_len(seq_len)
    check_align(align, seq_len)
    check_max_segments(max_segments)
    document, start, length, dropped = split_documents(as_lengths(lengths), seq_len, long_documents)
    room = -(-length // align)
    # Sorted by what is left beside a segment, so that the longest come first and a stable sort keeps equal ones in input order. Of 16 bits
    # NumPy sorts by radix, which takes a fraction of the time.
    spare = seq_len // align - room
    order = np.argsort(spare.astype(np.uint16) if seq_len <= 2**16 else spare, kind="stable")
    costs, counts = run_lengths(room[order])
    opened, per_example, before, placed = _plan_best_fit(costs.tolist(), counts.tolist(), seq_len // align, max_segments or seq_len)
    # A placement fills neighbouring examples, each with as many segments as it takes: segment r of it goes to example r // per_example.
    rank = ranks(placed)
    per_segment = np.repeat(per_example, placed)
    example = np.repeat(opened, placed) + rank // per_segment
    place = np.repeat(before, placed) + rank % per_segment

    num_examples = int(example.max()) + 1 if len(example) else 0
    sizes = np.bincount(example, minlength=num_examples)
    slot = (np.cumsum(sizes) - sizes)[example] + place  # where the segment goes when sorted by (example, place)
    by_slot = np.empty_like(order)
    by_slot[slot] = order
    return Layout(
        example=np.repeat(np.arange(num_examples, dtype=np.int64), sizes),
        document=document[by_slot],
        start=start[by_slot],
        length=length[by_slot],
        num_examples=num_examples,
        align=align,
        dropped=dropped,
    )


# Open examples that were filled alike: number of the first, how many follow each other, segments in each. A plain tuple: best fit makes
# one for nearly every step, and a named one takes four times as long to make.
_Alike: TypeAlias = tuple[int, int, int]


class _OpenExamples:
    """The examples that still have room, by their space; among those of equal space, the ones that have had it longest come first.

    There are at most as many spaces as positions in an example, so a sorted list of them is short: finding one is a bisection.
    """

    def __init__(self) -> None:
        self._spaces: list[int] = []  # sorted: those that an open example has
        self._queues: dict[int, collections.deque[_Alike]] = {}

    def pop(self, cost: int) -> tuple[int, _Alike] | None:
        """Takes out the examples with the least space that `cost` fits in, and gives that space with them; None if it fits nowhere."""
        at = bisect.bisect_left(self._spaces, cost)
        if at == len(self._spaces):
            return None
        space = self._spaces[at]
        queue = self._queues[space]
        alike = queue.popleft()
        if not queue:
            del self._queues[space], self._spaces[at]
        return space, alike

    def add(self, space: int, alike: _Alike) -> None:
        """Adds examples that have this space from now on."""
        queue = self._queues.get(space)
        if queue is None:
            bisect.insort(self._spaces, space)
            self._queues[space] = collections.deque((alike,))
        else:
            queue.append(alike)

    def put_back(self, space: int, alike: _Alike) -> None:
        """Puts back examples that were popped and not filled: of all with this space they have had it the longest."""
        queue = self._queues.get(space)
        if queue is None:
            self.add(space, alike)
        else:
            queue.appendleft(alike)


def _plan_best_fit(costs: list[int], counts: list[int], capacity: int, max_segments: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Places segments in decreasing order of cost, equal ones together.

    An example that takes a segment of cost v and still has room for another is then the best fit for the next, so it takes all it can
    before the next example is considered: examples with the same past move together, as a range of numbers.

    Args:
      costs: the distinct costs, decreasing.
      counts: how many segments have each cost.
      capacity: room in an example.
      max_segments: the most segments in an example.

    Returns:
      For each placement, int64 [placements] each: first example, segments per example, segments already in it, segments placed. Placements
      are in the order of the segments.
    """
    placements: list[tuple[int, int, int, int]] = []
    open_ = _OpenExamples()
    num_examples = 0
    for cost, count in zip(costs, counts, strict=True):
        while count:
            found = open_.pop(cost)
            if found is not None:
                space, (first, examples, segments) = found
            else:
                space, first, examples, segments = capacity, num_examples, -(-count // min(capacity // cost, max_segments)), 0
                num_examples += examples
            each = min(space // cost, max_segments - segments)
            full, rest = divmod(min(count, examples * each), each)  # examples that take `each`, and what one more takes
            placed = full * each + rest
            placements.append((first, each, segments, placed))
            count -= placed
            touched = full + bool(rest)
            if touched < examples:  # the segments of this cost ran out before the examples did
                open_.put_back(space, (first + touched, examples - touched, segments))
            if full and space > each * cost and segments + each < max_segments:
                open_.add(space - each * cost, (first, full, segments + each))
            if rest:  # less than `each` more: neither the space nor the number of segments is used up
                open_.add(space - rest * cost, (first + full, 1, segments + rest))
    table = np.array(placements, np.int64).reshape(-1, 4)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def next_fit(
    lengths: npt.ArrayLike,
    seq_len: int,
    max_segments: int | None = None,
    align: int = 1,
    *,
    flush_every: int | None = None,
    long_documents: LongDocuments = "split",
) -> Layout:
    """Packs documents in order, one example open at a time (SeqIO, mesh-tensorflow, MaxText).

    Args:
      lengths: int [num_documents].
      seq_len: positions in an example.
      max_segments: the most segments in an example; None sets no limit.
      align: each segment takes a multiple of this many positions.
      flush_every: closes the open example after every so many documents, empty ones included. SeqIO does so after as many documents as the
        longest feature has positions, and truncates: `flush_every=seq_len, long_documents="truncate"` is its packer.
      long_documents: see `best_fit`.

    Raises:
      ConfigError: a setting is out of its range.
      BuildError: a length is negative or no integer.

    >>> next_fit([3, 4, 2, 6], 8).example.tolist()
    [0, 0, 1, 1]
    """
    check_seq_len(seq_len)
    check_align(align, seq_len)
    check_max_segments(max_segments)
    if flush_every is not None and flush_every < 1:
        raise ConfigError(f"packing.options.flush_every must be at least 1, got {flush_every}; leave it out for no flush")
    document, start, length, dropped = split_documents(as_lengths(lengths), seq_len, long_documents)
    breaks = None
    if flush_every is not None:
        batch = document // flush_every  # documents are numbered with the empty ones, as SeqIO counts them
        breaks = np.append(True, batch[1:] != batch[:-1])[: len(batch)]
    heads = greedy(-(-length // align), seq_len // align, max_segments, breaks)
    example = np.zeros(len(length), np.int64)
    example[heads[1:]] = 1
    return Layout(
        example=np.cumsum(example),
        document=document,
        start=start,
        length=length,
        num_examples=len(heads),
        align=align,
        dropped=dropped,
    )


def first_fit(
    lengths: npt.ArrayLike,
    seq_len: int,
    open_examples: int = 16,
    max_segments: int | None = None,
    align: int = 1,
    *,
    long_documents: LongDocuments = "split",
) -> Layout:
    """Packs documents in order into the first of a few open examples that has room.

    When none has, and `open_examples` are open, the one opened first is closed. An example with no room left, or with `max_segments`
    segments, is closed at once. Examples are numbered as they were opened, so the order of documents is nearly kept.

    Args:
      lengths: int [num_documents].
      seq_len: positions in an example.
      open_examples: how many may be open: memory and look-back of a packer that works on a stream. 1 is next fit.
      max_segments: the most segments in an example; None sets no limit.
      align: each segment takes a multiple of this many positions.
      long_documents: see `best_fit`.

    Raises:
      ConfigError: a setting is out of its range.
      BuildError: a length is negative or no integer.

    >>> first_fit([5, 6, 3, 2], 8, open_examples=2).example.tolist(), first_fit([5, 6, 3, 2], 8, open_examples=2).document.tolist()
    ([0, 0, 1, 1], [0, 2, 1, 3])
    """
    check_seq_len(seq_len)
    check_align(align, seq_len)
    check_max_segments(max_segments)
    if open_examples < 1:
        raise ConfigError(f"packing.options.open_examples must be at least 1, got {open_examples}")
    document, start, length, dropped = split_documents(as_lengths(lengths), seq_len, long_documents)
    example, num_examples = _plan_first_fit((-(-length // align)).tolist(), seq_len // align, open_examples, max_segments or seq_len)
    order = np.argsort(example, kind="stable")
    return Layout(
        example=example[order],
        document=document[order],
        start=start[order],
        length=length[order],
        num_examples=num_examples,
        align=align,
        dropped=dropped,
    )


def _plan_first_fit(costs: list[int], capacity: int, open_examples: int, max_segments: int) -> tuple[Ints, int]:
    """Places segments one by one, each into the open example that was opened first among those with room for it.

    Args:
      costs: the room that each segment takes, in order.
      capacity: room in an example.
      open_examples: how many examples may be open.
      max_segments: the most segments in an example.

    Returns:
      int64 [len(costs)] the example of each segment, and the number of examples.
    """
    # Of the open examples, in the order they were opened. A few are open at a time, so going through them beats any better structure.
    room: list[int] = []  # positions not taken yet
    left: list[int] = []  # segments that may still come
    number: list[int] = []
    num_examples = 0
    example = []
    for cost in costs:
        at = 0
        while at < len(room) and room[at] < cost:
            at += 1
        if at == len(room):
            if at == open_examples:  # closing the oldest keeps the order of documents best
                del room[0], left[0], number[0]
                at -= 1
            room.append(capacity)
            left.append(max_segments)
            number.append(num_examples)
            num_examples += 1
        example.append(number[at])
        room[at] -= cost
        left[at] -= 1
        if not room[at] or not left[at]:
            del room[at], left[at], number[at]
    return np.array(example, np.int64), num_examples
