"""Encodes blocks of text by BPE of bytes: units that were seen are looked up, new ones merged, in one pass over the text.

Tables belong to one call of `encode` at a time: a thread takes one that no other uses, or begins a new one. So the loop that looks units up
also writes them, without a lock.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies.base import Encoded
from tokenreel.vocabularies.pre_tokenizers.automata import to_pairs, to_stream
from tokenreel.vocabularies.pre_tokenizers.recognition import Cutter
from tokenreel.vocabularies.unit_memo import lookups
from tokenreel.vocabularies.unit_memo.slot_table import Bytes, Words, aligned

_Scratch = tuple[Bytes, npt.NDArray[np.int32], Ints, Words, npt.NDArray[np.int32], Words]

_MERGED = ("left", "right", "merged", "byte_ids")
_FIRST_PLACES, _FIRST_IDS, _FIRST_WORDS = 1 << 12, 1 << 13, 1 << 12  # of a new table


@dataclasses.dataclass(frozen=True)
class BytePairs:
    """What a BPE model merges.

    Attributes:
      byte_ids: [256] int32 the piece of each byte; -1 for those that no UTF-8 holds.
      left, right, merged: [merges] int32 pieces that merge, best first, and what they become.
      pieces: bytes of the pieces that are taken whole where a unit is one, without merging it, and their ids.
      first_part: ids from here on are no pieces but parts of characters, which take part in merges alone.
      parts: [n, 4] int32 what is written for each of them that is left: at most an id for each of its bytes, and -1 behind them.
      fuses: parts side by side are written as one.
    """

    byte_ids: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    merged: npt.NDArray[np.int32]
    pieces: Mapping[bytes, int] = dataclasses.field(default_factory=dict)
    first_part: int = np.iinfo(np.int32).max
    parts: npt.NDArray[np.int32] = dataclasses.field(default_factory=lambda: np.zeros((0, 4), dtype=np.int32))
    fuses: bool = False


class _Table:
    """Units and their ids, in arrays that grow; see `kernels.slots`."""

    def __init__(self, whole: tuple[Bytes, Ints, npt.NDArray[np.int32]]) -> None:
        """Makes a table of units that are one piece each: their bytes and sixteen more, their bounds and ids."""
        self._whole = whole
        self._scratch: _Scratch | None = None
        self._clear()

    def _clear(self) -> None:
        from tokenreel.vocabularies.unit_memo.kernels import byte_pairs

        text, bounds, ids = self._whole
        places = _FIRST_PLACES
        while places < 4 * len(ids):
            places *= 2
        self.slots = aligned(4 * places)
        self.ids = np.empty(_FIRST_IDS + len(ids), dtype=np.int32)
        self.store = np.empty(_FIRST_WORDS + len(text) // 8 + len(ids), dtype=np.uint64)
        self.sizes = np.zeros(3, dtype=np.int64)
        byte_pairs.keep_pieces(text, bounds, ids, self.arrays)

    @property
    def arrays(self) -> tuple[Words, npt.NDArray[np.int32], Words, Ints]:
        """What the kernel takes."""
        return self.slots, self.ids, self.store, self.sizes

    def scratch(self, longest: int) -> _Scratch:
        """Gives the kernel's arrays for texts of up to so many bytes; for long ones they are not kept."""
        from tokenreel.vocabularies.unit_memo.kernels.byte_pairs import MOST_TEXTS, SLICE
        from tokenreel.vocabularies.unit_memo.kernels.slots import BATCH, MOST_KEPT

        size = max(longest, SLICE)
        if self._scratch is None or longest > SLICE:
            scratch = (
                np.zeros(size + 16, dtype=np.uint8),
                np.zeros(size + MOST_TEXTS + 16, dtype=np.int32),
                np.zeros(MOST_TEXTS + 1, dtype=np.int64),
                np.zeros(3 * BATCH, dtype=np.uint64),
                np.zeros(MOST_KEPT, dtype=np.int32),
                np.zeros(MOST_KEPT, dtype=np.uint64),
            )
            if longest > SLICE:
                return scratch
            self._scratch = scratch
        return self._scratch

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.slots.nbytes + self.ids.nbytes + self.store.nbytes

    def make_room(self, most_bytes: int) -> None:
        """Makes room for further units; begins afresh where that would take more than `most_bytes`."""
        from tokenreel.vocabularies.unit_memo.kernels.slots import KEPT_WORDS, MOST_KEPT, move_slots

        units, ids, words = self.sizes.tolist()
        places = len(self.slots) // 4
        more_places = 4 * places if 2 * units >= places else places
        more_ids = 2 * len(self.ids) if ids + MOST_KEPT > len(self.ids) else len(self.ids)
        more_words = 2 * len(self.store) if words + KEPT_WORDS > len(self.store) else len(self.store)
        if 32 * more_places + 4 * more_ids + 8 * more_words > most_bytes and units > len(self._whole[2]):
            self._clear()
            return
        if more_places > places:
            old, self.slots = self.slots, aligned(4 * more_places)
            move_slots(self.slots, old)
        self.ids = np.concatenate([self.ids, np.empty(more_ids - len(self.ids), dtype=np.int32)])
        self.store = np.concatenate([self.store, np.empty(more_words - len(self.store), dtype=np.uint64)])


