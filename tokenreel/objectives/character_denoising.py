"""Noise for models that read characters: single characters and stretches of neighbours are hidden."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from tokenreel import keys, rates
from tokenreel.errors import ConfigError
from tokenreel.format.schema import token_dtype
from tokenreel.objectives.base import Array, Arrays, Bools, Draw, Ints, Objective, check_id, special_table
from tokenreel.objectives.typos import TypoNoise
from tokenreel.ragged import ranks

TYPING = ("swap", "neighbour", "case")  # rates of the typing errors that move nothing


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CharacterDenoising(Objective):
    """Hides single characters and a few runs of neighbours, and makes typing errors; the clean text is the target (cclm's pretrainer).

    Makes `tokens` (with `mask_id` where characters are hidden), `targets` (the clean text) and `target_weights` (0 or 1). Of the mistakes
    of `TypoNoise` it makes those that move nothing, so that each position has its target; none unless a rate is set. Where a character is
    mistyped and hidden, it is hidden.

    Attributes:
      mask_id: written over what is hidden.
      special_ids: never hidden; runs never cross one, nor a document's beginning.
      rate: share of the characters hidden one by one, as an exact count.
      runs: runs hidden besides, in each example. Runs may meet hidden characters and each other.
      run_length: characters in a run; fewer where a document or the example ends.
      loss: where `target_weights` is 1: on "masked" characters and mistyped ones, or on "all" that are not padding.
      characters: what each id stands for, for typing errors; None for ids that are no character.
      swap: rate at which a character changes places with the next one.
      neighbour: rate at which a neighbour on the keyboard is struck in its place.
      case: rate at which a letter changes its case.
    """

    name: ClassVar[str] = "character_denoising"
    version: ClassVar[int] = 2
    hides_tokens: ClassVar[bool] = True

    mask_id: int
    special_ids: Sequence[int] = ()
    pads_with_text: dataclasses.InitVar[bool] = False  # see `special_table`; no setting
    rate: float = 0.125
    runs: int = 1
    run_length: int = 5
    loss: Literal["masked", "all"] = "masked"
    characters: Sequence[str | None] | None = None
    swap: float = 0.0
    neighbour: float = 0.0
    case: float = 0.0

    _typist: TypoNoise | None = dataclasses.field(init=False, repr=False)
    _special: Bools = dataclasses.field(init=False, repr=False)

    def __post_init__(self, pads_with_text: bool) -> None:
        super().__post_init__()
        check_id("mask_id", self.mask_id, self.vocab_size)
        rates.check_rate("objective.rate", self.rate, zero=True)
        if self.runs < 0 or not 1 <= self.run_length <= self.seq_len:
            raise ConfigError(
                f"objective.runs is at least 0 and run_length lies between 1 and packing.seq_len = {self.seq_len}, got {self.runs} and "
                f"{self.run_length}"
            )
        if not self.rate and not self.runs:
            raise ConfigError("objective.rate and objective.runs are both 0: nothing would be hidden")
        if self.loss not in ("masked", "all"):
            raise ConfigError(f"objective.loss must be masked or all, got {self.loss!r}")
        object.__setattr__(self, "_typist", self._make_typist())
        object.__setattr__(self, "_special", special_table(self.special_ids, self, pads_with_text=pads_with_text))

    def _make_typist(self) -> TypoNoise | None:
        """Makes what makes the typing errors; None where there are none."""
        typing = {name: getattr(self, name) for name in TYPING}
        for name, rate in typing.items():
            rates.check_rate(f"objective.{name}", rate, zero=True)
        if not any(typing.values()):
            object.__setattr__(self, "characters", None)  # nothing asks for them
            return None
        if self.characters is None:
            setting = next(name for name, rate in typing.items() if rate)
            raise ConfigError(
                f"objective.{setting} needs a vocabulary of characters or bytes: this one does not tell what its ids stand for"
            )
        return TypoNoise(
            seq_len=self.seq_len,
            vocab_size=self.vocab_size,
            pad_id=self.pad_id,
            characters=self.characters,
            drop=0.0,
            insert=0.0,
            **typing,
        )

    def marks(self) -> tuple[int, ...]:
        """See `Objective`."""
        return (self.mask_id,)

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`."""
        ids = token_dtype(self.vocab_size)
        return {"tokens": (ids, (self.seq_len,)), "targets": (ids, (self.seq_len,)), "target_weights": ("uint8", (self.seq_len,))}

    def check_packing(self, *, mode: str, overlap: int = 0, align: int = 1) -> None:
        """See `Objective`."""
        if overlap:
            raise ConfigError(f"objective {self.called} has no use for the token that packing.overlap = {overlap} repeats: set it to 0")

    def _corrupt(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> dict[str, Array]:
        n, length = tokens.shape
        real = np.arange(length) < num_tokens[:, None]
        eligible = ~self._special[tokens] & real
        able = np.count_nonzero(eligible, axis=1)
        hidden = np.zeros((n, length + 1), np.bool_)  # one column more: what `choose` fills up with stands there
        at = keys.choose(draw.words("positions", ids, length), rates.share(able, self.rate), eligible)
        hidden[np.arange(n)[:, None], at] = True
        if self.runs:
            fence = ~eligible
            if starts is not None:
                fence |= starts
            column = np.arange(length, dtype=np.int32)
            following = np.minimum.accumulate(np.where(fence, column, np.int32(length))[:, ::-1], axis=1)[:, ::-1]
            # A run may cover what follows its first character up to the next fence: the fence under that character does not count.
            ends = np.append(following[:, 1:], np.full((n, 1), length, np.int32), axis=1)
            begins = keys.choose(draw.words("runs", ids, length), np.minimum(able, self.runs), eligible)
            row, slot = np.nonzero(begins < length)
            begin = begins[row, slot].astype(np.int64)
            size = np.minimum(ends[row, begin] - begin, self.run_length)
            hidden[np.repeat(row, size), np.repeat(begin, size) + ranks(size)] = True
        hidden = hidden[:, :length]
        typed = tokens if self._typist is None else self._typist.type_in_place(tokens, starts, num_tokens, ids, draw)
        noisy = np.where(hidden, np.asarray(self.mask_id, tokens.dtype), typed)
        return {"tokens": noisy, "targets": tokens, "target_weights": hidden | (typed != tokens) if self.loss == "masked" else real}

    def restore(self, arrays: Arrays) -> Array:
        """See `Objective`."""
        return arrays["targets"]

    def statistics(self, before: Arrays, after: Arrays) -> dict[str, Any]:
        """Adds characters that are hidden or mistyped, where they are ([seq_len]), and the lengths of their runs ([64], to 63 or more)."""
        hidden = after["tokens"] != after["targets"]
        edges = np.diff(np.pad(hidden.astype(np.int8), ((0, 0), (1, 1))), axis=1)
        run_lengths = np.nonzero(edges < 0)[1] - np.nonzero(edges > 0)[1]
        return {
            **super().statistics(before, after),
            "selected": int(np.count_nonzero(hidden)),
            "selected_by_position": np.count_nonzero(hidden, axis=0),
            "run_lengths": np.bincount(np.minimum(run_lengths, 63), minlength=64),
        }
