"""Which shard holds which examples, from the sizes of the groups alone.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_selection.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.config.splits import TRAIN, split_names
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.layouts.modes import PAIRS
from tokenreel.lazy_sequence import LazySequence
from tokenreel.planning import group_table
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import DocumentGroup, lay_out_group, plan_pairs
from tokenreel.planning.group_table import GroupSize, PlacedGroup, PlacedGroups
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.stream import Stream
from tokenreel.storage import column_file
from tokenreel.storage.column_file import ColumnFile, Columns

HISTOGRAM_BINS = 64


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
    shards: Sequence[ShardPlan]
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


def tokens_per_shard(recipe: Recipe) -> int:
    """Says how many tokens make a shard."""
    return examples_per_shard(recipe) * recipe.packing.seq_len


def examples_per_shard(recipe: Recipe) -> int:
    """Says how many examples every shard but the last holds."""
    return recipe.config.shards.examples_per_shard(recipe.fixed_format.record_bytes)


def plan_all(order: DocumentOrder, sizes: Columns) -> list[SplitPlan]:
    """Plans every split.

    Args:
      order: the documents.
      sizes: of all groups of all splits, as `group_table.to_row` says, sorted by their index.

    Raises:
      BuildError: nothing is left to train on, or as `plan_split`.
    """
    plans = []
    of_each = sizes.arrays.get("split", np.zeros(0, dtype="S1"))
    for split in split_names(order.config):
        plan = plan_split(order, split, sizes.take(np.flatnonzero(of_each == split.encode())))
        if split == TRAIN and not plan.shards:
            raise BuildError(_nothing_to_train_on(order, plan))
        plans.append(plan)
    return plans


def _nothing_to_train_on(order: DocumentOrder, plan: SplitPlan) -> str:
    """Says why the train split has no example, and which setting would give it one."""
    packing, chosen = order.recipe.packing, order.selections
    if not plan.documents:
        held_out = sum(order.totals(split)[0] for split in split_names(order.config) if split != TRAIN)
        duplicates, not_sampled = (int(chosen.numbers(name).sum()) for name in ("duplicates", "not_sampled"))
        scored = "".join(f"{count:,} have {name.replace('_', ' ')}, " for name, count in chosen.scored().items())
        return (
            f"no document is left for the train split: {held_out:,} went to held-out splits, {duplicates:,} are duplicates, {scored}and "
            f"{not_sampled:,} are not sampled. Lower the shares in splits, raise sources.epochs, or add text."
        )
    dropped = ", ".join(f"{count:,} for {reason}" for reason, count in plan.dropped_tokens.items())
    padding = packing.mode == "wrap" and packing.last_example != "pad"
    return (
        f"the {plan.documents:,} documents of the train split hold {plan.tokens:,} tokens, which fill no example of {packing.seq_len:,} "
        f"in mode {packing.mode} (dropped: {dropped or 'none'}). Set {'packing.last_example: pad, or ' if padding else ''}a smaller "
        "packing.seq_len, or add text."
    )


def plan_split(order: DocumentOrder, split: str, sizes: Columns) -> SplitPlan:
    """Cuts a split into shards.

    Args:
      order: the documents.
      split: its name.
      sizes: of all its groups, sorted by their index.

    Raises:
      BuildError: the groups do not add up to what the stage files hold.
    """
    _check_totals(order, split, sizes)
    # From here on all is arithmetic on what was measured: no document is read to plan a shard.
    groups = group_table.place(sizes, by_tokens=order.recipe.packing.cuts_stream)
    examples = _count_examples(order.recipe, groups)
    dropped_documents, dropped_document_tokens, dropped_tokens = _count_dropped(order, groups, examples)
    documents, tokens, added_tokens = (int(sizes.numbers(name).sum()) for name in ("documents", "tokens", "added_tokens"))
    return SplitPlan(
        split=split,
        shards=ShardPlans(order.recipe, split, groups, examples),
        documents=documents,
        tokens=tokens,
        added_tokens=added_tokens,
        dropped_documents=dropped_documents,
        dropped_document_tokens=dropped_document_tokens,
        dropped_tokens=dropped_tokens,
        document_lengths=tuple(sizes.numbers("document_lengths").sum(axis=0).tolist()) if len(groups) else (0,) * HISTOGRAM_BINS,
    )


def _check_totals(order: DocumentOrder, split: str, sizes: Columns) -> None:
    """Refuses groups that do not hold each document of the split once: their number and tokens were counted on the stage files before.

    Raises:
      BuildError: see above.
    """
    documents = int(sizes.numbers("documents").sum())
    tokens = int((sizes.numbers("tokens") - sizes.numbers("added_tokens")).sum())
    if (documents, tokens) != order.totals(split):
        raise BuildError(
            f"split {split}: the groups hold {documents:,} documents and {tokens:,} tokens, the stage files {order.totals(split)}: "
            "stage files changed while the build was running. Remove the stage directory and run again."
        )


def _count_examples(recipe: Recipe, groups: PlacedGroups) -> int:
    """Counts the examples of one variant of a split."""
    end = int(groups.end[-1]) if len(groups) else 0
    return Stream(recipe).count(end) if recipe.packing.cuts_stream else end


def _count_dropped(order: DocumentOrder, groups: PlacedGroups, examples: int) -> tuple[int, int, dict[str, int]]:
    """Counts the documents of which no token is in an example, the tokens of these, and the tokens in none, by reason."""
    columns = groups.columns
    documents, tokens_of_documents = (int(columns.numbers(name).sum()) for name in ("dropped_documents", "dropped_document_tokens"))
    tokens = group_table.dropped(columns)
    if order.recipe.packing.cuts_stream:
        total = int(groups.end[-1]) if len(groups) else 0
        used = min(total, Stream(order.recipe).end(examples)) if examples else 0
        (documents, tokens_of_documents), tokens["last_example"] = _documents_from(order, groups, used), total - used
    return documents, tokens_of_documents, {reason: count for reason, count in tokens.items() if count}


def _documents_from(order: DocumentOrder, groups: PlacedGroups, token: int) -> tuple[int, int]:
    """Counts the documents that begin at or after a token of the split, and their tokens."""
    behind = groups.begin >= token
    count, tokens = (int(groups.columns.numbers(name)[behind].sum()) for name in ("documents", "tokens"))
    for index in np.flatnonzero(~behind & (groups.end > token)).tolist():  # at most one: of it the lengths are read again
        placed = groups[index]
        offsets = order.read(placed.size.group, with_tokens=False).offsets
        inside = offsets[:-1] + placed.begin >= token
        count += int(np.count_nonzero(inside))
        tokens += int(np.diff(offsets)[inside].sum())
    return count, tokens


class ShardPlans(LazySequence[ShardPlan]):
    """The shards of a split: its examples, its variants one after the other, cut into equal numbers; each is planned when asked for."""

    def __init__(self, recipe: Recipe, split: str, groups: PlacedGroups, split_examples: int) -> None:
        """Takes what is built, the name of the split, its groups, and the examples of one variant."""
        self.groups, self.split_examples = groups, split_examples
        self._recipe, self._split = recipe, split
        self._per_shard = examples_per_shard(recipe)
        self._total = split_examples * recipe.config.variants

    def __len__(self) -> int:
        return -(-self._total // self._per_shard)

    def _make(self, index: int) -> ShardPlan:
        first = index * self._per_shard
        number = min(self._per_shard, self._total - first)
        # A shard that touches two variants may need a group for both, and names it once.
        needed = {
            placed.begin: placed
            for low, high in ranges_by_variant(first, number, self.split_examples)
            for placed in self.groups.between(*_places(low, high, self._recipe))
        }
        return ShardPlan(
            split=self._split,
            index=first // self._per_shard,
            count=len(self),
            first=first,
            examples=number,
            split_examples=self.split_examples,
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


def _places(low: int, high: int, recipe: Recipe) -> tuple[int, int]:
    """Says where the examples [low, high) lie among the groups: for a stream that is cut the tokens that they are cut from."""
    return (Stream(recipe).begin(low), Stream(recipe).end(high)) if recipe.packing.cuts_stream else (low, high)


def overlapping(groups: Sequence[PlacedGroup], low: int, high: int, recipe: Recipe) -> Iterator[PlacedGroup]:
    """Yields those of a shard's groups that hold a part of the examples [low, high), or of the tokens they are cut from."""
    low, high = _places(low, high, recipe)
    for placed in groups:
        if placed.begin < placed.end and placed.begin < high and placed.end > low:
            yield placed


