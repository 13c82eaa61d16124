"""A table of the units that were seen and their ids, within a bound of memory; see `kernels.slots`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tokenreel.ragged import Ints

Bytes = npt.NDArray[np.uint8]
Ids = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]

_FIRST_PLACES, _FIRST_IDS, _FIRST_WORDS = 1 << 10, 1 << 12, 1 << 12
_FAST_GROWTH = 1 << 18  # places; a larger table only doubles, for its memory is not free
_MOST_NEW = 0.5  # of the units of a slice; if more are new, looking them up costs more than it saves
_FEW_UNITS = 1 << 12  # say little about those that follow
_LONGEST_REST = 63  # slices


class SlotTable:
    """Units and their ids, in arrays that grow. One caller at a time writes to it."""

    def __init__(self) -> None:
        """Begins empty."""
        from tokenreel.vocabularies.unit_memo.kernels.slots import BATCH

        self.batch = np.empty(3 * BATCH, dtype=np.uint64)
        self._rest = self._resting = 0  # slices: of the last rest, and those left of it
        self._clear()

    def _clear(self) -> None:
        self.slots = aligned(4 * _FIRST_PLACES)
        self.ids = np.empty(_FIRST_IDS, dtype=np.int32)
        self.store = np.empty(_FIRST_WORDS, dtype=np.uint64)
        self.sizes = np.zeros(3, dtype=np.int64)

    @property
    def arrays(self) -> tuple[Words, Ids, Words, Ints]:
        """What the kernels take."""
        return self.slots, self.ids, self.store, self.sizes

    @property
    def nbytes(self) -> int:
        """Bytes of memory; 0 if it holds no unit."""
        return self.slots.nbytes + self.ids.nbytes + self.store.nbytes if self.sizes[0] else 0

    def make_room(self, most_bytes: int) -> None:
        """Makes room for further units; begins afresh where that would take more than `most_bytes`."""
        from tokenreel.vocabularies.unit_memo.kernels import slots

        units, ids, words = self.sizes.tolist()
        places = len(self.slots) // 4
        more_places = places * (1 if 6 * units < len(self.slots) else 4 if places < _FAST_GROWTH else 2)
        more_ids = 2 * len(self.ids) if ids + slots.MOST_IDS > len(self.ids) else len(self.ids)
        more_words = 2 * len(self.store) if words + slots.KEPT_WORDS > len(self.store) else len(self.store)
        if 32 * more_places + 4 * more_ids + 8 * more_words > most_bytes and units:
            self._clear()
            return
        if more_places > places:
            old, self.slots = self.slots, aligned(4 * more_places)
            slots.move_slots(self.slots, old)
        self.ids = np.concatenate([self.ids, np.empty(more_ids - len(self.ids), dtype=np.int32)])
        self.store = np.concatenate([self.store, np.empty(more_words - len(self.store), dtype=np.uint64)])

    def begin_slice(self) -> bool:
        """Tells whether to look up units of the next slice of text. Where most were new, as in random bytes, some are encoded only."""
        looks_up = not self._resting
        self._resting = max(self._resting - 1, 0)
        return looks_up

    def end_slice(self, looked_up: bool, units: int, new: int) -> None:
        """Takes how many of the units of a slice were new."""
        if looked_up and units >= _FEW_UNITS:
            self._rest = min(2 * self._rest + 1, _LONGEST_REST) if new > _MOST_NEW * units else 0
            self._resting = self._rest


def aligned(words: int) -> Words:
    """Makes an array of zeros that begins where a line of the processor's cache does, so that no slot lies in two."""
    whole = np.zeros(words + 8, dtype=np.uint64)
    start = -(whole.ctypes.data // 8) % 8
    return whole[start : start + words]
