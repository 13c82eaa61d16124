"""From ordered documents to shards: which examples a shard holds, their arrays, and the file.

Examples are numbered through the whole split, so a shard is a range of numbers. For `wrap` an example is a range of the split's tokens; for
the other layouts it is a row of a group's layout. Either way a shard needs only the groups that overlap it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import filling, keys
from tokenreel.errors import BuildError
from tokenreel.format import example_codec, schema, tfrecord
from tokenreel.format.manifest import FIXED, ShardInfo, VocabularyInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.layouts.modes import PAIRS
from tokenreel.layouts.table import Layout
from tokenreel.objectives.registry import add_statistics
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import GroupDocuments, lay_out_group, plan_pairs
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.shard_plan import HISTOGRAM_BINS, PlacedGroup, ShardPlan, base_ranges, bit_histogram, overlapping
from tokenreel.planning.stream import Stream
from tokenreel.storage import files

_CHUNK_BYTES = 8 << 20

_COUNTED_EXAMPLES = 512

_PORTION_TOKENS = 1 << 21


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


def _assemble_wrap(order: DocumentOrder, spans: Sequence[PlacedGroup], low: int, high: int) -> Iterator[Piece]:
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


def _assemble_rows(order: DocumentOrder, spans: Sequence[PlacedGroup], low: int, high: int) -> Iterator[Piece]:
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


def _shuffled(order: DocumentOrder, span: PlacedGroup) -> npt.NDArray[np.int64]:
    """The examples of a group in random order: a layout lists long documents first, and training wants all kinds everywhere."""
    group = span.size.group
    words = keys.bits(order.config.seed, f"order/examples/{group.split}/{group.index}", np.arange(span.size.examples), 1)[:, 0]
    return np.argsort(words, kind="stable")


def _assemble_pairs(order: DocumentOrder, spans: Sequence[PlacedGroup], low: int, high: int) -> Iterator[Piece]:
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