def write(directory: str, plans: Sequence[SplitPlan]) -> ColumnFile:
    """Writes the plan of every split into one file, from which `load` reads it back."""
    shards = [plan.shards for plan in plans]
    placed = [each for each in shards if isinstance(each, ShardPlans)]
    about = [
        {
            **{field.name: getattr(plan, field.name) for field in dataclasses.fields(plan) if field.name != "shards"},
            "examples": each.split_examples,
            "groups": len(each.groups),
        }
        for plan, each in zip(plans, placed, strict=True)
    ]
    return column_file.write(directory, "plan", Columns.concatenate([each.groups.columns for each in placed], about))


def load(recipe: Recipe, file: ColumnFile) -> list[SplitPlan]:
    """Reads the plan of every split.

    Raises:
      BuildError: the file is gone or damaged.
    """
    found, plans, begin = column_file.read(file), [], 0
    for about in found.about:
        facts = dict(about)
        examples, groups = facts.pop("examples"), facts.pop("groups")
        own = found.take(slice(begin, begin + groups))
        shards = ShardPlans(recipe, facts["split"], PlacedGroups(own), examples)
        plans.append(SplitPlan(**{**facts, "shards": shards, "document_lengths": tuple(facts["document_lengths"])}))
        begin += groups
    return plans
