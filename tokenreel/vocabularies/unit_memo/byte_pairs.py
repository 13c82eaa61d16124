"""Encodes blocks of text by byte-level BPE: units that were seen are looked up, new ones merged, in one pass over the text.

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
from tokenreel.vocabularies.pre_tokenizers.automata import to_stream
from tokenreel.vocabularies.pre_tokenizers.recognition import Cutter
from tokenreel.vocabularies.unit_memo import lookups

Bytes = npt.NDArray[np.uint8]
_Words = npt.NDArray[np.uint64]

_SLICE_BYTES = 1 << 18  # text encoded at once: what is written beside its result stays in the cache
_FIRST_PLACES, _FIRST_IDS, _FIRST_WORDS = 1 << 12, 1 << 13, 1 << 12  # of a new table


@dataclasses.dataclass(frozen=True)
class BytePairs:
    """What a byte-level BPE model merges.

    Attributes:
      byte_ids: [256] int32 the piece of each byte; -1 for those that no UTF-8 holds.
      left, right, merged: [merges] int32 pieces that merge, best first, and what they become.
      pieces: bytes of the pieces that are taken whole where a unit is one, without merging it, and their ids.
    """

    byte_ids: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    merged: npt.NDArray[np.int32]
    pieces: Mapping[bytes, int] = dataclasses.field(default_factory=dict)


class _Table:
    """Units and their ids, in arrays that grow; see `kernels.byte_pairs`."""

    def __init__(self, whole: tuple[_Words, Ints, npt.NDArray[np.int32]]) -> None:
        """Makes a table of units that are one piece each: their bytes as words, their bounds and ids."""
        self._whole = whole
        self._clear()

    def _clear(self) -> None:
        from tokenreel.vocabularies.unit_memo.kernels import byte_pairs

        words, bounds, ids = self._whole
        places = _FIRST_PLACES
        while places < 4 * len(ids):
            places *= 2
        self.slots = _aligned(4 * places)
        self.ids = np.empty(_FIRST_IDS + len(ids), dtype=np.int32)
        self.store = np.empty(_FIRST_WORDS + len(words), dtype=np.uint64)
        self.sizes = np.zeros(3, dtype=np.int64)
        byte_pairs.keep_pieces(words, bounds, ids, self.arrays)

    @property
    def arrays(self) -> tuple[_Words, npt.NDArray[np.int32], _Words, Ints]:
        """What the kernel takes."""
        return self.slots, self.ids, self.store, self.sizes

    @property
    def nbytes(self) -> int:
        """Bytes of memory."""
        return self.slots.nbytes + self.ids.nbytes + self.store.nbytes

    def make_room(self, most_bytes: int) -> None:
        """Makes room for further units; begins afresh where that would take more than `most_bytes`."""
        from tokenreel.vocabularies.unit_memo.kernels import byte_pairs

        units, ids, words = self.sizes.tolist()
        places = len(self.slots) // 4
        more_places = 4 * places if 2 * units >= places else places
        more_ids = 2 * len(self.ids) if ids + byte_pairs.MOST_KEPT > len(self.ids) else len(self.ids)
        more_words = 2 * len(self.store) if words + byte_pairs.KEPT_WORDS > len(self.store) else len(self.store)
        if 32 * more_places + 4 * more_ids + 8 * more_words > most_bytes and units > len(self._whole[2]):
            self._clear()
            return
        if more_places > places:
            old, self.slots = self.slots, _aligned(4 * more_places)
            byte_pairs.move_slots(self.slots, old)
        self.ids = np.concatenate([self.ids, np.empty(more_ids - len(self.ids), dtype=np.int32)])
        self.store = np.concatenate([self.store, np.empty(more_words - len(self.store), dtype=np.uint64)])


def _aligned(words: int) -> _Words:
    """Makes an array of zeros that begins where a line of the processor's cache does, so that no slot lies in two."""
    whole = np.zeros(words + 8, dtype=np.uint64)
    start = -(whole.ctypes.data // 8) % 8
    return whole[start : start + words]


def padded(text: Bytes) -> tuple[Bytes, _Words]:
    """Copies a text to where words of eight bytes begin, with at least sixteen bytes behind it; gives it as bytes and as words."""
    words = np.empty(len(text) // 8 + 3, dtype=np.uint64)
    data = words.view(np.uint8)
    data[: len(text)] = text
    data[len(text) :] = 0
    return data, words


def lay_out(model: BytePairs, cutter: Cutter) -> dict[str, npt.NDArray[Any]]:
    """Gives the arrays of `BytePairMemo`.

    Args:
      model: what merges.
      cutter: what cuts texts into units; `prefix_space` is left to the caller.
    """
    pieces = sorted(model.pieces)
    return {
        **{name: getattr(model, name) for name in ("byte_ids", "left", "right", "merged")},
        "piece_words": padded(np.frombuffer(b"".join(pieces), dtype=np.uint8))[1],
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

        stream = arrays["stream"]
        self._cutter = (
            *(arrays["classes"], arrays["table"], stream.ravel(), stream.shape[1]),
            *(arrays["regions"], bool(arrays["keeps_rest"][0])),
        )
        byte_ids = arrays["byte_ids"]
        self._merges = (*byte_pairs.build_merges(arrays["left"], arrays["right"], arrays["merged"], byte_ids), byte_ids)
        self._whole = arrays["piece_words"], arrays["piece_bounds"], arrays["piece_ids"]
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
        with self._lock:
            table = self._tables.pop() if self._tables else None
            self._count += table is None
        table = table or _Table(self._whole)
        try:
            parts, counts, start = [], np.empty(len(bounds) - 1, dtype=np.int64), 0
            while start < len(counts):
                stop = max(start + 1, int(np.searchsorted(bounds, bounds[start] + _SLICE_BYTES, side="right")) - 1)
                parts.append(self._encode(table, text, bounds[start : stop + 1], tokens[start:stop], counts[start:stop]))
                start = stop
        finally:
            with self._lock:
                self._tables.append(table)
        return np.concatenate([np.zeros(0, dtype=np.int32), *parts]), counts

    def _encode(self, table: _Table, text: Bytes, bounds: Ints, tokens: npt.NDArray[np.int32], counts: Ints) -> npt.NDArray[np.int32]:
        """Encodes some of the texts, and writes how many ids each has."""
        from tokenreel.vocabularies.unit_memo.kernels import byte_pairs, cutting

        data, words = padded(text[bounds[0] : bounds[-1]])
        bounds = bounds - bounds[0]
        starts, units = cutting.cut_units(data, bounds, tokens, self._cutter)
        out = np.empty(int(bounds[-1]) + len(counts) + 3, dtype=np.int32)
        progress = np.zeros(5, dtype=np.int64)
        while byte_pairs.encode(data, words, bounds, tokens, starts, units, self._merges, table.arrays, progress, out, counts):
            table.make_room(self._memo_bytes // max(self._count, 1))
        new = int(progress[4])
        lookups.add(len(starts) - 1 - new, new)
        return out[: int(progress[2])].copy()


def _lay_out_cutter(cutter: Cutter) -> dict[str, npt.NDArray[Any]]:
    """Lays out what cuts texts for `kernels.cutting.cut_units`: entries name the places of rows in place of their numbers."""
    automaton, stream = cutter.automaton, to_stream(cutter.automaton)
    columns = stream.shape[1]
    return {
        "classes": cutter.classes,
        "table": (2 * columns * (automaton.table >> 1) | automaton.table & 1).ravel(),
        "stream": (8 * columns * (stream >> 3) | stream & 7).astype(np.uint32),
        "regions": automaton.regions,
        "keeps_rest": np.array([automaton.keeps_rest]),
    }
