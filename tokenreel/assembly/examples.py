"""From ordered documents to shards: which examples a shard holds, their arrays, and the file.

Examples are numbered through the whole split, so a shard is a range of numbers. For `wrap` an example is a range of the split's tokens; for
the other layouts it is a row of a group's layout. Either way a shard needs only the groups that overlap it.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_selection.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.assembly import filling
from tokenreel.errors import BuildError
from tokenreel.format import schema
from tokenreel.layouts.modes import PAIRS
from tokenreel.layouts.table import Layout
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import GroupDocuments, lay_out_group, plan_pairs
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.shard_plan import PlacedGroup, ShardPlan, base_ranges, overlapping
from tokenreel.planning.stream import Stream

_PORTION_TOKENS = 1 << 21


@dataclasses.dataclass
class ExampleChunk:
    """Some examples of a shard before they are written: all of one variant.

    Attributes:
      first: number of the first example in the split, variants counted.
      variant: the copy of the data that the examples belong to.
      base: number of the first example in its variant: what random choices are keyed by.
      arrays: [n, ...] `tokens`, `document_starts`, `num_tokens`.
      segments: which part of which document lies where; `document` counts `stage` and `row`.
      lengths: [documents] tokens of each.
      stage, row: [documents] where each document is staged.
      copy: [documents] which copy of the document each is.
      first_start: [documents] where the first piece of each begins, of all that are laid out.
      begun: documents that begin in these examples, where `segments` do not tell.
      repeated: tokens that another example counts as its own, where `segments` do not tell.
    """

    first: int
    variant: int
    base: int
    arrays: dict[str, npt.NDArray[Any]]
    segments: Layout
    lengths: npt.NDArray[np.int64]
    stage: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    copy: npt.NDArray[np.int64]
    first_start: npt.NDArray[np.int64]
    begun: int = 0
    repeated: int = 0


def assemble(order: DocumentOrder, plan: ShardPlan) -> Iterator[ExampleChunk]:
    """Lays the documents of a shard out as examples.

    Raises:
      BuildError: the documents read are not those that were planned.
    """
    first = plan.first
    for low, high in base_ranges(plan.first, plan.examples, plan.split_examples):
        spans = list(overlapping(plan.spans, low, high, order.recipe))
        make = _assemble_wrap if order.recipe.packing.cuts_stream else _assemble_rows
        if order.recipe.packing.mode == PAIRS:
            make = _assemble_pairs
        for piece in make(order, spans, low, high):
            piece.first = first
            piece.variant, piece.base = divmod(first, plan.split_examples)
            first += len(piece.arrays[schema.TOKENS])
            yield piece


def _read_planned(order: DocumentOrder, span: PlacedGroup) -> GroupDocuments:
    documents = order.read(span.size.group)
    if (len(documents.row), int(documents.offsets[-1])) != (span.size.documents, span.size.tokens):
        raise BuildError(f"group {span.size.group} is not what was planned: stage files changed while the build was running. Run it again.")
    return documents


def _assemble_wrap(order: DocumentOrder, spans: Sequence[PlacedGroup], low: int, high: int) -> Iterator[ExampleChunk]:
    stream = Stream(order.recipe)

    @functools.lru_cache(maxsize=2)  # portions run through the groups in order
    def read(index: int) -> GroupDocuments:
        return _read_planned(order, spans[index])

    for first, last in _portions(low, high, order.recipe):
        begin, end = stream.begin(first), stream.end(last)
        parts = []
        position = None
        for index, span in enumerate(spans):
            if span.begin >= end or span.begin + span.size.tokens <= begin:
                continue
            documents = read(index)
            starts = documents.offsets + span.begin
            a = int(np.searchsorted(starts[1:], begin, side="right"))
            b = int(np.searchsorted(starts[:-1], end, side="left"))
            if position is None:
                first_offset = int(starts[a])
            elif position != int(starts[a]):
                raise BuildError(f"tokens {position:,} to {int(starts[a]):,} of split {span.size.group.split} are in no group")
            position = int(starts[b])
            inside = slice(documents.offsets[a], documents.offsets[b])
            where = documents.tokens[:0] if documents.spans is None else documents.spans[inside]
            lengths = np.diff(documents.offsets[a : b + 1])
            parts.append((documents.tokens[inside], where, lengths, documents.stage[a:b], documents.row[a:b], documents.copy[a:b]))
        tokens, where, lengths, stage, row, copy = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        segments = stream.lay_out(lengths, first_offset, first, last - first)
        recipe = order.recipe
        arrays = filling.fill(
            tokens,
            lengths,
            segments,
            recipe.packing,
            pad_id=recipe.pad_id,
            pads=recipe.pads,
            spans=where if order.config.vocabulary.offsets else None,
        )
        yield ExampleChunk(0, 0, 0, arrays, segments, lengths, stage, row, copy, np.zeros_like(lengths))


def _portions(low: int, high: int, recipe: Recipe) -> Iterator[tuple[int, int]]:
    """Cuts a range of examples into ranges that take little memory."""
    step = max(1, _PORTION_TOKENS // recipe.packing.seq_len)
    for first in range(low, high, step):
        yield first, min(first + step, high)


def _assemble_rows(order: DocumentOrder, spans: Sequence[PlacedGroup], low: int, high: int) -> Iterator[ExampleChunk]:
    packing = order.recipe.packing
    for span in spans:
        documents = _read_planned(order, span)
        lengths = np.diff(documents.offsets)
        rows = _shuffled(order, span)[max(0, low - span.begin) : high - span.begin]
        table = lay_out_group(documents, packing)
        first_start = np.full(len(lengths), np.iinfo(np.int64).max)
        np.minimum.at(first_start, table.document, table.start)
        for first, last in _portions(0, len(rows), order.recipe):
            segments = table.select(rows[first:last])
            arrays = filling.fill(
                documents.tokens,
                lengths,
                segments,
                packing,
                pad_id=order.recipe.pad_id,
                pads=order.recipe.pads,
                spans=documents.spans,
            )
            yield ExampleChunk(0, 0, 0, arrays, segments, lengths, documents.stage, documents.row, documents.copy, first_start)


def _shuffled(order: DocumentOrder, span: PlacedGroup) -> npt.NDArray[np.int64]:
    """The examples of a group in random order: a layout lists long documents first, and training wants all kinds everywhere."""
    group = span.size.group
    words = keys.bits(order.config.seed, f"order/examples/{group.split}/{group.index}", np.arange(span.size.examples), 1)[:, 0]
    return np.argsort(words, kind="stable")


def _assemble_pairs(order: DocumentOrder, spans: Sequence[PlacedGroup], low: int, high: int) -> Iterator[ExampleChunk]:
    packing = order.recipe.packing
    for span in spans:
        documents = _read_planned(order, span)
        every = plan_pairs(documents, packing, order.config.seed)
        opens = np.zeros(len(every), dtype=bool)
        opens[np.unique(every.document[:, 0], return_index=True)[1]] = True  # the first pair of each document
        rows = _shuffled(order, span)[max(0, low - span.begin) : high - span.begin]
        pairs = every.select(rows)
        yield ExampleChunk(
            first=0,
            variant=0,
            base=0,
            arrays=filling.fill_pairs(documents, pairs, packing, order.recipe.pad_id),
            segments=pairs.segments(),
            lengths=np.diff(documents.offsets),
            stage=documents.stage,
            row=documents.row,
            copy=documents.copy,
            first_start=np.zeros(len(documents.row), dtype=np.int64),
            begun=int(np.count_nonzero(opens[rows])),
            repeated=int(pairs.repeated.sum()),
        )
