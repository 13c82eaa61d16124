"""Counts what a shard holds; the counts of several shards add up."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.assembly import filling
from tokenreel.assembly.examples import ExampleChunk
from tokenreel.format import schema
from tokenreel.format.manifest import VocabularyInfo
from tokenreel.layouts.modes import PAIRS
from tokenreel.objectives.registry import add_statistics
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.shard_plan import HISTOGRAM_BINS, ShardPlan, bit_histogram
from tokenreel.storage import column_file
from tokenreel.storage.column_file import ColumnFile, Columns

_COUNTED_EXAMPLES = 512


@dataclasses.dataclass
class ShardStatistics:
    """Sums over the examples of shards; they merge by addition.

    Attributes:
      examples: number of examples.
      tokens: real tokens in them, those of the overlap counted twice.
      overlapping_tokens: tokens that stand in the example before as well.
      documents: documents whose first token is here.
      segments: number of segments, which are parts of documents.
      cut_documents: documents that do not lie whole in one example.
      document_starts: bits set in the field of this name.
      special_tokens: examples that hold the token, by name (bos, eos, unk, pad).
      segment_lengths: histogram as in `bit_histogram`.
      token_counts: [vocab_size] how often each id occurs, padding not counted.
      objective: what the objective counts.
      labels: classes by feature, where sources have labels; see `labels.count`.
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
    labels: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def zero(cls, vocabulary: VocabularyInfo) -> ShardStatistics:
        """Makes the sums over no example."""
        names = {name: 0 for name, _ in _specials(vocabulary)}
        histogram = np.zeros(HISTOGRAM_BINS, dtype=np.int64)
        return cls(0, 0, 0, 0, 0, 0, 0, names, histogram, np.zeros(vocabulary.vocab_size, dtype=np.int64))

    def __add__(self, other: ShardStatistics) -> ShardStatistics:
        special = {name: count + other.special_tokens[name] for name, count in self.special_tokens.items()}
        sums = {
            field.name: getattr(self, field.name) + getattr(other, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("special_tokens", "objective", "labels")
        }
        objective = add_statistics(self.objective, other.objective)
        labels = add_statistics(self.labels, other.labels)
        return ShardStatistics(special_tokens=special, objective=objective, labels=labels, **sums)

    def to_json(self) -> dict[str, Any]:
        """Gives plain values; the counts of tokens as [id, count] pairs of those that occur."""
        plain = {name: _to_lists(value) for name, value in vars(self).items()}
        used = np.flatnonzero(self.token_counts)
        plain["token_counts"] = np.stack([used, self.token_counts[used]], axis=1).tolist()
        return plain

    def store(self, directory: str) -> StoredStatistics:
        """Writes the counts by token id to a file, whose size depends on the vocabulary, and keeps the rest."""
        plain = self.to_json()
        pairs = np.array(plain.pop("token_counts"), dtype=np.int64).reshape(-1, 2)
        counts = Columns(len(pairs), {"id": pairs[:, 0], "count": pairs[:, 1]})
        return StoredStatistics(plain=plain, token_counts=column_file.write(directory, "tokens", counts))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], vocabulary: VocabularyInfo) -> ShardStatistics:
        """Reads back what `to_json` gave."""
        counts = np.zeros(vocabulary.vocab_size, dtype=np.int64)
        pairs = np.array(plain["token_counts"], dtype=np.int64).reshape(-1, 2)
        counts[pairs[:, 0]] = pairs[:, 1]
        histogram = np.array(plain["segment_lengths"], dtype=np.int64)
        objective = _to_arrays(plain["objective"])
        return cls(**{**plain, "segment_lengths": histogram, "token_counts": counts, "objective": objective})


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredStatistics:
    """What was counted in shards, small enough to travel through a runner and to be remembered for each shard.

    Attributes:
      plain: what `ShardStatistics.to_json` gives, without `token_counts`.
      token_counts: the file of these.
    """

    plain: Mapping[str, Any]
    token_counts: ColumnFile

    def load(self, vocabulary: VocabularyInfo) -> ShardStatistics:
        """Reads the counts by token id.

        Raises:
          BuildError: the file is gone or damaged.
        """
        found = column_file.load(self.token_counts)
        pairs = np.stack([found.numbers("id"), found.numbers("count")], axis=1)
        return ShardStatistics.from_json({**self.plain, "token_counts": pairs}, vocabulary)


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


def describe(chunk: ExampleChunk, plan: ShardPlan, recipe: Recipe) -> ShardStatistics:
    """Counts what a chunk of a shard holds before its objective is computed."""
    vocabulary = recipe.vocabulary
    tokens, starts = chunk.arrays[schema.TOKENS], chunk.arrays.get(schema.DOCUMENT_STARTS, np.zeros(0, dtype=bool))
    layout = chunk.layout
    examples = len(tokens)
    # Of each variant, the first example has none before it whose tokens it could repeat; only `wrap` asks.
    first = (np.arange(examples) + chunk.first) % plan.split_examples == 0
    overlapping = filling.opens_in_overlap(layout, recipe.packing, first)
    begins = layout.start == chunk.first_start[layout.document]
    cut = begins & ~overlapping & (layout.length < chunk.lengths[layout.document])
    pairs = recipe.packing.mode == PAIRS
    real = filling.is_real(chunk.arrays, recipe.packing)
    counts = np.zeros(vocabulary.vocab_size, dtype=np.int64)
    special = dict.fromkeys((name for name, _ in _specials(vocabulary)), 0)
    for start in range(0, examples, _COUNTED_EXAMPLES):  # some at a time: bincount makes 8 bytes of each token
        rows = tokens[start : start + _COUNTED_EXAMPLES]
        counted = rows.ravel() if real is None else rows[real[start : start + _COUNTED_EXAMPLES]]
        counts += np.bincount(counted, minlength=vocabulary.vocab_size)
        for name, number in _specials(vocabulary):
            special[name] += int(np.count_nonzero((rows == number).any(axis=1)))
    return ShardStatistics(
        examples=examples,
        tokens=int(layout.length.sum()),
        overlapping_tokens=chunk.repeated_tokens if pairs else int(np.count_nonzero(overlapping)),
        documents=chunk.begun_documents if pairs else int(np.count_nonzero(begins & ~overlapping)),
        segments=len(begins),
        cut_documents=chunk.cut_documents if pairs else int(np.count_nonzero(cut)),
        document_starts=int(np.count_nonzero(starts)),
        special_tokens=special,
        segment_lengths=np.array(bit_histogram(layout.length), dtype=np.int64),
        token_counts=counts,
    )
