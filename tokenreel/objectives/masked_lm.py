"""Masked-token objectives: some tokens of an example are hidden, and the model finds them.

Tokens are selected in units: single tokens, whole words, word spans. Candidates are visited in a random order (sorted by random word,
then position) until the number to mask is reached: exact, without replacement, and the same on every machine. What becomes of a selected
token (mask, random token, unchanged) and which random token it becomes are decided by streams of their own, addressed by position.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tokenreel import keys, rates
from tokenreel.errors import ConfigError
from tokenreel.format.schema import token_dtype
from tokenreel.objectives.base import Array, Arrays, Bools, Draw, Ints, Objective, check_id, position_dtype, special_table, token_counts
from tokenreel.objectives.word_spans import (
    WordMap,
    fences,
    geometric,
    one_of,
    one_over_n,
    positions_of,
    span_bounds,
    take_whole_words,
    take_word_spans,
)

SPAN_BINS = 64


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MaskedLM(Objective):
    """BERT's objective, and with other settings RoBERTa's, whole-word, n-gram and SpanBERT masking.

    Makes `tokens` (corrupted), `mask_positions` (ascending), `mask_ids` (what stood there) and `mask_weights` (1, or 0 behind the last).

    Attributes:
      mask_id: written over selected tokens.
      special_ids: never selected nor drawn, such as [CLS], [SEP] and padding. BERT's pieces never cross one, nor a document's beginning.
      rate: of an example's tokens (special ones counted, padding not) that are selected.
      rounding: of rate * tokens: "nearest" (BERT), "up" (SpanBERT), or "chance" (fairseq: up with the probability of the fraction).
      max_predictions: slots of the outputs, and the limit of what is selected; by default as many as the rate needs.
      mask_share, random_share: of the selected tokens that become the mask or a random token; the rest stay as they are.
      random_ids: what random tokens are drawn from: "regular" ids, which are not special, or "all", as BERT's script and `bert` of version
        1 did; `make_objective` refuses "all".
      unit: "token", "word" (all pieces of a word or none), "ngram" (word spans, never cut), "span" (word spans; the last one is cut
        where the number is reached, as in SpanBERT).
      max_unit: words in the longest span of "ngram" (P(n) is proportional to 1/n; ALBERT 3) or "span" (SpanBERT 10).
      span_p: a span of n words has a probability proportional to p * (1 - p)**(n - 1), up to `max_unit`.
      action_unit: whether mask, random or unchanged is decided for each "token" or for each span of selected neighbours in a document
        ("span").
      boundaries: also make `boundary_left`, `boundary_right` and `boundary_weights`: for each slot the unmasked neighbours of its span
        (SpanBERT's second task); weight 0 where a span touches the edge of its document or a special token.
      word_starts: bool [vocab_size], the pieces that begin a word; needed for every unit but "token".
    """

    name: ClassVar[str] = "masked_lm"
    version: ClassVar[int] = 2
    hides_tokens: ClassVar[bool] = True

    mask_id: int
    special_ids: Sequence[int] = ()
    pads_with_text: dataclasses.InitVar[bool] = False  # see `special_table`; no setting
    rate: float = 0.15
    rounding: Literal["nearest", "up", "chance"] = "nearest"
    max_predictions: int | None = None
    mask_share: float = 0.8
    random_share: float = 0.1
    random_ids: Literal["regular", "all"] = "regular"
    unit: Literal["token", "word", "ngram", "span"] = "token"
    max_unit: int | None = None
    span_p: float = 0.2
    action_unit: Literal["token", "span"] = "token"
    boundaries: bool = False
    word_starts: npt.NDArray[np.bool_] | None = None

    _special: Bools = dataclasses.field(init=False, repr=False)  # [vocab_size] ids that are never selected
    _drawn: Ints = dataclasses.field(init=False, repr=False)  # [k] ids that random tokens are drawn from

    def __post_init__(self, pads_with_text: bool) -> None:
        super().__post_init__()
        check_id("mask_id", self.mask_id, self.vocab_size)
        rates.check_rate("objective.rate", self.rate)
        rates.check_rate("objective.mask_share", self.mask_share, zero=True)
        rates.check_rate("objective.random_share", self.random_share, zero=True)
        if rates.parts(self.mask_share) + rates.parts(self.random_share) > rates.PARTS:
            raise ConfigError(f"objective.mask_share and random_share add up to at most 1, got {self.mask_share} and {self.random_share}")
        one_of("rounding", self.rounding, ("nearest", "up", "chance"))
        one_of("random_ids", self.random_ids, ("regular", "all"))
        one_of("unit", self.unit, ("token", "word", "ngram", "span"))
        one_of("action_unit", self.action_unit, ("token", "span"))
        if self.max_predictions is not None and not 1 <= self.max_predictions <= self.seq_len:
            raise ConfigError(
                f"objective.max_predictions must lie between 1 and packing.seq_len = {self.seq_len}, got {self.max_predictions}; "
                f"a rate of {self.rate} fills {self._default_slots()}"
            )
        if self.max_unit is not None and (self.max_unit < 1 or self.unit not in ("ngram", "span")):
            raise ConfigError(
                f"objective.max_unit is at least 1 and belongs to unit ngram or span, got {self.max_unit} with unit {self.unit}"
            )
        if self.unit == "span" and not 0 < self.span_p <= 1:
            raise ConfigError(f"objective.span_p must lie between 0 and 1 and not be 0, got {self.span_p}")
        if self.unit != "token" and self.word_starts is None:
            raise ConfigError(
                f"objective.unit {self.unit} needs to know which pieces begin a word: the vocabulary does not tell; use unit token"
            )
        if self.word_starts is not None and self.word_starts.shape != (self.vocab_size,):
            raise ConfigError(f"objective.word_starts has a value for each of {self.vocab_size} ids, got {self.word_starts.shape}")
        object.__setattr__(self, "_special", special_table(self.special_ids, self, pads_with_text=pads_with_text))
        drawn = np.flatnonzero(~self._special) if self.random_ids == "regular" else np.arange(self.vocab_size)
        if self.random_share and not len(drawn):
            raise ConfigError("objective.random_share needs ids that are not special, there are none: set it to 0")
        object.__setattr__(self, "_drawn", drawn)

    def _default_slots(self) -> int:
        if self.rounding == "nearest":
            return max(1, int(rates.share(self.seq_len, self.rate)))
        return int(rates.ceiling(self.seq_len, self.rate))

    @property
    def slots(self) -> int:
        """Positions that can be masked in an example."""
        return self.max_predictions or self._default_slots()

    @property
    def _chunk_tokens(self) -> int:  # type: ignore[override]
        return {"token": 1 << 15, "word": 1 << 16}.get(self.unit, 1 << 18)  # spans are placed one after the other: more rows, fewer steps

    def marks(self) -> tuple[int, ...]:
        """See `Objective`."""
        return (self.mask_id,)

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`."""
        ids, positions = token_dtype(self.vocab_size), position_dtype(self.seq_len)
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "tokens": (ids, (self.seq_len,)),
            "mask_positions": (positions, (self.slots,)),
            "mask_ids": (ids, (self.slots,)),
            "mask_weights": ("uint8", (self.slots,)),
        }
        if self.boundaries:
            shapes["boundary_left"] = shapes["boundary_right"] = (positions, (self.slots,))
            shapes["boundary_weights"] = ("uint8", (self.slots,))
        return shapes

    def check_packing(self, *, mode: str, overlap: int = 0, align: int = 1) -> None:
        """See `Objective`."""
        if overlap:
            raise ConfigError(f"objective {self.called} has no use for the token that packing.overlap = {overlap} repeats: set it to 0")

    def _corrupt(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> dict[str, Array]:
        n, length = tokens.shape
        eligible = ~self._special[tokens]
        if (num_tokens < length).any():
            eligible &= np.arange(length) < num_tokens[:, None]
        counts = self._counts(num_tokens, np.count_nonzero(eligible, axis=1), ids, draw)
        positions = self._select(tokens, starts, eligible, counts, ids, draw)
        row, slot = np.nonzero(positions < length)
        at = positions[row, slot]
        old, deciding = tokens[row, at], at  # [k] selected tokens of all examples, one after the other
        made: dict[str, Array] = {}
        if self.action_unit == "span" or self.boundaries:
            fence = fences(eligible, starts)
            # Spans that touch at a document's beginning are two, with a fate and neighbours each.
            begins, ends = span_bounds(row, at, fence[row, at])
            deciding = begins if self.action_unit == "span" else at
            if self.boundaries:
                left, right, inside = _boundaries(row, begins, ends, eligible, fence)
                made["boundary_left"] = self._slots(n, row, slot, left)
                made["boundary_right"] = self._slots(n, row, slot, right)
                made["boundary_weights"] = self._slots(n, row, slot, inside.astype(np.uint8))
        out = tokens.copy()
        out[row, at] = self._replace(old, row, at, deciding, ids, draw)
        return {
            "tokens": out,
            "mask_positions": self._slots(n, row, slot, at),
            "mask_ids": self._slots(n, row, slot, old),
            "mask_weights": self._slots(n, row, slot, np.ones(len(at), np.uint8)),
            **made,
        }

    def _replace(self, old: Array, row: Ints, at: Ints, deciding: Ints, ids: Array, draw: Draw) -> Array:
        """Decides what becomes of selected tokens: the mask, a random token, or what they are.

        Args:
          old: [k] the tokens.
          row: int [k] the example of each.
          at: int [k] its position; it names the bits of its random token.
          deciding: int [k] the position that names the bits of its fate; tokens with the same share it.
          ids: [n] example ids.
          draw: makes the bits.

        Returns:
          [k] tokens in the places of the old ones.
        """
        action = keys.words_at(draw.states("action", ids)[row], deciding)
        # Mask and random token are two stretches of the range of one word: the shares hold exactly, and exclude each other.
        masked = rates.happens(action, self.mask_share)
        new = np.where(masked, np.asarray(self.mask_id, old.dtype), old)
        if self.random_share:
            changed = rates.happens(action, self.mask_share, self.random_share)
            changed &= ~masked
            # Which token it becomes is another stream's word, at the token's own position: another mask rate leaves it alone.
            words = keys.words_at(draw.states("replacement", ids)[row[changed]], at[changed])
            new[changed] = self._drawn[keys.below(words, len(self._drawn))]
        return new

    def _slots(self, n: int, row: Ints, slot: Ints, values: Array) -> Array:
        """Puts [k] values into [n, slots]; slots without one are 0."""
        out = np.zeros((n, self.slots), values.dtype)
        out[row, slot] = values
        return out

    def _counts(self, num_tokens: Ints, eligible: Ints, ids: Array, draw: Draw) -> Ints:
        """Says how many tokens of each example to select: int64 [n], from int64 [n] tokens and int64 [n] eligible ones."""
        if self.rounding == "chance":
            wanted = rates.share_by_chance(num_tokens, self.rate, draw.word("rounding", ids))
        elif self.rounding == "up":
            wanted = rates.ceiling(num_tokens, self.rate)
        else:
            wanted = np.maximum(rates.share(num_tokens, self.rate), 1)  # BERT masks at least one, however short the example
        return np.minimum(np.minimum(wanted, self.slots), eligible)

    def _select(self, tokens: Array, starts: Bools | None, eligible: Bools, counts: Ints, ids: Array, draw: Draw) -> Array:
        """Chooses the positions to mask: int32 [n, at most slots], ascending, filled up with L."""
        words = draw.words("positions", ids, tokens.shape[1])
        if self.unit == "token":
            return keys.choose(words, counts, eligible)
        assert self.word_starts is not None
        found = WordMap(tokens, eligible, starts, self.word_starts)
        if self.unit == "word":
            selected = take_whole_words(found, words, counts)
        else:
            limit = self.max_unit or (3 if self.unit == "ngram" else 10)
            weights = one_over_n(limit) if self.unit == "ngram" else geometric(self.span_p, limit)
            # The length of a span is named by its anchor, so it does not depend on which anchors were visited before.
            states = draw.states("lengths", ids)
            selected = take_word_spans(
                found, words, counts, lambda row, at: keys.pick(keys.words_at(states[row], at), weights) + 1, whole=self.unit == "ngram"
            )
        return positions_of(selected)

    def restore(self, arrays: Arrays) -> Array:
        """See `Objective`."""
        tokens = arrays["tokens"].copy()
        row, slot = np.nonzero(arrays["mask_weights"])
        tokens[row, arrays["mask_positions"][row, slot].astype(np.int64)] = arrays["mask_ids"][row, slot]
        return tokens

    def statistics(self, before: Arrays, after: Arrays) -> dict[str, Any]:
        """Adds selected tokens, what became of them, where they are ([seq_len]) and the lengths of their spans ([64], the last: more)."""
        row, slot = np.nonzero(after["mask_weights"])
        at = after["mask_positions"][row, slot].astype(np.int64)
        old, new = after["mask_ids"][row, slot], after["tokens"][row, at]
        begins, ends = span_bounds(row, at)
        heads = begins == at
        return {
            **super().statistics(before, after),
            "selected": len(at),
            "masked": int(np.count_nonzero(new == self.mask_id)),
            "unchanged": int(np.count_nonzero(new == old)),
            "random": int(np.count_nonzero((new != self.mask_id) & (new != old))),
            "selected_by_position": np.bincount(at, minlength=self.seq_len),
            "examples_by_position": np.bincount(token_counts(before), minlength=self.seq_len + 1)[::-1].cumsum()[::-1][1:],
            "run_lengths": np.bincount(np.minimum((ends - begins)[heads], SPAN_BINS - 1), minlength=SPAN_BINS),
        }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ReplacedTokenCandidates(MaskedLM):
    """ELECTRA's candidates: the positions at which a generator proposes tokens, 85 % masked for it, the others as they are.

    Whether a token was replaced is only known when the generator has spoken, so labels belong to the training loop. Positions are drawn
    without replacement, where ELECTRA's code may draw one twice.
    """

    name: ClassVar[str] = "replaced_token_candidates"

    mask_share: float = 0.85
    random_share: float = 0.0

    def _default_slots(self) -> int:
        # ELECTRA's own limit, int((rate + 0.005) * L), in whole numbers.
        return max(1, int((rates.parts(self.rate) + rates.PARTS // 200) * self.seq_len // rates.PARTS))


def _boundaries(row: Ints, begins: Ints, ends: Ints, eligible: Bools, fence: Bools) -> tuple[Ints, Ints, Bools]:
    """Finds the unmasked neighbours of spans, the boundary tokens of SpanBERT.

    Args:
      row: int [k] the example of each span.
      begins: int64 [k] its first position.
      ends: int64 [k] the position behind its last.
      eligible: bool [n, L], false for special tokens and padding.
      fence: bool [n, L], see `fences`.

    Returns:
      int64 [k] position on the left, int64 [k] position on the right, and bool [k], true where both lie in the span's own document, with no
      special token between. Where it is false the positions are 0.
    """
    length = eligible.shape[1]
    inside = (begins > 0) & (ends < length)
    before, after = begins - 1, np.minimum(ends, length - 1)
    inside &= eligible[row, before] & ~fence[row, begins] & eligible[row, after] & ~fence[row, after]
    return np.where(inside, before, 0), np.where(inside, after, 0), inside
