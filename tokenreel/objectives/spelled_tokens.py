"""Tokens as characters: all characters of some tokens are hidden, and the model finds which tokens they were."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tokenreel import keys, rates
from tokenreel.errors import ConfigError
from tokenreel.format.schema import token_dtype
from tokenreel.objectives.base import Array, Arrays, Bools, Draw, Ints, Objective, position_dtype
from tokenreel.ragged import offsets_of, ranks

PAD, MASK, UNKNOWN = 0, 1, 2  # ids of characters; those of the alphabet follow
_FIRST = 3


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SpelledTokens(Objective):
    """Spells the tokens of an example, hides whole ones, and asks for their ids (cclm's masked-token pretrainer).

    A token is spelled as its piece is written, "▁" as a space, so characters and tokens are aligned by themselves; special tokens have no
    characters. `tokens`, `document_starts` and `num_tokens` stay.

    Makes `characters` (0 padding, 1 hidden, 2 not in the alphabet, then the alphabet's, or bytes from 3 on), `num_characters`,
    `character_starts` (where documents begin in them), `span_starts` and `span_ends` (of the hidden tokens, ascending), `span_ids` (which
    tokens they are), `span_weights` (1, or 0 behind the last), and, if `negatives` is set, `negative_ids`: for each span other tokens than
    it, drawn evenly among those that are not special, for a sampled softmax.

    Attributes:
      pieces: how each token is written; None for special ones.
      alphabet: characters with ids of their own, in order; None spells tokens in bytes of UTF-8.
      width: positions for characters; tokens of which not all characters find room are left out. By default four for each token.
      rate: of the tokens that may be hidden.
      min_characters: shorter tokens are not hidden; white space does not count.
      negatives: ids drawn for each hidden token.
    """

    name: ClassVar[str] = "spelled_tokens"
    version: ClassVar[int] = 1

    pieces: Sequence[str | None]
    alphabet: str | None = None
    width: int | None = None
    rate: float = 0.15
    min_characters: int = 3
    negatives: int = 0

    _letters: npt.NDArray[np.int32] = dataclasses.field(init=False, repr=False)  # characters of all pieces, end to end
    _offsets: Ints = dataclasses.field(init=False, repr=False)  # [vocab_size + 1] where each begins
    _able: Bools = dataclasses.field(init=False, repr=False)  # [vocab_size] what may be hidden
    _regular: Ints = dataclasses.field(init=False, repr=False)  # ids of pieces, from which negatives are drawn

    def __post_init__(self) -> None:
        super().__post_init__()
        rates.check_rate("objective.rate", self.rate)
        if len(self.pieces) != self.vocab_size:
            raise ConfigError(f"objective.pieces has an entry for each of {self.vocab_size} ids, got {len(self.pieces)}")
        for name, least in (("width", 1), ("min_characters", 1), ("negatives", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value <= 1 << 24:
                raise ConfigError(f"objective.{name} must be at least {least} and at most {1 << 24:,}, got {value:,}")
        if self.alphabet is not None and (not self.alphabet or len(set(self.alphabet)) != len(self.alphabet)):
            raise ConfigError("objective.alphabet lists characters, each once")
        ids = None if self.alphabet is None else {character: _FIRST + i for i, character in enumerate(self.alphabet)}
        spelled = [[] if piece is None else _spell(piece, ids) for piece in self.pieces]
        regular = np.array([piece is not None for piece in self.pieces])
        if self.negatives and np.count_nonzero(regular) < 2:
            raise ConfigError("objective.negatives needs tokens that are not special, of which there are none")
        long = [piece is not None and len("".join(piece.split())) >= self.min_characters for piece in self.pieces]
        object.__setattr__(self, "_letters", np.array([letter for letters in spelled for letter in letters], dtype=np.int32))
        object.__setattr__(self, "_offsets", offsets_of(np.array([len(letters) for letters in spelled], dtype=np.int64)))
        object.__setattr__(self, "_able", np.array(long, dtype=np.bool_))
        object.__setattr__(self, "_regular", np.flatnonzero(regular))

    @property
    def positions(self) -> int:
        """Positions for characters."""
        return self.width or 4 * self.seq_len

    @property
    def slots(self) -> int:
        """Tokens that can be hidden in an example."""
        return max(1, int(rates.share(self.seq_len, self.rate)))

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`."""
        letters = 256 if self.alphabet is None else len(self.alphabet)
        place, tokens = position_dtype(self.positions + 1), token_dtype(self.vocab_size)
        shapes: dict[str, tuple[str, tuple[int, ...]]] = {
            "characters": (token_dtype(_FIRST + letters), (self.positions,)),
            "num_characters": ("int32", ()),
            "character_starts": ("bit", (self.positions,)),
            "span_starts": (place, (self.slots,)),
            "span_ends": (place, (self.slots,)),
            "span_ids": (tokens, (self.slots,)),
            "span_weights": ("uint8", (self.slots,)),
        }
        return shapes | ({"negative_ids": (tokens, (self.slots, self.negatives))} if self.negatives else {})

    def check_packing(self, *, mode: str, overlap: int = 0, align: int = 1) -> None:
        """See `Objective`."""
        if overlap or mode == "segment_pairs":
            what = "packing.mode segment_pairs" if mode == "segment_pairs" else f"the token that packing.overlap = {overlap} repeats"
            raise ConfigError(f"objective {self.called} has no use for {what}: leave it out")

    def _corrupt(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> dict[str, Array]:
        n, length = tokens.shape
        sizes = np.diff(self._offsets)[tokens] * (np.arange(length) < num_tokens[:, None])
        ends = np.cumsum(sizes, axis=1)
        kept = (sizes > 0) & (ends <= self.positions)
        characters = np.full((n, self.positions), PAD, dtype=np.int32)
        row, column = np.nonzero(kept)
        size = sizes[row, column]
        place = np.repeat(ends[row, column] - size, size) + ranks(size)
        characters[np.repeat(row, size), place] = self._letters[np.repeat(self._offsets[tokens[row, column]], size) + ranks(size)]

        able = kept & self._able[tokens]
        counts = np.minimum(rates.share(np.count_nonzero(able, axis=1), self.rate), self.slots)
        at = keys.choose(draw.words("tokens", ids, length), counts, able)
        row, slot = np.nonzero(at < length)
        column = at[row, slot].astype(np.int64)
        size, end = sizes[row, column], ends[row, column]
        characters[np.repeat(row, size), np.repeat(end - size, size) + ranks(size)] = MASK
        made: dict[str, Array] = {
            "characters": characters,
            "num_characters": np.max(ends * kept, axis=1, initial=0),
            "character_starts": self._document_starts(starts, ends - sizes, kept),
        }
        for name, values in (("starts", end - size), ("ends", end), ("ids", tokens[row, column]), ("weights", 1)):
            made[f"span_{name}"] = np.zeros((n, self.slots), np.int64)
            made[f"span_{name}"][row, slot] = values
        if self.negatives:
            made["negative_ids"] = np.zeros((n, self.slots, self.negatives), np.int64)
            words = draw.words("negatives", ids, self.slots * self.negatives).reshape(n, self.slots, self.negatives)[row, slot]
            # Among all regular ids but the span's own: those from its place on move up by one.
            drawn = keys.below(words, len(self._regular) - 1)
            own = np.searchsorted(self._regular, tokens[row, column])
            made["negative_ids"][row, slot] = self._regular[drawn + (drawn >= own[:, None])]
        return made

    def _document_starts(self, starts: Bools | None, begins: Ints, kept: Bools) -> Bools:
        """Marks the first character of each document that has one: bool [n, positions]."""
        marks = np.zeros((len(kept), self.positions), np.bool_)
        if starts is not None:
            number = np.cumsum(starts, axis=1)  # of the document in its example; the first may have begun before it
            row, column = np.nonzero(kept)
            first = np.append(True, (row[1:] != row[:-1]) | (number[row, column][1:] != number[row, column][:-1]))[: len(row)]
            first &= number[row, column] > 0
            marks[row[first], begins[row[first], column[first]]] = True
        return marks

    def restore(self, arrays: Arrays) -> Array:
        """See `Objective`: the tokens are in the example."""
        return arrays["tokens"]

    def statistics(self, before: Arrays, after: Arrays) -> dict[str, Any]:
        """Adds the hidden tokens, and the characters of all examples."""
        return {
            **super().statistics(before, after),
            "selected": int(np.count_nonzero(after["span_weights"])),
            "characters": int(after["num_characters"].sum()),
        }


def _spell(piece: str, ids: dict[str, int] | None) -> list[int]:
    if ids is None:
        return [_FIRST + byte for byte in piece.encode("utf-8", "surrogatepass")]
    return [ids.get(character, UNKNOWN) for character in piece]
