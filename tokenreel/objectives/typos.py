"""Typing errors as people make them: neighbours on the keyboard, other case, doubled and swapped characters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tokenreel import keys, rates
from tokenreel.errors import ConfigError
from tokenreel.format.schema import token_dtype
from tokenreel.objectives.base import Array, Arrays, Bools, Draw, Ints, Objective, compact

EDITS = ("swap", "drop", "insert", "neighbour", "case")
_ROWS = ("`1234567890-=", " qwertyuiop[]", " asdfghjkl;'", " zxcvbnm,./")
_INDENT = (0.0, 0.5, 0.75, 1.25)  # of the rows of a keyboard, in keys


def keyboard_neighbours(characters: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Finds which characters lie next to each other on a QWERTY keyboard, capitals next to capitals.

    Args:
      characters: what each id stands for; None for ids that are no character.

    Returns:
      int64 [vocab_size, 8] ids of neighbours in ascending order, then -1.
    """
    place = {key: (x + indent, y) for y, (keys_, indent) in enumerate(zip(_ROWS, _INDENT, strict=True)) for x, key in enumerate(keys_)}
    place.pop(" ")
    ids = {character: i for i, character in enumerate(characters) if character is not None}
    table = np.full((len(characters), 8), -1, np.int64)
    for character, own in ids.items():
        low = character.lower()
        if low not in place:
            continue
        x, y = place[low]
        near = [key for key, (a, b) in place.items() if key != low and abs(a - x) <= 1 and abs(b - y) <= 1]
        found = sorted(ids[key] for key in (k.upper() if character != low else k for k in near) if key in ids)[:8]
        table[own, : len(found)] = found
    return table


