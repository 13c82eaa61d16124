"""From the plan of a shard to its examples.

Examples are numbered through the whole split, variants one after the other, so a shard is a range of numbers. For `wrap` an example is a
range of the split's tokens; for the other layouts it is a row of a group's layout. Either way a shard needs only the groups that overlap
it:

    ShardPlan -> ranges of examples, one for each variant -> the groups that overlap a range -> their documents -> layout -> ExampleChunk

A chunk is as much of a shard as is held in memory at a time.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_selection.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.assembly import filling
from tokenreel.errors import BuildError
from tokenreel.layouts.modes import PAIRS
from tokenreel.layouts.table import Layout
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import GroupDocuments, lay_out_group, plan_pairs
from tokenreel.planning.group_table import PlacedGroup
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.shard_plan import ShardPlan, overlapping, ranges_by_variant
from tokenreel.planning.stream import Stream

_CHUNK_TOKENS = 1 << 21


@dataclasses.dataclass(kw_only=True)
class ExampleChunk:
    """Some examples of a shard before they are written: n examples of one variant, made of d documents.

    Attributes:
      arrays: [n, ...] `tokens`, `document_starts`, `num_tokens`, and others that the layout makes.
      layout: which segment of which document lies where; its documents are places in the arrays below.
      lengths: int64 [d] tokens of each document.
      stage, row: int64 [d] the stage file of each document, counted in text order, and its place in that file.
      repeat: int64 [d] which repeat of the document each is.
      number: int64 [d] of each document in the split, in the order in which documents are laid out.
      first_start: int64 [d] where the first segment of each document begins, of all segments in the split.
      begun_documents, cut_documents: documents that begin in these examples, and those of them that lie whole in no example, where
        `layout` does not tell (pairs).
      repeated_tokens: tokens that another example counts as its own, where `layout` does not tell (pairs).
      token_spans: int64 [tokens of all documents] where each lies in its text, documents end to end; None where stage files do not say.
      first: number of the first example in the split, variants counted.
      variant: the variant that the examples belong to.
      base: number of the first example in its variant: what random choices are keyed by.
    """

    arrays: dict[str, npt.NDArray[Any]]
    layout: Layout
    lengths: npt.NDArray[np.int64]
    stage: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    repeat: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    first_start: npt.NDArray[np.int64]
    begun_documents: int = 0
    cut_documents: int = 0
    repeated_tokens: int = 0
    token_spans: npt.NDArray[np.int64] | None = None
    first: int = 0
    variant: int = 0
    base: int = 0


def assemble(order: DocumentOrder, plan: ShardPlan) -> Iterator[ExampleChunk]:
    """Lays the documents of a shard out as examples, chunk by chunk in the order of the examples.

    Raises:
      BuildError: the documents read are not those that were planned.
    """
    recipe = order.recipe
    assemble_range = _assemble_wrap if recipe.packing.cuts_stream else _assemble_pairs if recipe.packing.mode == PAIRS else _assemble_rows
    first = plan.first
    for low, high in ranges_by_variant(plan.first, plan.examples, plan.split_examples):
        groups = list(overlapping(plan.groups, low, high, recipe))
        for chunk in assemble_range(order, groups, low, high):
            variant, base = divmod(first, plan.split_examples)
            yield dataclasses.replace(chunk, first=first, variant=variant, base=base)
            first += chunk.layout.num_examples


def _read_planned(order: DocumentOrder, placed: PlacedGroup) -> GroupDocuments:
    """Reads a group, and checks that it holds what was measured.

    Raises:
      BuildError: it does not.
    """
    size = placed.size
    documents = order.read(size.group)
    if (len(documents.row), int(documents.offsets[-1])) != (size.documents, size.tokens):
        raise BuildError(f"group {size.group} is not what was planned: stage files changed while the build was running. Run it again.")
    return documents


def _chunks(low: int, high: int, recipe: Recipe) -> Iterator[tuple[int, int]]:
    """Cuts a range of examples into ranges that take little memory."""
    step = max(1, _CHUNK_TOKENS // recipe.packing.seq_len)
    for first in range(low, high, step):
        yield first, min(first + step, high)


# Wrap: examples are ranges of the split's tokens, whatever groups these lie in.


def _assemble_wrap(order: DocumentOrder, groups: Sequence[PlacedGroup], low: int, high: int) -> Iterator[ExampleChunk]:
    """Cuts the examples [low, high) from the tokens of the split."""
    recipe, stream = order.recipe, Stream(order.recipe)

    # Chunks go through the groups in order, and a group may hold several chunks: the two that a chunk can end in are kept.
    @functools.lru_cache(maxsize=2)
    def read(index: int) -> GroupDocuments:
        return _read_planned(order, groups[index])

    for first, last in _chunks(low, high, recipe):
        stretch = _read_stretch(read, groups, stream.begin(first), stream.end(last))
        layout = stream.lay_out(stretch.lengths, stretch.offset, first, last - first)
        spans = stretch.token_spans if order.config.vocabulary.offsets else None
        arrays = filling.fill(stretch.tokens, stretch.lengths, layout, recipe.packing, pad_id=recipe.pad_id, pads=recipe.pads, spans=spans)
        yield ExampleChunk(
            arrays=arrays,
            layout=layout,
            lengths=stretch.lengths,
            stage=stretch.stage,
            row=stretch.row,
            repeat=stretch.repeat,
            number=stretch.number,
            first_start=np.zeros(len(stretch.lengths), dtype=np.int64),  # the stream leaves out no beginning
            token_spans=spans,
        )


@dataclasses.dataclass(kw_only=True)
class _Stretch:
    """The d documents that touch a stretch of a split's tokens, whole.

    Attributes:
      offset: the token of the split with which the first document begins.
      tokens: [num_tokens] documents end to end.
      token_spans: int64 [num_tokens] where each token lies in the text; empty where stage files do not say.
      lengths, stage, row, repeat, number: int64 [d], see `ExampleChunk`.
    """

    offset: int
    tokens: npt.NDArray[Any]
    token_spans: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    stage: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    repeat: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]


def _read_stretch(read: Callable[[int], GroupDocuments], groups: Sequence[PlacedGroup], begin: int, end: int) -> _Stretch:
    """Reads the documents that touch the tokens [begin, end) of a split.

    Args:
      read: gives the documents of a group by its number in `groups`.
      groups: groups that hold these tokens, in order.
      begin: the first token.
      end: the token behind the last one.

    Raises:
      BuildError: between two groups tokens are missing.
    """
    parts: list[_Stretch] = []
    position = None  # behind the documents found so far
    for index, placed in enumerate(groups):
        if placed.begin >= end or placed.end <= begin:
            continue
        documents = read(index)
        bounds = documents.offsets + placed.begin
        a = int(np.searchsorted(bounds[1:], begin, side="right"))  # the first document that ends behind `begin`
        b = int(np.searchsorted(bounds[:-1], end, side="left"))  # the first one that begins at `end` or later
        offset = int(bounds[a])
        if position not in (None, offset):
            raise BuildError(f"tokens {position:,} to {offset:,} of split {placed.size.group.split} are in no group")
        position = int(bounds[b])
        inside = slice(documents.offsets[a], documents.offsets[b])
        parts.append(
            _Stretch(
                offset=offset,
                tokens=documents.tokens[inside],
                token_spans=documents.tokens[:0] if documents.token_spans is None else documents.token_spans[inside],
                lengths=np.diff(documents.offsets[a : b + 1]),
                stage=documents.stage[a:b],
                row=documents.row[a:b],
                repeat=documents.repeat[a:b],
                number=placed.documents + np.arange(a, b),
            )
        )
    if len(parts) == 1:
        return parts[0]
    arrays = ("tokens", "token_spans", "lengths", "stage", "row", "repeat", "number")
    return _Stretch(offset=parts[0].offset, **{name: np.concatenate([getattr(part, name) for part in parts]) for name in arrays})


# The other layouts: each group is laid out by itself, and its examples are rows of its layout.


def _assemble_rows(order: DocumentOrder, groups: Sequence[PlacedGroup], low: int, high: int) -> Iterator[ExampleChunk]:
    """Picks the examples [low, high) from the layouts of the groups."""
    recipe = order.recipe
    for placed in groups:
        documents = _read_planned(order, placed)
        lengths = np.diff(documents.offsets)
        layout = lay_out_group(documents, recipe.packing)
        # A layout may leave out a document's beginning: the first of the segments that it has then stands for the document.
        first_start = np.full(len(lengths), np.iinfo(np.int64).max)
        np.minimum.at(first_start, layout.document, layout.start)
        rows = _shuffled_rows(order, placed, low, high)
        for first, last in _chunks(0, len(rows), recipe):
            own = layout.select(rows[first:last])
            arrays = filling.fill(
                documents.tokens, lengths, own, recipe.packing, pad_id=recipe.pad_id, pads=recipe.pads, spans=documents.token_spans
            )
            yield ExampleChunk(
                arrays=arrays,
                layout=own,
                lengths=lengths,
                stage=documents.stage,
                row=documents.row,
                repeat=documents.repeat,
                number=placed.documents + np.arange(len(lengths)),
                first_start=first_start,
                token_spans=documents.token_spans,
            )


def _assemble_pairs(order: DocumentOrder, groups: Sequence[PlacedGroup], low: int, high: int) -> Iterator[ExampleChunk]:
    """Picks the examples [low, high) from the segment pairs of the groups, a chunk for each group."""
    recipe = order.recipe
    for placed in groups:
        documents = _read_planned(order, placed)
        pairs = plan_pairs(documents, recipe.packing, order.config.seed)
        lengths = np.diff(documents.offsets)
        opened = np.full(len(pairs), -1)  # the document whose first pair it is
        heads = np.unique(pairs.document[:, 0], return_index=True)[1]
        opened[heads] = pairs.document[heads, 0]
        rows = _shuffled_rows(order, placed, low, high)
        own, begun = pairs.select(rows), opened[rows][opened[rows] >= 0]
        yield ExampleChunk(
            arrays=filling.fill_pairs(documents, own, recipe.packing, recipe.pad_id),
            layout=own.layout(),
            lengths=lengths,
            stage=documents.stage,
            row=documents.row,
            repeat=documents.repeat,
            number=placed.documents + np.arange(len(lengths)),
            first_start=np.zeros_like(lengths),
            begun_documents=len(begun),
            cut_documents=int(np.count_nonzero(~pairs.whole(lengths)[begun])),
            repeated_tokens=int(own.repeated.sum()),
        )


def _shuffled_rows(order: DocumentOrder, placed: PlacedGroup, low: int, high: int) -> npt.NDArray[np.int64]:
    """Gives the rows of a group's layout that the examples [low, high) of the split are: int64.

    The rows of a group are shuffled: a layout lists long documents first, and training wants all kinds everywhere.
    """
    group = placed.size.group
    words = keys.bits(order.config.seed, f"order/examples/{group.split}/{group.index}", np.arange(placed.size.examples), 1)[:, 0]
    return np.argsort(words, kind="stable")[max(0, low - placed.begin) : high - placed.begin]
