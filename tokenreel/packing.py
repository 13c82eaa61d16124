"""Layouts: which piece of which document stands where in which example. Tables of integers, no tokens touched, until `fill` copies.

The documents given to a function are in the dataset's total order; nothing here depends on anything else (no clock, no hash order, no
random state). Lengths count everything a document brings with it: its own tokens, bos, eos, separators.

Rules that every layout keeps: each (document, offset) is in exactly one piece, or counted in `dropped` by reason (or, with an overlap, in
`repeated`); the pieces of a document stand in order and concatenate to it; an example never exceeds its length; empty documents vanish.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError, ConfigError

Ints = npt.NDArray[np.int64]
LastExample = Literal["drop", "pad"]
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

    def offsets(self) -> Ints:
        """Position of each piece's first token inside its example, int64 [S]."""
        room = -(-self.length // self.align) * self.align
        before = np.cumsum(room) - room
        counts = self.num_segments()
        first = np.cumsum(counts) - counts
        result: Ints = before - np.repeat(before[first[counts > 0]], counts[counts > 0])
        return result

    def num_tokens(self) -> Ints:
        """Positions up to the last token of each example, int64 [num_examples]; with `align`, gaps between pieces count."""
        tokens = np.zeros(self.num_examples, np.int64)
        last = np.flatnonzero(np.append(self.example[1:] != self.example[:-1], True)) if len(self) else np.zeros(0, np.int64)
        tokens[self.example[last]] = self.offsets()[last] + self.length[last]
        return tokens

    def select(self, first: int, last: int) -> Segments:
        """The examples [first, last) alone, numbered from 0. Drops stay with the whole layout."""
        a, b = np.searchsorted(self.example, [first, last])
        return dataclasses.replace(
            self,
            example=self.example[a:b] - first,
            document=self.document[a:b],
            start=self.start[a:b],
            length=self.length[a:b],
            num_examples=last - first,
            dropped={},
            repeated=0,
        )


def wrap(lengths: npt.ArrayLike, seq_len: int, overlap: int = 0, *, last_example: LastExample = "drop") -> Segments:
    """Lays documents end to end and cuts every `seq_len` tokens (GPT-2, GPT-3).

    Example e holds the tokens [e * seq_len, (e + 1) * seq_len + overlap) of the stream. With `overlap=1` (Megatron's rule) each token but
    the very first is a next-token target exactly once; without it, the first token of each example never is.

    Args:
      lengths: int [num_documents].
      seq_len: stride, in tokens.
      overlap: tokens that the next example repeats; examples hold `seq_len + overlap`.
      last_example: what becomes of the tokens that do not fill an example: dropped (reason `last_example`), or kept in a short one.

    >>> wrap([14, 11], 8).num_examples, dict(wrap([14, 11], 8).dropped)  # keras-hub issue 701: one `</s>` is left over
    (3, {'last_example': 1})
    """
    lengths = _lengths(lengths)
    _check_seq_len(seq_len)
    _check_overlap(overlap, seq_len)
    total = int(lengths.sum())
    num_examples = wrapped_examples(total, seq_len, overlap, last_example=last_example)
    segments = wrap_range(lengths, 0, seq_len, overlap, 0, num_examples)
    covered = min(total, num_examples * seq_len + overlap) if num_examples else 0
    return dataclasses.replace(segments, dropped=_counted(last_example=total - covered), repeated=int(segments.length.sum()) - covered)


def wrapped_examples(num_tokens: int, seq_len: int, overlap: int = 0, *, last_example: LastExample = "drop") -> int:
    """How many examples `wrap` makes of a stream of `num_tokens` tokens.

    >>> wrapped_examples(25, 8), wrapped_examples(25, 8, last_example="pad"), wrapped_examples(25, 8, 1, last_example="pad")
    (3, 4, 3)
    """
    if last_example not in ("drop", "pad"):
        raise ConfigError(f"packing.last_example must be 'drop' or 'pad', got {last_example!r}")
    room = max(num_tokens - overlap, 0)
    return room // seq_len if last_example == "drop" else -(-room // seq_len)


def wrap_range(lengths: npt.ArrayLike, first_offset: int, seq_len: int, overlap: int, first_example: int, num_examples: int) -> Segments:
    """Lays out the examples [first_example, first_example + num_examples) of a stream of which only some documents are given.

    Equals that part of `wrap` over all documents: a shard needs the documents that touch its tokens and nothing else.

    Args:
      lengths: int [num_documents] whole lengths of consecutive documents, the first of which begins at `first_offset` of the stream.
      first_offset: position of the first document's first token in the whole stream.
      seq_len: stride, in tokens.
      overlap: see `wrap`.
      first_example: number of the first example wanted, in the whole stream.
      num_examples: how many; if the documents end early, the last one is short.

    Returns:
      Examples numbered from 0, documents as indices into `lengths`.

    Raises:
      BuildError: the documents do not cover the examples.
    """
    lengths = _lengths(lengths)
    _check_seq_len(seq_len)
    _check_overlap(overlap, seq_len)
    present = np.flatnonzero(lengths)
    ends = first_offset + np.cumsum(lengths[present])
    end = int(ends[-1]) if len(ends) else first_offset
    begins = (first_example + np.arange(num_examples, dtype=np.int64)) * seq_len
    stops = np.minimum(begins + seq_len + overlap, end)
    if num_examples and (begins[0] < first_offset or (stops <= begins + overlap).any()):
        raise BuildError(
            f"examples {first_example:,} to {first_example + num_examples - 1:,} need tokens from {begins[0]:,} to "
            f"{begins[-1] + overlap + 1:,} at least, the documents hold {first_offset:,} to {end:,}: the plan and the stage files disagree."
        )
    first = np.searchsorted(ends, begins, side="right")  # the document that holds the example's first token
    last = np.searchsorted(ends, stops, side="left")  # and its last one
    counts = last - first + 1
    example = np.repeat(np.arange(num_examples, dtype=np.int64), counts)
    index = np.repeat(first, counts) + _ranks(counts)
    starts = ends - lengths[present]
    begin = np.maximum(starts[index], begins[example])
    length = np.minimum(ends[index], stops[example]) - begin
    return Segments(example=example, document=present[index], start=begin - starts[index], length=length, num_examples=num_examples)


def best_fit(
    lengths: npt.ArrayLike, seq_len: int, max_segments: int | None = None, align: int = 1, *, long_documents: LongDocuments = "split"
) -> Segments:
    """Packs documents by best-fit decreasing (Ding et al. 2024, arXiv:2404.10830): almost no padding, and no document cut that fits.

    Documents over `seq_len` are cut into full chunks and a tail. The pieces, longest first and equal ones in input order, go one by one
    into the open example with the least sufficient room; among equals, into the one that has had this room for the longest time (first in,
    first out); when none has room, into a new example. Examples are numbered as they were opened, and hold their pieces in order of
    placement: lengths do not increase, neither inside an example nor from one example's first piece to the next one's. Patterns (the
    lengths in each example) follow from the histogram of lengths alone; the input order decides only which of equal documents goes where.

    Equal lengths are placed together, so the cost is a sort plus a step per distinct pattern.

    Args:
      lengths: int [num_documents].
      seq_len: positions in an example.
      max_segments: at most so many pieces in an example.
      align: each piece takes a multiple of this many positions (models that downsample); must divide `seq_len`. Pieces that take the
        same room then count as equally long.
      long_documents: "split" as above, "truncate" (reason `truncated`), or "drop" (reason `too_long`).

    >>> segments = best_fit([14, 7, 5, 2, 3], 8)  # figure 1 of the paper: {8}, {7}, {6, 2}, {5, 3}
    >>> segments.example.tolist(), segments.length.tolist(), segments.document.tolist()
    ([0, 1, 2, 2, 3, 3], [8, 7, 6, 2, 5, 3], [0, 1, 0, 3, 2, 4])
    """
    _check_seq_len(seq_len)
    _check_align(align, seq_len)
    _check_max_segments(max_segments)
    document, start, length, dropped = _pieces(_lengths(lengths), seq_len, long_documents)
    room = -(-length // align)
    spare = seq_len // align - room
    order = np.argsort(spare.astype(np.uint16) if seq_len <= 2**16 else spare, kind="stable")  # 16 bits: a radix sort
    costs, counts = _runs(room[order])
    opened, per_example, before, placed = _plan_best_fit(costs.tolist(), counts.tolist(), seq_len // align, max_segments or seq_len)
    rank = _ranks(placed)
    per_piece = np.repeat(per_example, placed)
    example = np.repeat(opened, placed) + rank // per_piece
    place = np.repeat(before, placed) + rank % per_piece

    num_examples = int(example.max()) + 1 if len(example) else 0
    sizes = np.bincount(example, minlength=num_examples)
    slot = (np.cumsum(sizes) - sizes)[example] + place  # where the piece goes when sorted by (example, place)
    by_slot = np.empty_like(order)
    by_slot[slot] = order
    return Segments(
        example=np.repeat(np.arange(num_examples, dtype=np.int64), sizes),
        document=document[by_slot],
        start=start[by_slot],
        length=length[by_slot],
        num_examples=num_examples,
        align=align,
        dropped=dropped,
    )


def _plan_best_fit(costs: list[int], counts: list[int], capacity: int, max_segments: int) -> tuple[Ints, Ints, Ints, Ints]:
    """Places runs of equal pieces, in decreasing order of cost.

    An example that takes a piece of cost v and still has room for another is then the best fit for the next, so it takes all it can before
    the next example is considered: examples with the same past move together, as a range of numbers.

    Returns:
      For each placement, int64 each: first example, pieces per example, pieces already in it, pieces placed. Placements are in the order
      of the pieces.
    """
    placements: list[tuple[int, int, int, int]] = []
    spaces: list[int] = []  # sorted; those that an open example has
    ranges: dict[int, collections.deque[tuple[int, int, int]]] = {}  # space -> (first example, examples, pieces in each)

    def put(space: int, first: int, examples: int, pieces: int) -> None:
        if not (space and examples) or pieces == max_segments:
            return
        if space not in ranges:
            bisect.insort(spaces, space)
            ranges[space] = collections.deque()
        ranges[space].append((first, examples, pieces))

    num_examples = 0
    for cost, count in zip(costs, counts, strict=True):
        while count:
            at = bisect.bisect_left(spaces, cost)
            if at < len(spaces):
                space = spaces[at]
                queue = ranges[space]
                first, examples, pieces = queue.popleft()
                if not queue:
                    del ranges[space], spaces[at]
            else:
                space, first, pieces = capacity, num_examples, 0
                examples = -(-count // min(capacity // cost, max_segments))
                num_examples += examples
            each = min(space // cost, max_segments - pieces)
            full, rest = divmod(min(count, examples * each), each)
            placed = full * each + rest
            placements.append((first, each, pieces, placed))
            count -= placed
            untouched = examples - full - bool(rest)
            if untouched:  # they have had this room the longest
                if space not in ranges:
                    bisect.insort(spaces, space)
                    ranges[space] = collections.deque()
                ranges[space].appendleft((first + full + bool(rest), untouched, pieces))
            put(space - each * cost, first, full, pieces + each)
            if rest:
                put(space - rest * cost, first + full, 1, pieces + rest)
    table = np.array(placements, np.int64).reshape(-1, 4)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


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
    offsets = segments.offsets()
    num_tokens = segments.num_tokens()
    source = np.asarray(document_offsets, dtype=np.int64)[segments.document] + segments.start
    target = segments.example * seq_len + offsets
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
    starts[target] = (offsets > 0) | (segments.start == 0)
    if segments.align > 1:
        gap = segments.length % segments.align > 0
        gap_at = offsets[gap] + segments.length[gap]
        inside = gap_at < num_tokens[segments.example[gap]]
        starts[(segments.example[gap] * seq_len + gap_at)[inside]] = True
    _copy(tokens, source, target, segments.length, out.reshape(-1), pad_id)
    return out, starts.reshape(num, seq_len), num_tokens


_SHORT_RUN = 24  # tokens; below this an index per token is cheaper than a slice per run (measured)


def _copy(tokens: npt.NDArray[Any], source: Ints, target: Ints, length: Ints, out: npt.NDArray[Any], pad_id: int) -> None:
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
            ranks = _ranks(length[a:b])
            out[np.repeat(target[a:b], length[a:b]) + ranks] = tokens[np.repeat(source[a:b], length[a:b]) + ranks]
        return
    padding = np.full(int(gaps.max()), pad_id, tokens.dtype)
    pieces = []
    for begin, end, gap in zip(source.tolist(), (source + length).tolist(), gaps.tolist(), strict=False):
        if gap:
            pieces.append(padding[:gap])
        pieces.append(tokens[begin:end])
    pieces.append(padding[: int(gaps[-1])])
    np.concatenate(pieces, out=out)


def _pieces(lengths: Ints, seq_len: int, long_documents: LongDocuments) -> tuple[Ints, Ints, Ints, dict[str, int]]:
    """Cuts documents into pieces of at most `seq_len` tokens: document, start, length of each, and the drops."""
    too_long = lengths > seq_len
    if long_documents == "split":
        dropped = {}
    elif long_documents == "truncate":
        dropped = _counted(truncated=int((lengths - seq_len)[too_long].sum()))
        lengths = np.minimum(lengths, seq_len)
    elif long_documents == "drop":
        dropped = _counted(too_long=int(lengths[too_long].sum()))
        lengths = np.where(too_long, 0, lengths)
    else:
        raise ConfigError(f"packing.long_documents must be 'split', 'truncate' or 'drop', got {long_documents!r}")
    chunks = -(-lengths // seq_len)
    document = np.repeat(np.arange(len(lengths), dtype=np.int64), chunks)
    start = _ranks(chunks) * seq_len
    return document, start, np.minimum(lengths[document] - start, seq_len), dropped


def _ranks(counts: Ints) -> Ints:
    """0, 1, ... counts[0] - 1, 0, 1, ... counts[1] - 1, and so on."""
    ends = np.cumsum(counts)
    return np.arange(int(ends[-1]) if len(ends) else 0, dtype=np.int64) - np.repeat(ends - counts, counts)


def _runs(values: Ints) -> tuple[Ints, Ints]:
    """The distinct neighbours of an array, and how often each stands in a row."""
    heads = np.flatnonzero(np.append(True, values[1:] != values[:-1])) if len(values) else np.zeros(0, np.int64)
    return values[heads], np.diff(np.append(heads, len(values)))


def _counted(**tokens: int) -> dict[str, int]:
    return {reason: count for reason, count in tokens.items() if count}


def _lengths(lengths: npt.ArrayLike) -> Ints:
    lengths = np.asarray(lengths)
    if lengths.ndim != 1 or (len(lengths) and (lengths.dtype.kind not in "iu" or lengths.min() < 0)):
        raise BuildError(
            f"document lengths are a list of integers from 0, got {lengths.dtype} {lengths.shape}, the least is {lengths.min()}"
        )
    return lengths.astype(np.int64, copy=False)


def _check_seq_len(seq_len: int) -> None:
    if seq_len < 1:
        raise ConfigError(f"packing.seq_len must be at least 1, got {seq_len}")


def _check_overlap(overlap: int, seq_len: int) -> None:
    if not 0 <= overlap < seq_len:
        raise ConfigError(
            f"packing.overlap must be between 0 and seq_len - 1 = {seq_len - 1}, got {overlap}; 1 makes every token a target once"
        )


def _check_max_segments(max_segments: int | None) -> None:
    if max_segments is not None and max_segments < 1:
        raise ConfigError(f"packing.max_segments_per_example must be at least 1, got {max_segments}; leave it out for no limit")


def _check_align(align: int, seq_len: int) -> None:
    if align < 1 or seq_len % align:
        raise ConfigError(
            f"packing.align must divide packing.seq_len, got {align} and {seq_len}; "
            f"seq_len {max(1, seq_len // max(align, 1)) * max(align, 1)} would work"
        )
