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
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import DocumentGroup, lay_out_group, plan_pairs
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.stream import Stream

_ALIGNED_EXAMPLES = 64  # shards hold a multiple of this, where that many fit: batches then end with shards
HISTOGRAM_BINS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupSize:
    """What a group amounts to.

    Attributes:
      group: the group that was measured.
      documents: their number.
      tokens: in them, bos and eos included.
      added_tokens: how many of these an objective put there.
      examples: rows of the group's layout; 0 for `wrap`, whose examples cross groups.
      dropped_documents: documents of which no token is laid out.
      dropped_document_tokens: the tokens of these.
      dropped_tokens: tokens that are not laid out, by reason.
      document_lengths: [64] number of documents whose token count has so many binary digits.
    """

    group: DocumentGroup
    documents: int
    tokens: int
    added_tokens: int
    examples: int
    dropped_documents: int
    dropped_document_tokens: int
    dropped_tokens: Mapping[str, int]
    document_lengths: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlacedGroup:
    """A group and its range [begin, end) in the split: of tokens for `wrap`, of examples for the other layouts.

    Attributes:
      size: the group.
      begin, end: its range.
      documents: how many documents the groups before it hold.
    """

    size: GroupSize
    begin: int
    end: int
    documents: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """The examples of one shard, and the groups that make them.

    Attributes:
      split: of the dataset.
      index, count: which shard of how many.
      first: number of its first example in the split, variants counted.
      examples: in the shard.
      split_examples: examples of one variant of the split.
      groups: the groups that overlap the shard.
    """

    split: str
    index: int
    count: int
    first: int
    examples: int
    split_examples: int
    groups: tuple[PlacedGroup, ...]

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
      added_tokens: how many of these tokens an objective put there.
      dropped_documents: documents of which no token is in an example.
      dropped_document_tokens: the tokens of these.
      dropped_tokens: tokens that are in no example, by reason.
      document_lengths: histogram as in `GroupSize`.
    """

    split: str
    shards: tuple[ShardPlan, ...]
    documents: int
    tokens: int
    added_tokens: int
    dropped_documents: int
    dropped_document_tokens: int
    dropped_tokens: Mapping[str, int]
    document_lengths: tuple[int, ...]


def bit_histogram(lengths: npt.NDArray[np.integer]) -> tuple[int, ...]:
    """Counts [n] values by their number of binary digits: bin b holds 2**(b-1) to 2**b - 1.

    >>> bit_histogram(np.array([1, 2, 3, 4]))[:5]
    (0, 1, 2, 1, 0)
    """
    digits = np.frexp(lengths.astype(np.float64))[1]  # the exponent, exact below 2**53
    counts: list[int] = np.bincount(digits, minlength=HISTOGRAM_BINS).tolist()
    return tuple(counts)


def measure(order: DocumentOrder, group: DocumentGroup) -> GroupSize:
    """Counts what a group holds, from the lengths of its documents alone."""
    documents = order.read(group, with_tokens=False)
    lengths = np.diff(documents.offsets)
    packing = order.recipe.packing
    examples = 0
    left_out = np.zeros(len(lengths), dtype=np.bool_)
    dropped_tokens: dict[str, int] = {}
    if not packing.cuts_stream:  # what a cut stream drops is only known once all groups are measured
        if packing.mode == PAIRS:
            pairs = plan_pairs(documents, packing, order.config.seed)
            examples, laid_out = len(pairs), pairs.document
            # Of what is trimmed, a document loses only what no pair holds: sentences come again, beside those of others too.
            if trimmed := int(lengths.sum()) - int(pairs.length.sum()) + int(pairs.repeated.sum()):
                dropped_tokens["trimmed"] = trimmed
        else:
            layout = lay_out_group(documents, packing)
            examples, laid_out = layout.num_examples, layout.document
            dropped_tokens.update(layout.dropped)
        left_out[:] = True
        left_out[laid_out] = False
    return GroupSize(
        group=group,
        documents=len(lengths),
        tokens=int(lengths.sum()),
        added_tokens=documents.added,
        examples=examples,
        dropped_documents=int(np.count_nonzero(left_out)),
        dropped_document_tokens=int(lengths[left_out].sum()),
        dropped_tokens=dropped_tokens,
        document_lengths=bit_histogram(lengths),
    )


def examples_per_shard(config: JobConfig, fixed_format: RecordFormat) -> int:
    """Says how many examples every shard but the last holds."""
    if config.shards.examples is not None:
        return config.shards.examples
    fitting = (config.shards.megabytes << 20) // fixed_format.record_bytes
    return max(1, fitting // _ALIGNED_EXAMPLES * _ALIGNED_EXAMPLES or fitting)


def plan_all(order: DocumentOrder, sizes: Sequence[GroupSize]) -> list[SplitPlan]:
    """Plans every split.

    Args:
      order: the documents.
      sizes: of all groups of all splits, in any order.

    Raises:
      BuildError: nothing is left to train on, or as `plan_split`.
    """
    plans = []
    for split in split_names(order.config):
        plan = plan_split(order, split, [size for size in sizes if size.group.split == split])
        if split == TRAIN and not plan.shards:
            raise BuildError(_nothing_to_train_on(order, plan))
        plans.append(plan)
    return plans


def _nothing_to_train_on(order: DocumentOrder, plan: SplitPlan) -> str:
    """Says why the train split has no example, and which setting would give it one."""
    packing, chosen = order.recipe.packing, order.selections
    if not plan.documents:
        held_out = sum(order.totals(split)[0] for split in split_names(order.config) if split != TRAIN)
        duplicates, not_sampled = (sum(getattr(selection, name) for selection in chosen) for name in ("duplicates", "not_sampled"))
        return (
            f"no document is left for the train split: {held_out:,} went to held-out splits, {duplicates:,} are duplicates, and "
            f"{not_sampled:,} are not sampled. Lower the shares in splits, raise sources.epochs, or add text."
        )
    dropped = ", ".join(f"{count:,} for {reason}" for reason, count in plan.dropped_tokens.items())
    padding = packing.mode == "wrap" and packing.last_example != "pad"
    return (
        f"the {plan.documents:,} documents of the train split hold {plan.tokens:,} tokens, which fill no example of {packing.seq_len:,} "
        f"in mode {packing.mode} (dropped: {dropped or 'none'}). Set {'packing.last_example: pad, or ' if padding else ''}a smaller "
        "packing.seq_len, or add text."
    )


def plan_split(order: DocumentOrder, split: str, sizes: Sequence[GroupSize]) -> SplitPlan:
    """Cuts a split into shards.

    Args:
      order: the documents.
      split: its name.
      sizes: of all its groups, in any order.

    Raises:
      BuildError: the groups do not add up to what the stage files hold.
    """
    sizes = sorted(sizes, key=lambda size: size.group.index)
    _check_totals(order, split, sizes)
    # From here on all is arithmetic on what was measured: no document is read to plan a shard.
    groups = _place(sizes, by_tokens=order.recipe.packing.cuts_stream)
    examples = _count_examples(order.recipe, groups)
    dropped_documents, dropped_document_tokens, dropped_tokens = _count_dropped(order, groups, examples)
    histogram = tuple(sum(column) for column in zip(*(size.document_lengths for size in sizes), strict=True))
    return SplitPlan(
        split=split,
        shards=tuple(_cut_shards(order.recipe, split, groups, examples)),
        documents=sum(size.documents for size in sizes),
        tokens=sum(size.tokens for size in sizes),
        added_tokens=sum(size.added_tokens for size in sizes),
        dropped_documents=dropped_documents,
        dropped_document_tokens=dropped_document_tokens,
        dropped_tokens=dropped_tokens,
        document_lengths=histogram or (0,) * HISTOGRAM_BINS,
    )


def _check_totals(order: DocumentOrder, split: str, sizes: Sequence[GroupSize]) -> None:
    """Refuses groups that do not hold each document of the split once: their number and tokens were counted on the stage files before.

    Raises:
      BuildError: see above.
    """
    documents = sum(size.documents for size in sizes)
    tokens = sum(size.tokens - size.added_tokens for size in sizes)
    if (documents, tokens) != order.totals(split):
        raise BuildError(
            f"split {split}: the groups hold {documents:,} documents and {tokens:,} tokens, the stage files {order.totals(split)}: "
            "stage files changed while the build was running. Remove the stage directory and run again."
        )


def _place(sizes: Sequence[GroupSize], *, by_tokens: bool) -> list[PlacedGroup]:
    """Lays groups end to end, by their tokens or by their examples."""
    placed, begin, documents = [], 0, 0
    for size in sizes:
        end = begin + (size.tokens if by_tokens else size.examples)
        placed.append(PlacedGroup(size=size, begin=begin, end=end, documents=documents))
        begin, documents = end, documents + size.documents
    return placed


def _count_examples(recipe: Recipe, groups: Sequence[PlacedGroup]) -> int:
    """Counts the examples of one variant of a split."""
    end = groups[-1].end if groups else 0
    return Stream(recipe).count(end) if recipe.packing.cuts_stream else end


def _count_dropped(order: DocumentOrder, groups: Sequence[PlacedGroup], examples: int) -> tuple[int, int, dict[str, int]]:
    """Counts the documents of which no token is in an example, the tokens of these, and the tokens in none, by reason."""
    documents = sum(placed.size.dropped_documents for placed in groups)
    tokens_of_documents = sum(placed.size.dropped_document_tokens for placed in groups)
    tokens = Counter[str]()
    for placed in groups:
        tokens.update(placed.size.dropped_tokens)  # adds, as a Counter does
    if order.recipe.packing.cuts_stream:
        total = groups[-1].end if groups else 0
        used = min(total, Stream(order.recipe).end(examples)) if examples else 0
        (documents, tokens_of_documents), tokens["last_example"] = _documents_from(order, groups, used), total - used
    return documents, tokens_of_documents, dict(+tokens)  # without the reasons that have no tokens


def _documents_from(order: DocumentOrder, groups: Sequence[PlacedGroup], token: int) -> tuple[int, int]:
    """Counts the documents that begin at or after a token of the split, and their tokens."""
    count = tokens = 0
    for placed in groups:
        if placed.begin >= token:
            count += placed.size.documents
            tokens += placed.size.tokens
        elif placed.end > token:  # of this one group the lengths are read again
            offsets = order.read(placed.size.group, with_tokens=False).offsets
            behind = offsets[:-1] + placed.begin >= token
            count += int(np.count_nonzero(behind))
            tokens += int(np.diff(offsets)[behind].sum())
    return count, tokens


def _cut_shards(recipe: Recipe, split: str, groups: Sequence[PlacedGroup], split_examples: int) -> Iterator[ShardPlan]:
    """Cuts the examples of a split, its variants one after the other, into shards of equal numbers."""
    per_shard = examples_per_shard(recipe.config, recipe.fixed_format)
    total = split_examples * recipe.config.variants
    count = -(-total // per_shard)
    for index in range(count):
        first = index * per_shard
        number = min(per_shard, total - first)
        # A shard that touches two variants may need a group for both, and names it once.
        needed = {
            placed.begin: placed
            for low, high in ranges_by_variant(first, number, split_examples)
            for placed in overlapping(groups, low, high, recipe)
        }
        yield ShardPlan(
            split=split,
            index=index,
            count=count,
            first=first,
            examples=number,
            split_examples=split_examples,
            groups=tuple(needed.values()),
        )


def ranges_by_variant(first: int, number: int, split_examples: int) -> Iterator[tuple[int, int]]:
    """Yields which examples of each variant a shard holds, as ranges [low, high); it may touch several variants.

    >>> list(ranges_by_variant(first=7, number=6, split_examples=10))
    [(7, 10), (0, 3)]
    """
    end = first + number
    while first < end:
        low = first % split_examples
        high = min(split_examples, low + end - first)
        yield low, high
        first += high - low


def overlapping(groups: Sequence[PlacedGroup], low: int, high: int, recipe: Recipe) -> Iterator[PlacedGroup]:
    """Yields the groups that hold a part of the examples [low, high), or of the tokens they are cut from."""
    if recipe.packing.cuts_stream:
        low, high = Stream(recipe).begin(low), Stream(recipe).end(high)
    for placed in groups:
        if placed.begin < placed.end and placed.begin < high and placed.end > low:
            yield placed
