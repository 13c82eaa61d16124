"""The checks of a shard's records, one a function: each compares one thing with the manifest and yields a line for each difference.

A fault usually repeats in the records behind it, so a stretch of records with the same fault is one line.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.format import schema, segments
from tokenreel.format.manifest import FIXED, Manifest, ShardInfo, holds_task_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """A shard and where it stands in its split.

    Attributes:
      manifest: describes the dataset.
      shard: file, records and CRC of the shard.
      first: number of the shard's first example in the split.
      split_examples: number of examples in all shards of the split.
    """

    manifest: Manifest
    shard: ShardInfo
    first: int
    split_examples: int

    @property
    def packing(self) -> Mapping[str, Any]:
        """The settings that laid documents into examples; none for datasets of unknown origin."""
        packing: Mapping[str, Any] = self.manifest.config.get("packing", {})
        return packing

    @property
    def align(self) -> int:
        """The multiple of positions that every segment takes."""
        return int(self.packing.get("align") or 1)

    @property
    def objective(self) -> str | None:
        """Name of the objective, None where there is none."""
        name: str | None = self.manifest.config.get("objective", {}).get("name")
        return name

    @property
    def variant_examples(self) -> int:
        """Examples of each of the static copies that `variants` makes. Every copy begins anew, with a whole document."""
        return max(1, self.split_examples // int(self.manifest.config.get("variants", 1)))

    def variant_of(self, row: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Says of which copy the records of these numbers are."""
        return (row + self.first) // self.variant_examples

    def where(self, row: int) -> str:
        """Names a record for a message, by its number in the shard."""
        at = f" at byte {row * self.manifest.fixed_format.record_bytes:,}" if self.manifest.record_format == FIXED else ""
        return f"{self.shard.file}: record {row:,}{at}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Records:
    """The values of n sound records of a shard, n at least 1.

    The properties from `tokens` on are only for datasets that hold tokens: some objectives replace them by inputs and targets.

    Attributes:
      place: the shard.
      arrays: [n, ...] values of each feature.
      rows: int64 [n] number of each record in the shard.
    """

    place: Place
    arrays: Mapping[str, npt.NDArray[Any]]
    rows: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, i: int) -> str:
        """Names the i-th of these records for a message."""
        return self.place.where(int(self.rows[i]))

    @property
    def has_tokens(self) -> bool:
        """Whether the records hold tokens, not only what an objective made of them."""
        return schema.TOKENS in self.arrays

    @property
    def tokens(self) -> npt.NDArray[Any]:
        """[n, L] token ids as they are stored."""
        return self.arrays[schema.TOKENS]

    @functools.cached_property
    def starts(self) -> npt.NDArray[np.bool_]:
        """Bool [n, L], true where a document starts."""
        return self.arrays.get(schema.DOCUMENT_STARTS, np.zeros(self.tokens.shape, dtype=bool)).astype(bool)

    @functools.cached_property
    def num_tokens(self) -> npt.NDArray[np.int64]:
        """int64 [n] lengths as they are stored, L where none is; they may be wrong."""
        return self.arrays.get(schema.NUM_TOKENS, np.full(len(self), self.tokens.shape[1])).astype(np.int64)

    @functools.cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64 [n] positions up to the last token, between 0 and L."""
        return np.clip(self.num_tokens, 0, self.tokens.shape[1])

    @functools.cached_property
    def behind(self) -> npt.NDArray[np.bool_] | None:
        """Bool [n, L], true behind the last token; None where all records are full."""
        width = self.tokens.shape[1]
        return None if (self.lengths == width).all() else np.arange(width) >= self.lengths[:, None]

    @functools.cached_property
    def padding(self) -> npt.NDArray[np.bool_] | None:
        """Bool [n, L], true where no token stands: behind the last one and in gaps that `align` leaves; None where there are none."""
        if self.place.align == 1:
            return self.behind
        padding: npt.NDArray[np.bool_] = segments.segment_ids(self.starts, self.lengths, self.place.align) == 0
        return padding

    @functools.cached_property
    def real_tokens(self) -> npt.NDArray[np.int64]:
        """int64 [n] number of tokens, padding not counted."""
        return self.lengths if self.padding is None else self.tokens.shape[1] - np.count_nonzero(self.padding, axis=1)

    @functools.cached_property
    def unmasked(self) -> npt.NDArray[Any]:
        """[n, L] the tokens before an objective masked some."""
        if not {"mask_positions", "mask_ids", "mask_weights"} <= set(self.arrays):
            return self.tokens
        tokens = self.tokens.copy()
        row, slot = np.nonzero(self.arrays["mask_weights"])
        # A wrong position is told by its own check; here it must not raise.
        position = np.clip(self.arrays["mask_positions"][row, slot], 0, tokens.shape[1] - 1)
        tokens[row, position] = self.arrays["mask_ids"][row, slot]
        return tokens


def check_values(records: Records) -> Iterator[str]:
    """Runs every check that needs nothing but the records themselves."""
    yield from _check_example_ids(records)
    if holds_task_rows(records.place.manifest):  # whose features are what a task and a converter make them
        return
    yield from _check_made_ids(records)
    if not records.has_tokens:
        return
    if "mask_positions" in records.arrays:
        yield from _check_mask_positions(records)
    yield from _check_lengths(records)
    yield from _check_token_ids(records)
    yield from _check_padding(records)
    yield from _check_starts(records)
    if schema.TOKEN_BEGINS in records.arrays:
        yield from _check_spans(records)


def _check_example_ids(records: Records) -> Iterator[str]:
    ids, expected = records.arrays[schema.EXAMPLE_ID], records.place.first + records.rows
    for stretch in stretches(np.flatnonzero(ids != expected)):
        at = int(stretch[0])
        yield (
            f"{records.where(at)}: {schema.EXAMPLE_ID} is {int(ids[at]):,}, its place in the split is "
            f"{int(expected[at]):,}{and_more(stretch)}"
        )


def _check_made_ids(records: Records) -> Iterator[str]:
    """Checks that the vocabulary has the ids that an objective made."""
    size = records.place.manifest.vocabulary.vocab_size
    for name in ("inputs", "targets", "mask_ids"):
        if name not in records.arrays:
            continue
        values = records.arrays[name].reshape(len(records), -1)
        for stretch, column in stretches_of_rows((values < 0) | (values >= size)):
            at = int(stretch[0])
            yield (
                f"{records.where(at)}: {name} holds {int(values[at, column]):,}, none of the vocabulary's {size:,} ids{and_more(stretch)}"
            )


def _check_mask_positions(records: Records) -> Iterator[str]:
    """Checks that tokens stand at the masked positions."""
    positions = records.arrays["mask_positions"].astype(np.int64)
    used = records.arrays.get("mask_weights", np.ones(positions.shape)) > 0
    for stretch, column in stretches_of_rows(used & ((positions < 0) | (positions >= records.num_tokens[:, None]))):
        at = int(stretch[0])
        yield (
            f"{records.where(at)}: mask_positions holds {int(positions[at, column]):,}, the example "
            f"{int(records.num_tokens[at]):,} tokens{and_more(stretch)}"
        )


def _check_lengths(records: Records) -> Iterator[str]:
    width = records.tokens.shape[1]
    for stretch in stretches(np.flatnonzero((records.num_tokens < 1) | (records.num_tokens > width))):
        at = int(stretch[0])
        yield f"{records.where(at)}: {schema.NUM_TOKENS} is {int(records.num_tokens[at]):,}, not in 1 to {width:,}{and_more(stretch)}"


def _check_token_ids(records: Records) -> Iterator[str]:
    """Checks that the vocabulary has the ids of all tokens."""
    tokens, size = records.tokens, records.place.manifest.vocabulary.vocab_size
    wrong = (tokens < 0) | (tokens >= size)
    # What stands in padding is compared with the pad id, by the next check.
    if records.padding is not None:
        wrong &= ~records.padding
    for stretch, column in stretches_of_rows(wrong):
        at = int(stretch[0])
        yield (
            f"{records.where(at)}: token {int(tokens[at, column]):,} at position {column:,} is none of the "
            f"vocabulary's {size:,} ids{and_more(stretch)}"
        )


def _check_padding(records: Records) -> Iterator[str]:
    """Checks that the pad id stands where no token does."""
    if records.padding is None:
        return
    tokens, pad_id = records.tokens, records.place.manifest.pad_id
    for stretch, column in stretches_of_rows(records.padding & (tokens != pad_id)):
        at = int(stretch[0])
        yield (
            f"{records.where(at)}: position {column:,} is padding and holds {int(tokens[at, column]):,} instead of the pad id "
            f"{pad_id}{and_more(stretch)}"
        )


def _check_starts(records: Records) -> Iterator[str]:
    """Checks that no document starts behind the last token."""
    if records.behind is None:
        return
    for stretch, column in stretches_of_rows(records.behind & records.starts):
        at = int(stretch[0])
        yield (
            f"{records.where(at)}: a document starts at position {column:,}, behind the {int(records.lengths[at]):,} "
            f"tokens{and_more(stretch)}"
        )


def _check_spans(records: Records) -> Iterator[str]:
    """Checks that spans are ranges, that what is no text has none, and that they follow each other within a document."""
    vocabulary = records.place.manifest.vocabulary
    begins, ends = records.arrays[schema.TOKEN_BEGINS], records.arrays[schema.TOKEN_ENDS]
    # -1 for both is how a token without text is written.
    none = (begins == -1) & (ends == -1)
    without_text = np.zeros(begins.shape, dtype=bool) if records.padding is None else records.padding.copy()
    for number in (vocabulary.bos_id, vocabulary.eos_id):
        if number is not None:
            without_text |= records.unmasked == number
    backwards = np.zeros(begins.shape, dtype=bool)
    # The one changes the order of the text; the other promises nothing of the kind.
    if records.place.objective != "fill_in_the_middle" and vocabulary.kind != "huggingface":
        follows = ~none[:, 1:] & ~none[:, :-1] & ~records.starts[:, 1:]
        backwards[:, 1:] = follows & ((begins[:, 1:] < begins[:, :-1]) | (ends[:, 1:] < ends[:, :-1]))
    for wrong, what in (
        (~none & ((begins < 0) | (ends < begins)), "which is no range of characters"),
        (without_text & ~none, "though no text stands there"),
        (backwards, "before that of the token before it"),
    ):
        for stretch, column in stretches_of_rows(wrong):
            at = int(stretch[0])
            yield (
                f"{records.where(at)}: the token at position {column:,} has the characters {int(begins[at, column]):,} to "
                f"{int(ends[at, column]):,}, {what}{and_more(stretch)}"
            )


def check_overlap(records: Records, before_first: int | None) -> Iterator[str]:
    """Checks, where examples overlap by one token, that each begins with the token that the one before ends with.

    Args:
      records: examples of a wrapped stream.
      before_first: the last token of the record before the first of these, None where it is not known.
    """
    tokens = records.tokens
    before = np.empty(len(records), dtype=np.int64)  # -1 where it is not known
    before[0] = -1 if before_first is None else before_first
    # Known where the record before is sound, full (padding says nothing) and the very one before: damaged ones are left out.
    full_neighbour = (records.lengths[:-1] == tokens.shape[1]) & (np.diff(records.rows) == 1)
    before[1:] = np.where(full_neighbour, tokens[:-1, -1].astype(np.int64), -1)
    begins_anew = (records.place.first + records.rows) % records.place.variant_examples == 0
    for stretch in stretches(np.flatnonzero((before >= 0) & (before != tokens[:, 0]) & ~begins_anew)):
        at = int(stretch[0])
        yield (
            f"{records.where(at)}: begins with token {int(tokens[at, 0]):,}, but the record before ends with "
            f"{int(before[at]):,}; with an overlap of one they must be the same{and_more(stretch)}"
        )


def stretches(rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Splits sorted numbers into stretches of neighbours."""
    return np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1) if len(rows) else []


def stretches_of_rows(wrong: npt.NDArray[np.bool_]) -> Iterator[tuple[npt.NDArray[np.int64], int]]:
    """Yields stretches of the rows that hold a True, with the first one's column in the first row."""
    if not wrong.any():
        return
    for stretch in stretches(np.flatnonzero(wrong.any(axis=1))):
        yield stretch, int(wrong[stretch[0]].argmax())


def and_more(stretch: npt.NDArray[np.int64]) -> str:
    """Ends a message about the first record of a stretch: tells of the others, if there are any."""
    return f", and so in the {len(stretch) - 1:,} records behind it" if len(stretch) > 1 else ""
