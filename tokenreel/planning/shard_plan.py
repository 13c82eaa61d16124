"""Which shard holds which examples, from the sizes of the groups alone.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_selection.py.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.config.build import JobConfig
from tokenreel.config.splits import TRAIN, split_names
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.format.schema import RecordFormat
from tokenreel.layouts.modes import PAIRS
from tokenreel.planning import shard_plan
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import DocumentGroup, lay_out_group, plan_pairs
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.stream import Stream


def plan_all(order: DocumentOrder, sizes: Sequence[shard_plan.GroupSize]) -> list[SplitPlan]:
    """Plans every split.

    Raises:
      BuildError: nothing is left to train on.
    """
    fixed_format = order.recipe.fixed_format
    plans = []
    for split in split_names(order.config):
        plan = shard_plan.plan_split(order, split, [size for size in sizes if size.group.split == split], fixed_format)
        if split == TRAIN and not plan.shards:
            raise BuildError(
                f"the {plan.documents:,} documents of the train split hold {plan.tokens:,} tokens, which fill no example of "
                f"{order.recipe.packing.seq_len:,}. Set packing.last_example: pad, or a smaller packing.seq_len."
            )
        plans.append(plan)
    return plans


_ALIGNED_EXAMPLES = 64

HISTOGRAM_BINS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupSize:
    """What a group amounts to.

    Attributes:
      group: the documents.
      documents: their number.
      tokens: in them, bos and eos included.
      added_tokens: of these, put there by an objective.
      examples: rows of the group's layout; 0 for `wrap`, whose examples cross groups.
      dropped_documents: of which no token is laid out.
      dropped_tokens: that are not laid out, by reason.
      document_lengths: [64] number of documents whose token count has so many binary digits.
    """

    group: DocumentGroup
    documents: int
    tokens: int
    added_tokens: int
    examples: int
    dropped_documents: int
    dropped_tokens: Mapping[str, int]
    document_lengths: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlacedGroup:
    """A group and where it begins in its split: a token for `wrap`, an example otherwise."""

    size: GroupSize
    begin: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """The examples of one shard, and the groups that make them.

    Attributes:
      split: of the dataset.
      index, count: which shard of how many.
      first: number of its first example in the split.
      examples: in the shard.
      split_examples: of one variant of the split.
      spans: the groups that overlap it.
    """

    split: str
    index: int
    count: int
    first: int
    examples: int
    split_examples: int
    spans: tuple[PlacedGroup, ...]

    @property
    def file(self) -> str:
        """The shard's name."""
        return naming.shard(self.split, self.index, self.count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitPlan:
    """What becomes of a split.

    Attributes:
      split: its name.
      shards: in order.
      documents, tokens: in the split, bos and eos included.
      added_tokens: of these, put there by an objective.
      dropped_documents: of which no token is in an example.
      dropped_tokens: that are in no example, by reason.
      document_lengths: histogram as in `GroupSize`.
    """

    split: str
    shards: tuple[ShardPlan, ...]
    documents: int
    tokens: int
    added_tokens: int
    dropped_documents: int
    dropped_tokens: Mapping[str, int]
    document_lengths: tuple[int, ...]


def bit_histogram(lengths: npt.NDArray[np.integer]) -> tuple[int, ...]:
    """Counts values by their number of binary digits: bin b holds 2**(b-1) to 2**b - 1.

    >>> bit_histogram(np.array([1, 2, 3, 4]))[:5]
    (0, 1, 2, 1, 0)
    """
    digits = np.frexp(lengths.astype(np.float64))[1]
    counts: list[int] = np.bincount(digits, minlength=HISTOGRAM_BINS).tolist()
    return tuple(counts)


def measure(order: DocumentOrder, group: DocumentGroup) -> GroupSize:
    """Counts what a group holds, from the lengths of its documents alone."""
    documents = order.read(group, with_tokens=False)
    lengths = np.diff(documents.offsets)
    examples = dropped_documents = 0
    dropped_tokens: dict[str, int] = {}
    if not order.recipe.packing.cuts_stream:
        if order.recipe.packing.mode == PAIRS:
            pairs = plan_pairs(documents, order.recipe.packing, order.config.seed)
            examples, laid_out = len(pairs), pairs.document
            if pairs.trimmed.any():
                dropped_tokens["trimmed"] = int(pairs.trimmed.sum())
        else:
            table = lay_out_group(documents, order.recipe.packing)
            examples, laid_out = table.num_examples, table.document
            dropped_tokens.update(table.dropped)
        dropped_documents = len(lengths) - len(np.unique(laid_out))
    return GroupSize(
        group=group,
        documents=len(lengths),
        tokens=int(lengths.sum()),
        added_tokens=documents.added,
        examples=examples,
        dropped_documents=dropped_documents,
        dropped_tokens=dropped_tokens,
        document_lengths=bit_histogram(lengths),
    )


def examples_per_shard(config: JobConfig, fixed_format: RecordFormat) -> int:
    """How many examples every shard but the last holds."""
    if config.shards.examples is not None:
        return config.shards.examples
    fitting = (config.shards.megabytes << 20) // fixed_format.record_bytes
    return max(1, fitting // _ALIGNED_EXAMPLES * _ALIGNED_EXAMPLES or fitting)


def plan_split(order: DocumentOrder, split: str, sizes: Sequence[GroupSize], fixed_format: RecordFormat) -> SplitPlan:
    """Cuts a split into shards.

    Args:
      order: of the documents.
      split: its name.
      sizes: of all its groups, in any order.
      fixed_format: of the records.

    Raises:
      BuildError: the groups do not add up to what the stage files hold.
    """
    config = order.config
    packing = order.recipe.packing
    sizes = sorted(sizes, key=lambda size: size.group.index)
    tokens, documents = sum(size.tokens for size in sizes), sum(size.documents for size in sizes)
    added = sum(size.added_tokens for size in sizes)
    if (documents, tokens - added) != order.totals(split):
        raise BuildError(
            f"split {split}: the groups hold {documents:,} documents and {tokens - added:,} tokens, the stage files {order.totals(split)}: "
            "stage files changed while the build was running. Remove the stage directory and run again."
        )
    wrap = packing.cuts_stream
    ends = np.cumsum([size.tokens if wrap else size.examples for size in sizes], dtype=np.int64).tolist()
    spans = [PlacedGroup(size=size, begin=begin) for size, begin in zip(sizes, [0, *ends], strict=False)]
    total = ends[-1] if ends else 0
    examples = Stream(order.recipe).count(total) if wrap else total
    dropped_documents = sum(size.dropped_documents for size in sizes)
    dropped_tokens = Counter[str]()
    for size in sizes:
        dropped_tokens.update(size.dropped_tokens)
    if wrap:
        used = min(total, Stream(order.recipe).end(examples)) if examples else 0
        dropped_documents, dropped_tokens["last_example"] = _documents_from(order, spans, used), total - used
    per_shard = examples_per_shard(config, fixed_format)
    all_examples = examples * config.variants
    count = -(-all_examples // per_shard)
    shards = []
    for index in range(count):
        first = index * per_shard
        number = min(per_shard, all_examples - first)
        ranges = base_ranges(first, number, examples)
        needed = {span.begin: span for low, high in ranges for span in overlapping(spans, low, high, order.recipe)}
        shards.append(
            ShardPlan(
                split=split,
                index=index,
                count=count,
                first=first,
                examples=number,
                split_examples=examples,
                spans=tuple(needed.values()),
            )
        )
    histogram = tuple(sum(column) for column in zip(*(size.document_lengths for size in sizes), strict=True))
    return SplitPlan(
        split=split,
        shards=tuple(shards),
        documents=documents,
        tokens=tokens,
        added_tokens=added,
        dropped_documents=dropped_documents,
        dropped_tokens=+dropped_tokens,
        document_lengths=histogram or (0,) * HISTOGRAM_BINS,
    )


def _documents_from(order: DocumentOrder, spans: Sequence[PlacedGroup], token: int) -> int:
    """How many documents begin at or after a token of the split."""
    count = 0
    for span in spans:
        if span.begin >= token:
            count += span.size.documents
        elif span.begin + span.size.tokens > token:
            starts = order.read(span.size.group, with_tokens=False).offsets[:-1] + span.begin
            count += int(np.count_nonzero(starts >= token))
    return count


def base_ranges(first: int, number: int, split_examples: int) -> Iterator[tuple[int, int]]:
    """The ranges of a split's examples that a shard holds, one for each variant it touches."""
    end = first + number
    while first < end:
        low = first % split_examples
        high = min(split_examples, low + end - first)
        yield low, high
        first += high - low


def overlapping(spans: Sequence[PlacedGroup], low: int, high: int, recipe: Recipe) -> Iterator[PlacedGroup]:
    """Yields the groups that hold a part of the examples [low, high), or of the tokens they are cut from."""
    wrap = recipe.packing.cuts_stream
    if wrap:
        low, high = Stream(recipe).begin(low), Stream(recipe).end(high)
    for span in spans:
        length = span.size.tokens if wrap else span.size.examples
        if length and span.begin < high and span.begin + length > low:
            yield span
