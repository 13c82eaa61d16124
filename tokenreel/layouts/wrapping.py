"""Documents laid end to end and cut: through the whole stream, within each document, or between sentences."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError, ConfigError
from tokenreel.layouts.settings import check_overlap, check_seq_len
from tokenreel.layouts.table import Layout, as_lengths, counted
from tokenreel.ragged import Ints, ranks

LastExample = Literal["drop", "pad"]


def wrap(lengths: npt.ArrayLike, seq_len: int, overlap: int = 0, *, last_example: LastExample = "drop") -> Layout:
    """Lays documents end to end and cuts every `seq_len` tokens (GPT-2, GPT-3).

    Example e holds the tokens [e * seq_len, (e + 1) * seq_len + overlap) of the stream. With `overlap=1` (Megatron's rule) each token but
    the very first is a next-token target exactly once; without it, the first token of each example never is.

    Args:
      lengths: int [num_documents].
      seq_len: stride, in tokens.
      overlap: tokens that the next example repeats; examples hold `seq_len + overlap`.
      last_example: what becomes of the tokens that do not fill an example: dropped (reason `last_example`), or kept in a short one.

    Raises:
      ConfigError: a setting is out of its range.
      BuildError: a length is negative or no integer.

    >>> wrap([14, 11], 8).num_examples, dict(wrap([14, 11], 8).dropped)  # keras-hub issue 701: one `</s>` is left over
    (3, {'last_example': 1})
    """
    lengths = as_lengths(lengths)
    check_seq_len(seq_len)
    check_overlap(overlap, seq_len)
    total = int(lengths.sum())
    num_examples = wrapped_examples(total, seq_len, overlap, last_example=last_example)
    layout = wrap_range(lengths, 0, seq_len, overlap, 0, num_examples)
    # The examples cover a stretch from the first token on. What lies behind is dropped, what they hold beyond its length stands twice.
    covered = min(total, num_examples * seq_len + overlap) if num_examples else 0
    return dataclasses.replace(layout, dropped=counted(last_example=total - covered), repeated=int(layout.length.sum()) - covered)


def wrapped_examples(num_tokens: int, seq_len: int, overlap: int = 0, *, last_example: LastExample = "drop") -> int:
    """How many examples `wrap` makes of a stream of `num_tokens` tokens.

    Raises:
      ConfigError: `last_example` is unknown.

    >>> wrapped_examples(25, 8), wrapped_examples(25, 8, last_example="pad"), wrapped_examples(25, 8, 1, last_example="pad")
    (3, 4, 3)
    """
    if last_example not in ("drop", "pad"):
        raise ConfigError(f"packing.last_example must be 'drop' or 'pad', got {last_example!r}")
    room = max(num_tokens - overlap, 0)  # the last example's overlap begins no other
    return room // seq_len if last_example == "drop" else -(-room // seq_len)


def wrap_range(lengths: npt.ArrayLike, first_offset: int, seq_len: int, overlap: int, first_example: int, num_examples: int) -> Layout:
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
    check_seq_len(seq_len)
    check_overlap(overlap, seq_len)
    begins = (first_example + np.arange(num_examples, dtype=np.int64)) * seq_len
    return _ranges(as_lengths(lengths), first_offset, begins, begins + seq_len + overlap, overlap + 1)


def wrap_cuts(lengths: npt.ArrayLike, first_offset: int, cuts: npt.ArrayLike) -> Layout:
    """Cuts a stream where it is told to: examples of different lengths, as UL2's denoisers need them.

    The cuts of a whole stream are the running sum of the objective's `raw_lengths` of the examples in order, up to its end. Any part of
    them lays out that part of the stream, given the documents that touch it; `stream.Stream` says where the parts begin.

    Args:
      lengths: int [num_documents] whole lengths of consecutive documents, the first of which begins at `first_offset` of the stream.
      first_offset: position of the first document's first token in the whole stream.
      cuts: int [num_examples + 1] ascending positions in the stream: where each example begins, and where the last one ends. If the
        documents end earlier, the last example is short.

    Returns:
      Examples numbered from 0, documents as indices into `lengths`.

    Raises:
      BuildError: the documents do not cover the examples.

    >>> wrap_cuts([5, 6], 0, [0, 4, 11]).length.tolist()
    [4, 1, 6]
    """
    cuts = np.asarray(cuts, dtype=np.int64)
    return _ranges(as_lengths(lengths), first_offset, cuts[:-1], cuts[1:], 1)


def _ranges(lengths: Ints, first_offset: int, begins: Ints, stops: Ints, least: int) -> Layout:
    """Lays ranges of a stream out as examples; only the last may be cut short by the stream's end.

    Args:
      lengths: int64 [num_documents] of consecutive documents.
      first_offset: position of the first document's first token in the stream.
      begins: int64 [num_examples] where each example begins in the stream, ascending.
      stops: int64 [num_examples] where each example ends.
      least: tokens that every example must have.

    Raises:
      BuildError: the documents do not cover the examples.
    """
    present = np.flatnonzero(lengths)  # an empty document would be a segment without tokens
    ends = first_offset + np.cumsum(lengths[present])
    end = int(ends[-1]) if len(ends) else first_offset
    stops = np.minimum(stops, end)
    num_examples = len(begins)
    if num_examples and (begins[0] < first_offset or (stops < begins + least).any()):
        raise BuildError(
            f"{num_examples:,} examples need the tokens {begins[0]:,} to {begins[-1] + least:,} at least, the documents hold "
            f"{first_offset:,} to {end:,}: the plan and the stage files disagree."
        )
    first = np.searchsorted(ends, begins, side="right")  # the document that holds the example's first token
    last = np.searchsorted(ends, stops, side="left")  # and its last one
    counts = last - first + 1
    # A segment is where an example and a document meet: from the later of their begins to the earlier of their ends.
    example = np.repeat(np.arange(num_examples, dtype=np.int64), counts)
    index = np.repeat(first, counts) + ranks(counts)
    starts = ends - lengths[present]
    begin = np.maximum(starts[index], begins[example])
    length = np.minimum(ends[index], stops[example]) - begin
    return Layout(example=example, document=present[index], start=begin - starts[index], length=length, num_examples=num_examples)


def wrap_within_document(
    lengths: npt.ArrayLike, seq_len: int, overlap: int = 0, *, last_example: LastExample = "pad", min_tokens: int = 1
) -> Layout:
    """Wraps each document on its own: an example never holds tokens of two.

    Args:
      lengths: int [num_documents].
      seq_len: stride, in tokens.
      overlap: tokens that a document's next example repeats.
      last_example: what becomes of the end of each document that does not fill an example: kept in a short one, or dropped.
      min_tokens: shorter examples are dropped (reason `too_short`).

    Raises:
      ConfigError: a setting is out of its range.
      BuildError: a length is negative or no integer.

    >>> wrap_within_document([5, 2, 9], 4).length.tolist()
    [4, 1, 2, 4, 4, 1]
    """
    lengths = as_lengths(lengths)
    check_seq_len(seq_len)
    check_overlap(overlap, seq_len)
    if last_example not in ("drop", "pad"):
        raise ConfigError(f"packing.last_example must be 'drop' or 'pad', got {last_example!r}")
    room = np.maximum(lengths - overlap, 0)
    counts = room // seq_len if last_example == "drop" else -(-room // seq_len)
    document = np.repeat(np.arange(len(lengths), dtype=np.int64), counts)
    start = ranks(counts) * seq_len
    length = np.minimum(lengths[document] - start, seq_len + overlap)
    covered = np.where(counts > 0, np.minimum(lengths, counts * seq_len + overlap), 0)
    kept = length >= min_tokens  # only a document's last example can be shorter
    # Of a short example only what the one before does not hold is lost; that one keeps the overlap.
    too_short = length[~kept] - np.where(start[~kept] > 0, overlap, 0)
    repeated = int(length[kept].sum()) - int(covered.sum()) + int(too_short.sum())
    return Layout(
        example=np.arange(int(kept.sum()), dtype=np.int64),
        document=document[kept],
        start=start[kept],
        length=length[kept],
        num_examples=int(kept.sum()),
        dropped=counted(last_example=int((lengths - covered).sum()), too_short=int(too_short.sum())),
        repeated=repeated,
    )
