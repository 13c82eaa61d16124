"""Encodes blocks of text by looking up units of words, each of which a tokenizer encodes without seeing the others.

Units that were not seen before are spelled and encoded by compiled loops, or by the library where these do not know a character.

Tested in tests/tokenreel/vocabularies/test_word_path.py.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies.pre_tokenizers.letters import Letters
from tokenreel.vocabularies.unit_memo import lookups
from tokenreel.vocabularies.unit_memo.trials import Trials
from tokenreel.vocabularies.unit_memo.unit_table import EMPTY, NONE, Bytes, EncodedUnits, Entries, Table, pick

_Ids = npt.NDArray[np.int32]
_Flags = npt.NDArray[np.bool_]
# What asking the library for units may cost, in bytes of a text that it would encode as a whole: beside its bytes, each unit as much; of a
# slice that share, or a share of what was left; at first; and at most saved up.
_UNIT_BYTES, _SHARE, _SHARE_OF_OTHERS, _FIRST_CREDIT, _MOST_CREDIT = 10, 0.8, 1 / 64, 4000.0, 1_000_000.0
LIBRARY = -1
"""In place of an id: what the unit stands in is left to the library."""
Model = Callable[[Bytes, Ints], tuple[_Ids, Ints, Ints, Ints]]
"""Encodes words, [bytes] uint8 and [n + 1] int64 bounds: gives [tokens] int32 ids, [tokens] int64 the bytes at which they begin and end,
and [n + 1] int64 the first token of each word."""


class Tokens(NamedTuple):
    """Tokens of words, or of units.

    Attributes:
      ids, begins, ends: [tokens] int32 ids, and the characters of the unit that each stands for.
      bounds: [n + 1] int64 the first token of each.
    """

    ids: _Ids
    begins: _Ids
    ends: _Ids
    bounds: Ints


class Rules(NamedTuple):
    """How texts are cut and encoded.

    Attributes:
      letters: what becomes of each character.
      allowed: [CLASSES * CLASSES] bool, of `kernels.word_units.cut_words`.
      splits_runs: likewise.
      spaces: `spaces`, `moves_space`, `fronts` and `ruled` of `kernels.word_units.spell`.
      flags: the flags on which it depends what a unit becomes.
      model: encodes words.
      by_library: encodes units, given as texts with their flags; characters are left out (zeros) where they are not asked for.
      tokens: the ids of added tokens, by their names.
    """

    letters: Letters
    allowed: npt.NDArray[np.bool_]
    splits_runs: bool
    spaces: tuple[int, bool, Bytes, int]
    flags: int
    model: Model
    by_library: Callable[[list[str], list[int], bool], Tokens]
    tokens: dict[bytes, int]


class WordMemo:
    """Encodes texts with one tokenizer. Threads share it; ids do not depend on what it holds."""

    def __init__(self, rules: Rules, memo_bytes: int, *, spans: bool) -> None:
        """Begins empty.

        Args:
          rules: how texts are cut and encoded.
          memo_bytes: most memory for units and their tokens. When it is full it begins afresh.
          spans: whether the characters that tokens stand for are kept, too.
        """
        self._rules, self._memo_bytes, self._spans = rules, memo_bytes, spans
        self._table, self._lock, self._credit, self._trials = EMPTY, threading.Lock(), _FIRST_CREDIT, Trials()

    def encode(self, text: Bytes, bounds: Ints, tokens: _Ids, first: Ints) -> tuple[_Ids, _Ids, _Ids, Ints]:
        """Encodes documents.

        Args:
          text: [bytes] uint8, valid UTF-8, parts of documents end to end.
          bounds: [parts + 1] int64.
          tokens: [parts] int32 the id that a part is, or -1; may be empty where all are -1.
          first: [documents + 1] int64 the first part of each document.

        Returns:
          int32 ids, begins and ends end to end (the last two empty without `spans`), and the [documents] int64 number of ids of each. A
          document with an id `LIBRARY` is left to the library.
        """
        found, start, edges = [], 0, bounds[first]
        while start < len(first) - 1:
            looks, most = self._begin_slice()
            stop = int(np.searchsorted(edges, edges[start] + most, side="right")) - 1
            stop = min(max(start + 1, stop), len(first) - 1)
            a, b = first[start], first[stop]
            part = text[bounds[a] : bounds[b]], bounds[a : b + 1] - bounds[a], tokens[a:b], first[start : stop + 1] - a
            if looks:
                found.append(self._encode(np.ascontiguousarray(part[0]), *part[1:]))
                self._end_slice(True, len(part[0]), _bytes_left(found[-1][0], found[-1][3], np.diff(edges[start : stop + 1])))
            else:
                found.append(self._encode_others(*part, np.ones(stop - start, dtype=bool)))
                self._end_slice(False, len(part[0]), len(part[0]))
            start = stop
        none: _Ids = np.zeros(0, dtype=np.int32)
        ids, begins, ends, lengths = zip(*found, strict=True) if found else ((), (), (), ())
        joined = [np.concatenate([none, *each]) for each in (ids, begins, ends)]
        return joined[0], joined[1], joined[2], np.concatenate([np.zeros(0, dtype=np.int64), *lengths])

    def _begin_slice(self) -> tuple[bool, int]:
        """Tells whether to look at the next slice, and how many bytes it has."""
        with self._lock:
            looks, most = self._trials.begin()
            rested = self._trials.take_rested() if looks else 0
            self._credit = min(self._credit + rested * _SHARE_OF_OTHERS, _MOST_CREDIT)
        if rested:
            self._rules.letters.leave(rested)
        return looks, most

    def _end_slice(self, looked: bool, size: int, left: int) -> None:
        with self._lock:
            self._trials.end(looked, size, left)

    def _encode(self, text: Bytes, bounds: Ints, tokens: _Ids, first: Ints) -> tuple[_Ids, _Ids, _Ids, Ints]:
        from tokenreel.vocabularies.unit_memo.kernels import units, word_units

        rules = self._rules
        flags = np.full(len(bounds) - 1, word_units.BEGINS, dtype=np.uint8)
        begin = first[:-1][np.diff(first) > 0]
        flags[begin] |= word_units.FIRST
        flags &= np.uint8(rules.flags)
        arguments = (
            text,
            bounds,
            tokens,
            flags,
            rules.letters.kinds,
            np.uint8(word_units.ENDS & rules.flags),
            rules.allowed,
            rules.splits_runs,
        )
        unit_bounds, characters, first_units, hashes, unit_flags, unseen = word_units.cut_words(*arguments)
        if unseen:
            left = rules.letters.learn(text, bounds[first])
            if left.any():
                return self._encode_others(text, bounds, tokens, first, left)
            unit_bounds, characters, first_units, hashes, unit_flags, _ = word_units.cut_words(*arguments)
        table = self._table  # as it is now: other threads replace it
        entries, new_units = table.look_up(text, unit_bounds, hashes, unit_flags)
        new = NONE
        if len(new_units):
            new, dear = self._encode_units(text, unit_bounds, unit_flags, new_units)
            if len(dear):
                unit = np.flatnonzero(entries < 0)
                unit = unit[dear[-1 - entries[unit]]]
                left = np.zeros(len(first) - 1, dtype=bool)
                left[np.searchsorted(first_units[first], unit, side="right") - 1] = True
                return self._encode_others(text, bounds, tokens, first, left)
        lookups.add(len(entries) - len(new_units), len(new_units))
        first_units = first_units[first]
        counts = units.count_ids(entries, first_units, table.units.id_bounds, new.id_bounds)
        if self._spans:
            counts //= 3
        out_bounds = ragged.offsets_of(counts)
        ids, begins, ends = (np.empty(int(out_bounds[-1]), dtype=np.int32) for _ in range(3))
        known = table.units.ids, table.units.id_bounds, new.ids, new.id_bounds
        every = np.arange(len(counts), dtype=np.int64)
        if self._spans:
            word_units.gather_spans(entries, first_units, characters, *known, every, out_bounds, ids, begins, ends)
        else:
            units.gather_ids(entries, first_units, *known, every, out_bounds, ids)
            begins = ends = ids[:0]
        if len(new_units):
            self._keep(hashes[new_units], new, table)
        return ids, begins, ends, counts

    def _encode_others(self, text: Bytes, bounds: Ints, tokens: _Ids, first: Ints, left: _Flags) -> tuple[_Ids, _Ids, _Ids, Ints]:
        """Encodes all documents but those that are `left` to the library ([documents] bool)."""
        which, counts = np.flatnonzero(~left), left.astype(np.int64)
        if not len(which):
            spans = np.zeros(len(left) * self._spans, dtype=np.int32)
            return np.full(len(left), LIBRARY, dtype=np.int32), spans, spans, counts
        parts = np.diff(first)
        kept = np.repeat(~left, parts)
        others = (
            ragged.take(text, bounds[first], which)[0],
            ragged.offsets_of(np.diff(bounds)[kept]),
            tokens[kept] if len(tokens) else tokens,
        )
        ids, begins, ends, counts[which] = self._encode(*others, ragged.offsets_of(parts[which]))
        at = (np.cumsum(counts) - np.cumsum(left))[left]
        if self._spans:
            begins, ends = np.insert(begins, at, 0), np.insert(ends, at, 0)
        return np.insert(ids, at, LIBRARY), begins, ends, counts

    def _encode_units(self, text: Bytes, bounds: Entries, flags: Bytes, which: Entries) -> tuple[EncodedUnits, _Flags]:
        """Encodes units that were not seen before: [k] int32 indices into what `cut_words` gave.

        Returns:
          the units, and nothing; or, where it would take too long to ask the library for single ones, none, and [k] bool which these are.
        """
        from tokenreel.vocabularies.unit_memo.kernels import units, word_units

        rules = self._rules
        letters = rules.letters
        spelled, sources, word_bounds, first, hard = word_units.spell(
            text, bounds, which, flags, letters.kinds, letters.rows, *letters.written, *rules.spaces
        )
        hard &= flags[which] != word_units.TOKEN
        asked = which[hard]
        if not self._affords(int((bounds[asked + 1] - bounds[asked]).sum()) + _UNIT_BYTES * len(asked), len(text)):
            return NONE, hard
        unit_text, text_bounds = units.take_sequences(text, bounds, which)
        ids, starts, stops, first_tokens = rules.model(spelled, word_bounds)
        found = Tokens(ids, sources[starts], sources[stops - 1] + 1, first_tokens[first])
        found = self._with_hard(found, unit_text, text_bounds, flags[which], hard)
        ids, id_bounds = found.ids, found.bounds
        if self._spans:
            ids, id_bounds = np.stack([found.ids, found.begins, found.ends], axis=1).ravel(), 3 * id_bounds
        return EncodedUnits(flags[which], unit_text, text_bounds, ids, id_bounds), np.zeros(0, dtype=bool)

    def _affords(self, cost: int, size: int) -> bool:
        """Tells whether to ask the library for units, at the cost of so many bytes of a text, in a slice of `size` bytes.

        Where most units are such and new, it is faster to leave the documents to the library. If they go on coming, they are asked for when
        that costs little beside what was left.
        """
        with self._lock:
            affords = cost <= size * _SHARE + self._credit
            credit = self._credit + (size * _SHARE - cost if affords else size * _SHARE_OF_OTHERS)
            self._credit = min(credit, _MOST_CREDIT)
        return affords

    def _with_hard(self, found: Tokens, text: Bytes, bounds: Ints, flags: Bytes, hard: npt.NDArray[np.bool_]) -> Tokens:
        """Puts the tokens of units in which only the library knows a character, and added tokens, in their places."""
        from tokenreel.vocabularies.unit_memo.kernels import word_units

        data = text.tobytes()
        named = np.flatnonzero(flags == word_units.TOKEN)
        others = np.flatnonzero(hard)
        if not len(named) + len(others):
            return found
        texts = [data[bounds[i] : bounds[i + 1]] for i in named.tolist()]
        lengths = np.fromiter((len(each.decode()) for each in texts), dtype=np.int32, count=len(texts))
        ids = np.fromiter(map(self._rules.tokens.__getitem__, texts), dtype=np.int32, count=len(texts))
        asked = self._rules.by_library(
            [data[bounds[i] : bounds[i + 1]].decode() for i in others.tolist()], flags[others].tolist(), self._spans
        )
        order = np.arange(len(flags), dtype=np.int64)
        order[named] = len(flags) + np.arange(len(named))
        order[others] = len(flags) + len(named) + np.arange(len(others))
        sizes = np.concatenate([np.diff(found.bounds), np.ones(len(named), dtype=np.int64), np.diff(asked.bounds)])
        before = ragged.offsets_of(sizes)
        columns = (found.ids, ids, asked.ids), (found.begins, np.zeros_like(ids), asked.begins), (found.ends, lengths, asked.ends)
        taken = [ragged.take(np.concatenate(each), before, order) for each in columns]
        return Tokens(taken[0][0], taken[1][0], taken[2][0], taken[0][1])

    def _keep(self, hashes: npt.NDArray[np.uint64], new: EncodedUnits, seen: Table) -> None:
        """Puts units into the table of now that another one, seen before, did not hold; leaves out those that other threads put there."""
        with self._lock:
            table = self._table
            if table is not seen:
                entries, fresh = table.look_up(new.text, new.text_bounds.astype(np.int32), hashes, new.flags)
                if len(fresh) < len(entries):
                    hashes, new = hashes[fresh], pick(new, fresh)
            grown = table.added(hashes, new, self._memo_bytes)
            if grown is None:  # full: begin afresh
                grown = EMPTY.added(hashes, new, self._memo_bytes) or EMPTY
            self._table = grown


def _bytes_left(ids: _Ids, counts: Ints, sizes: Ints) -> int:
    """Counts the bytes of documents with an id `LIBRARY`, by the number of their ids and their bytes."""
    return int(sizes[ragged.holding(counts, ids == LIBRARY)].sum())