def lay_out(model: BytePairs, cutter: Cutter) -> dict[str, npt.NDArray[Any]]:
    """Gives the arrays of `BytePairMemo`.

    Args:
      model: what merges.
      cutter: what cuts texts into units; `prefix_space` is left to the caller.
    """
    pieces = sorted(model.pieces)
    return {
        **{name: getattr(model, name) for name in _MERGED},
        "parts": model.parts.ravel(),
        "unfinished": np.array([model.first_part, model.fuses]),
        "piece_bytes": np.frombuffer(b"".join(pieces) + bytes(16), dtype=np.uint8),  # the kernels read words of them
        "piece_bounds": ragged.offsets_of(np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))),
        "piece_ids": np.fromiter(map(model.pieces.__getitem__, pieces), dtype=np.int32, count=len(pieces)),
        **_lay_out_cutter(cutter),
    }


class BytePairMemo:
    """Encodes texts with one model. Threads share it; ids do not depend on what it holds."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], memo_bytes: int) -> None:
        """Makes an empty memo, and the tables of merges, which takes less time than reading them would.

        Args:
          arrays: of `lay_out`.
          memo_bytes: most memory for units and their ids. Tables that are full begin afresh.
        """
        from tokenreel.vocabularies.unit_memo.kernels import byte_pairs

        columns, row_bits, keeps_rest, bits = arrays["sizes"].tolist()
        self._cutter = (
            *(arrays["classes"], arrays["table"], arrays["stream"], columns, row_bits),
            *(arrays["regions"], bool(keeps_rest), arrays["pairs"], arrays["ascii"], bits),
        )
        tables, (first_part, fuses) = byte_pairs.build_merges(*(arrays[name] for name in _MERGED)), arrays["unfinished"].tolist()
        self._merges = (*tables, arrays["byte_ids"], arrays["parts"], first_part, bool(fuses))
        self._whole = arrays["piece_bytes"], arrays["piece_bounds"], arrays["piece_ids"]
        self._memo_bytes, self._lock = memo_bytes, threading.Lock()
        self._tables: list[_Table] = []  # that no thread uses now
        self._count = 0  # tables in all

    @property
    def nbytes(self) -> int:
        """The bytes of memory that the tables take which no thread uses now."""
        with self._lock:
            return sum(table.nbytes for table in self._tables)

    def encode(self, text: Bytes, bounds: Ints, tokens: npt.NDArray[np.int32]) -> Encoded:
        """Encodes texts.

        Args:
          text: [bytes] uint8, valid UTF-8, texts end to end.
          bounds: [n + 1] int64 their bounds.
          tokens: [n] int32 the id that a text is, whatever it says, or -1; may be empty where all are -1.

        Returns:
          int32 ids end to end, and the [n] int64 number of ids of each text.
        """
        from tokenreel.vocabularies.unit_memo.kernels import byte_pairs

        with self._lock:
            table = self._tables.pop() if self._tables else None
            self._count += table is None
        table = table or _Table(self._whole)
        count, text = len(bounds) - 1, np.ascontiguousarray(text)
        out, counts = np.empty(int(bounds[-1] - bounds[0]) + count + 3, dtype=np.int32), np.empty(count, dtype=np.int64)
        scratch, state = table.scratch(int(np.diff(bounds).max(initial=0))), np.zeros(8, dtype=np.int64)
        try:
            while byte_pairs.encode(text, bounds, tokens, self._cutter, self._merges, table.arrays, scratch, state, out, counts):
                table.make_room(self._memo_bytes // max(self._count, 1))
        finally:
            with self._lock:
                self._tables.append(table)
        *_, written, _, new, seen = state.tolist()
        lookups.add(seen - new, new)
        out.resize(written, refcheck=False)  # gives the rest back, which was never touched; nothing else has the array
        return out, counts


def _lay_out_cutter(cutter: Cutter) -> dict[str, npt.NDArray[Any]]:
    """Lays out what cuts texts for the kernels: entries name the places of rows in place of their numbers."""
    automaton, stream = cutter.automaton, to_stream(cutter.automaton)
    columns = stream.shape[1]
    row_bits = (columns - 1).bit_length()  # of the rows of `stream`, whose last column is the end of the text
    rows = np.zeros((len(stream), 1 << row_bits), dtype=np.uint32)
    rows[:, : columns - 1], rows[:, -1] = stream[:, :-1], stream[:, -1]
    pairs, places = to_pairs(stream, cutter.classes[:128])
    return {
        "classes": cutter.classes,
        "table": (2 * columns * (automaton.table >> 1) | automaton.table & 1).ravel(),
        "stream": (rows >> 3 << 3 + row_bits | rows & 7).ravel(),
        "pairs": pairs.ravel(),
        "ascii": places,
        "regions": automaton.regions,
        "sizes": np.array([columns, row_bits, automaton.keeps_rest, pairs.shape[1].bit_length() - 1]),
    }