def other_case(characters: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Finds the same letter in the other case: int64 [vocab_size] ids, the id itself where the vocabulary has none."""
    ids = {character: i for i, character in enumerate(characters) if character is not None}
    swapped = [own if character is None else ids.get(character.swapcase(), own) for own, character in enumerate(characters)]
    return np.array(swapped, np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TypoNoise(Objective):
    """Makes the mistakes of typing; the clean text is the target.

    Each character suffers at most one mistake. Where one cannot happen (no neighbour on the keyboard, no other case, the last character of
    a document has none to be swapped with) nothing does. Swaps do not overlap, and neither insertions nor drops move a document's
    beginning into another. If insertions would make an example too long, its last ones are left out.

    Makes `inputs` (noisy), `num_inputs`, `input_starts` (where documents begin in them) and `edits` (how many of each kind, in the order of
    `EDITS`); `tokens`, `document_starts` and `num_tokens` stay and are the clean text.

    Attributes:
      characters: what each id stands for, None for ids that are no character; those never change.
      swap: rate at which a character changes places with the next one.
      drop: rate at which a character is left out.
      insert: rate at which a neighbour on the keyboard is struck as well.
      neighbour: rate at which a neighbour on the keyboard is struck in its place.
      case: rate at which a letter changes its case.
    """

    name: ClassVar[str] = "typo_noise"
    version: ClassVar[int] = 2

    characters: Sequence[str | None]
    swap: float = 0.01
    drop: float = 0.01
    insert: float = 0.01
    neighbour: float = 0.01
    case: float = 0.01

    _neighbours: Ints = dataclasses.field(init=False, repr=False)
    _cases: Ints = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.characters) != self.vocab_size:
            raise ConfigError(f"objective.characters has an entry for each of {self.vocab_size} ids, got {len(self.characters)}")
        for name in EDITS:
            rates.check_rate(f"objective.{name}", getattr(self, name), zero=True)
        if sum(rates.parts(getattr(self, name)) for name in EDITS) > rates.PARTS:
            raise ConfigError("objective.swap, drop, insert, neighbour and case add up to at most 1: a character suffers one mistake")
        object.__setattr__(self, "_neighbours", keyboard_neighbours(self.characters))
        object.__setattr__(self, "_cases", other_case(self.characters))

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`."""
        return {
            "inputs": (token_dtype(self.vocab_size), (self.seq_len,)),
            "num_inputs": ("int32", ()),
            "input_starts": ("bit", (self.seq_len,)),
            "edits": ("uint16" if self.seq_len < 1 << 16 else "int32", (len(EDITS),)),
        }

    def check_packing(self, *, mode: str, overlap: int = 0, align: int = 1) -> None:
        """See `Objective`."""
        if mode == "segment_pairs":
            raise ConfigError(f"objective {self.called} moves characters and cannot keep the segment ids of packing.mode {mode}: use wrap")
        if overlap or align > 1:
            raise ConfigError(
                f"objective {self.called} moves characters and cannot keep packing.overlap = {overlap} and align = {align}: leave both out"
            )

    def _corrupt(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> dict[str, Array]:
        n, length = tokens.shape
        real = np.arange(length) < num_tokens[:, None]
        begins = np.zeros((n, length), np.bool_) if starts is None else starts & real
        known = np.array([character is not None for character in self.characters])[tokens] & real
        weights = [rates.parts(getattr(self, name)) for name in EDITS]
        # One draw decides among all mistakes and none, so that a character suffers at most one.
        kind = keys.pick(draw.words("edit", ids, length), [*weights, rates.PARTS - sum(weights)])
        kind[~known] = len(EDITS)  # no mistake
        swap = kind == 0
        swap[:, -1] = False
        swap[:, :-1] &= known[:, 1:] & ~begins[:, 1:]
        swap = _every_other(swap)
        after = np.zeros_like(swap)
        after[:, 1:] = swap[:, :-1]  # the other half of a swap suffers nothing else
        kind[after | ((kind == 0) & ~swap)] = len(EDITS)
        drop = (kind == 1) & ~begins
        drop[:, 0] = False
        options = np.count_nonzero(self._neighbours >= 0, axis=1)[tokens]
        near = (kind == 3) & (options > 0)
        insert = (kind == 2) & (options > 0)
        # Insertions have the room that padding and drops leave; the last ones that find none are left out.
        room = length - num_tokens + np.count_nonzero(drop, axis=1)
        insert &= np.cumsum(insert, axis=1) <= room[:, None]
        case = (kind == 4) & (self._cases[tokens] != tokens)

        changed = tokens.copy()
        row, at = np.nonzero(swap)
        changed[row, at], changed[row, at + 1] = tokens[row, at + 1], tokens[row, at]
        changed[case] = self._cases[tokens[case]]
        row, at = np.nonzero(near | insert)
        which = keys.below(keys.words_at(draw.states("neighbour", ids)[row], at), np.maximum(options[row, at], 1))
        struck = self._neighbours[tokens[row, at], which]
        inserted = np.zeros_like(tokens)
        replaces = near[row, at]
        changed[row[replaces], at[replaces]] = struck[replaces]
        inserted[row[~replaces], at[~replaces]] = struck[~replaces]

        # Each character is followed by a place for what is inserted behind it; then all that is kept moves to the left.
        values = np.stack([changed, inserted], axis=2).reshape(n, 2 * length)
        keep = np.stack([real & ~drop, insert], axis=2).reshape(n, 2 * length)
        marks = np.stack([begins, np.zeros_like(begins)], axis=2).reshape(n, 2 * length)
        inputs, num_inputs = compact(values, keep, length, self.pad_id)
        counts = np.stack([np.count_nonzero(edit, axis=1) for edit in (swap, drop, insert, near, case)], axis=1)
        return {"inputs": inputs, "num_inputs": num_inputs, "input_starts": compact(marks, keep, length, 0)[0], "edits": counts}

    def type_in_place(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> Array:
        """Gives [n, L] tokens with the mistakes of an objective that neither drops nor inserts; the arguments are those of `_corrupt`."""
        assert not self.drop and not self.insert, "which would move characters"
        return self._corrupt(tokens, starts, num_tokens, ids, draw)["inputs"]

    def restore(self, arrays: Arrays) -> Array:
        """See `Objective`: the clean text is in the example."""
        return arrays["tokens"]

    def statistics(self, before: Arrays, after: Arrays) -> dict[str, Any]:
        """Adds how many mistakes of each kind there are, and the characters that come out."""
        edits = {name: int(count) for name, count in zip(EDITS, after["edits"].astype(np.int64).sum(axis=0), strict=True)}
        return {**super().statistics(before, after), "edits": edits, "input_tokens": int(after["num_inputs"].sum())}


def _every_other(marks: Bools) -> Bools:
    """Keeps the first, third, ... of neighbouring true values in each row: bool [n, L]."""
    column = np.arange(marks.shape[1])
    before = np.maximum.accumulate(np.where(marks, -1, column), axis=1)  # the last position that is not marked
    result: Bools = marks & ((column - before) % 2 == 1)
    return result
