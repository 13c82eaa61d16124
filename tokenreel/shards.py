"""From ordered documents to shards: which examples a shard holds, their arrays, and the file.

Examples are numbered through the whole split, so a shard is a range of numbers. For `wrap` an example is a range of the split's tokens; for
the other layouts it is a row of a group's layout. Either way a shard needs only the groups that overlap it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import filling, keys
from tokenreel.config.build import JobConfig
from tokenreel.errors import BuildError
from tokenreel.format import example_codec, naming, schema, tfrecord
from tokenreel.format.manifest import FIXED, ShardInfo, VocabularyInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.groups import DocumentOrder, Group, GroupDocuments, lay_out_group, plan_pairs
from tokenreel.layouts.modes import PAIRS
from tokenreel.layouts.table import Layout
from tokenreel.objectives.registry import add_statistics
from tokenreel.recipe import Recipe
from tokenreel.storage import files
from tokenreel.stream import Stream

_CHUNK_BYTES = 8 << 20
_ALIGNED_EXAMPLES = 64
_COUNTED_EXAMPLES = 512
_PORTION_TOKENS = 1 << 21
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

    group: Group
    documents: int
    tokens: int
    added_tokens: int
    examples: int
    dropped_documents: int
    dropped_tokens: Mapping[str, int]
    document_lengths: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupSpan:
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
    spans: tuple[GroupSpan, ...]

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


def measure(order: DocumentOrder, group: Group) -> GroupSize:
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


def examples_per_shard(config: JobConfig, layout: RecordFormat) -> int:
    """How many examples every shard but the last holds."""
    if config.shards.examples is not None:
        return config.shards.examples
    fitting = (config.shards.megabytes << 20) // layout.record_bytes
    return max(1, fitting // _ALIGNED_EXAMPLES * _ALIGNED_EXAMPLES or fitting)


def plan_split(order: DocumentOrder, split: str, sizes: Sequence[GroupSize], layout: RecordFormat) -> SplitPlan:
    """Cuts a split into shards.

    Args:
      order: of the documents.
      split: its name.
      sizes: of all its groups, in any order.
      layout: of the records.

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
    spans = [GroupSpan(size=size, begin=begin) for size, begin in zip(sizes, [0, *ends], strict=False)]
    total = ends[-1] if ends else 0
    examples = Stream(order.recipe).count(total) if wrap else total
    dropped_documents = sum(size.dropped_documents for size in sizes)
    dropped_tokens = Counter[str]()
    for size in sizes:
        dropped_tokens.update(size.dropped_tokens)
    if wrap:
        used = min(total, Stream(order.recipe).end(examples)) if examples else 0
        dropped_documents, dropped_tokens["last_example"] = _documents_from(order, spans, used), total - used
    per_shard = examples_per_shard(config, layout)
    all_examples = examples * config.variants
    count = -(-all_examples // per_shard)
    shards = []
    for index in range(count):
        first = index * per_shard
        number = min(per_shard, all_examples - first)
        ranges = _base_ranges(first, number, examples)
        needed = {span.begin: span for low, high in ranges for span in _overlapping(spans, low, high, order.recipe)}
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


def _documents_from(order: DocumentOrder, spans: Sequence[GroupSpan], token: int) -> int:
    """How many documents begin at or after a token of the split."""
    count = 0
    for span in spans:
        if span.begin >= token:
            count += span.size.documents
        elif span.begin + span.size.tokens > token:
            starts = order.read(span.size.group, with_tokens=False).offsets[:-1] + span.begin
            count += int(np.count_nonzero(starts >= token))
    return count


def _base_ranges(first: int, number: int, split_examples: int) -> Iterator[tuple[int, int]]:
    """The ranges of a split's examples that a shard holds, one for each variant it touches."""
    end = first + number
    while first < end:
        low = first % split_examples
        high = min(split_examples, low + end - first)
        yield low, high
        first += high - low


def _overlapping(spans: Sequence[GroupSpan], low: int, high: int, recipe: Recipe) -> Iterator[GroupSpan]:
    """Yields the groups that hold a part of the examples [low, high), or of the tokens they are cut from."""
    wrap = recipe.packing.cuts_stream
    if wrap:
        low, high = Stream(recipe).begin(low), Stream(recipe).end(high)
    for span in spans:
        length = span.size.tokens if wrap else span.size.examples
        if length and span.begin < high and span.begin + length > low:
            yield span


@dataclasses.dataclass
class Piece:
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


def assemble(order: DocumentOrder, plan: ShardPlan) -> Iterator[Piece]:
    """Lays the documents of a shard out as examples.

    Raises:
      BuildError: the documents read are not those that were planned.
    """
    first = plan.first
    for low, high in _base_ranges(plan.first, plan.examples, plan.split_examples):
        spans = list(_overlapping(plan.spans, low, high, order.recipe))
        make = _assemble_wrap if order.recipe.packing.cuts_stream else _assemble_rows
        if order.recipe.packing.mode == PAIRS:
            make = _assemble_pairs
        for piece in make(order, spans, low, high):
            piece.first = first
            piece.variant, piece.base = divmod(first, plan.split_examples)
            first += len(piece.arrays[schema.TOKENS])
            yield piece


def _read_planned(order: DocumentOrder, span: GroupSpan) -> GroupDocuments:
    documents = order.read(span.size.group)
    if (len(documents.row), int(documents.offsets[-1])) != (span.size.documents, span.size.tokens):
        raise BuildError(f"group {span.size.group} is not what was planned: stage files changed while the build was running. Run it again.")
    return documents


def _assemble_wrap(order: DocumentOrder, spans: Sequence[GroupSpan], low: int, high: int) -> Iterator[Piece]:
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
        yield Piece(0, 0, 0, arrays, segments, lengths, stage, row, copy, np.zeros_like(lengths))


def _portions(low: int, high: int, recipe: Recipe) -> Iterator[tuple[int, int]]:
    """Cuts a range of examples into ranges that take little memory."""
    step = max(1, _PORTION_TOKENS // recipe.packing.seq_len)
    for first in range(low, high, step):
        yield first, min(first + step, high)


def _assemble_rows(order: DocumentOrder, spans: Sequence[GroupSpan], low: int, high: int) -> Iterator[Piece]:
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
            yield Piece(0, 0, 0, arrays, segments, lengths, documents.stage, documents.row, documents.copy, first_start)


def _shuffled(order: DocumentOrder, span: GroupSpan) -> npt.NDArray[np.int64]:
    """The examples of a group in random order: a layout lists long documents first, and training wants all kinds everywhere."""
    group = span.size.group
    words = keys.bits(order.config.seed, f"order/examples/{group.split}/{group.index}", np.arange(span.size.examples), 1)[:, 0]
    return np.argsort(words, kind="stable")


def _assemble_pairs(order: DocumentOrder, spans: Sequence[GroupSpan], low: int, high: int) -> Iterator[Piece]:
    packing = order.recipe.packing
    for span in spans:
        documents = _read_planned(order, span)
        every = plan_pairs(documents, packing, order.config.seed)
        opens = np.zeros(len(every), dtype=bool)
        opens[np.unique(every.document[:, 0], return_index=True)[1]] = True  # the first pair of each document
        rows = _shuffled(order, span)[max(0, low - span.begin) : high - span.begin]
        pairs = every.select(rows)
        yield Piece(
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


@dataclasses.dataclass
class ShardStatistics:
    """Sums over the examples of shards; they merge by addition.

    Attributes:
      examples: number of examples.
      tokens: real tokens in them, those of the overlap counted twice.
      overlapping_tokens: tokens that stand in the example before as well.
      documents: whose first token is here.
      segments: pieces of documents.
      cut_documents: that do not lie whole in one example.
      document_starts: bits set.
      special_tokens: examples that hold the token, by name (bos, eos, unk, pad).
      segment_lengths: histogram as in `bit_histogram`.
      token_counts: [vocab_size] how often each id occurs, padding not counted.
      objective: what the objective counts.
    """

    examples: int
    tokens: int
    overlapping_tokens: int
    documents: int
    segments: int
    cut_documents: int
    document_starts: int
    special_tokens: dict[str, int]
    segment_lengths: npt.NDArray[np.int64]
    token_counts: npt.NDArray[np.int64]
    objective: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def zero(cls, vocabulary: VocabularyInfo) -> ShardStatistics:
        """Of no example."""
        names = {name: 0 for name, _ in _specials(vocabulary)}
        histogram = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        return cls(0, 0, 0, 0, 0, 0, 0, names, histogram, np.zeros(vocabulary.vocab_size, dtype=np.int64))

    def __add__(self, other: ShardStatistics) -> ShardStatistics:
        special = {name: count + other.special_tokens[name] for name, count in self.special_tokens.items()}
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("special_tokens", "objective")
        }
        objective = add_statistics(self.objective, other.objective)
        return ShardStatistics(special_tokens=special, objective=objective, **sums)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the counts of tokens as [id, count] pairs of those that occur."""
        plain = {name: _to_lists(value) for name, value in vars(self).items()}
        used = np.flatnonzero(self.token_counts)
        plain["token_counts"] = np.stack([used, self.token_counts[used]], axis=1).tolist()
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], vocabulary: VocabularyInfo) -> ShardStatistics:
        """Reads back what `to_json` gave."""
        counts = np.zeros(vocabulary.vocab_size, dtype=np.int64)
        pairs = np.array(plain["token_counts"], dtype=np.int64).reshape(-1, 2)
        counts[pairs[:, 0]] = pairs[:, 1]
        histogram = np.array(plain["segment_lengths"], dtype=np.int64)
        objective = _to_arrays(plain["objective"])
        return cls(**{**plain, "segment_lengths": histogram, "token_counts": counts, "objective": objective})


def _to_lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _to_lists(item) for name, item in value.items()}
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _to_arrays(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _to_arrays(item) for name, item in value.items()}
    return np.array(value) if isinstance(value, list) else value


def _specials(vocabulary: VocabularyInfo) -> list[tuple[str, int]]:
    ids = {"bos": vocabulary.bos_id, "eos": vocabulary.eos_id, "unk": vocabulary.unk_id, "pad": vocabulary.pad_id}
    return [(name, number) for name, number in ids.items() if number is not None]


def describe(piece: Piece, plan: ShardPlan, recipe: Recipe) -> ShardStatistics:
    """Counts what a piece of a shard holds before its objective is computed."""
    vocabulary = recipe.vocabulary
    tokens, starts = piece.arrays[schema.TOKENS], piece.arrays.get(schema.DOCUMENT_STARTS, np.zeros(0, dtype=bool))
    segments = piece.segments
    examples = len(tokens)
    # The first of each variant; only `wrap` asks.
    first = (np.arange(examples) + piece.first) % plan.split_examples == 0
    repeated = filling.repeats(segments, recipe.packing, first)
    begins = segments.start == piece.first_start[segments.document]
    pairs = recipe.packing.mode == PAIRS
    real = filling.is_real(piece.arrays, recipe.packing)
    counts = np.zeros(vocabulary.vocab_size, dtype=np.int64)
    special = dict.fromkeys((name for name, _ in _specials(vocabulary)), 0)
    for start in range(0, examples, _COUNTED_EXAMPLES):  # bincount makes 8 bytes of each token
        rows = tokens[start : start + _COUNTED_EXAMPLES]
        counted = rows.ravel() if real is None else rows[real[start : start + _COUNTED_EXAMPLES]]
        counts += np.bincount(counted, minlength=vocabulary.vocab_size)
        for name, number in _specials(vocabulary):
            special[name] += int(np.count_nonzero((rows == number).any(axis=1)))
    return ShardStatistics(
        examples=examples,
        tokens=int(segments.length.sum()),
        overlapping_tokens=piece.repeated if pairs else int(np.count_nonzero(repeated)),
        documents=piece.begun if pairs else int(np.count_nonzero(begins & ~repeated)),
        segments=len(begins),
        cut_documents=int(np.count_nonzero(begins & ~repeated & (segments.length < piece.lengths[segments.document]))),
        document_starts=int(np.count_nonzero(starts)),
        special_tokens=special,
        segment_lengths=np.array(bit_histogram(segments.length), dtype=np.int64),
        token_counts=counts,
    )


class ShardWriter:
    """Writes records to a file and keeps its size and CRC."""

    def __init__(self, file: Any, layout: RecordFormat, record_format: str) -> None:
        self._file, self._layout, self._format = file, layout, record_format
        self.records = self.bytes = self.crc32c = 0

    def write(self, arrays: Mapping[str, npt.NDArray[Any]], first: int) -> None:
        """Appends [n, ...] arrays as records numbered from `first`."""
        import google_crc32c

        total = len(next(iter(arrays.values())))
        step = max(1, _CHUNK_BYTES // self._layout.record_bytes)
        for start in range(0, total, step):
            rows = {name: values[start : start + step] for name, values in arrays.items()}
            number = min(step, total - start)
            rows[schema.EXAMPLE_ID] = np.arange(first + start, first + start + number, dtype=np.int64)
            if self._format == FIXED:
                data = example_codec.encode_fixed(self._layout, rows).tobytes()
            else:
                data = b"".join(example_codec.encode_lists({name: list(values) for name, values in rows.items()}))
            self._file.write(data)
            self.crc32c = google_crc32c.extend(self.crc32c, data)
            self.records += number
            self.bytes += len(data)


def matches(path: str, info: ShardInfo) -> bool:
    """Whether a file is the shard that was written: its size and its CRC."""
    if files.size(path) != info.bytes:
        return False
    return files.checksum(path) == (info.bytes, info.crc32c) and info.bytes > tfrecord.HEADER_BYTES
