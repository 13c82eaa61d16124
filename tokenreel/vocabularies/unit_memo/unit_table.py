"""The table of units seen, within a bound of memory, and the ids of each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]

Integers = npt.NDArray[np.int64]

Entries = npt.NDArray[np.int32]

Encoded = tuple[npt.NDArray[np.int32], Integers]


class Units(NamedTuple):
    """Distinct units and what they are encoded as, end to end with bounds.

    Attributes:
      flags: [units] uint8, whether they begin or end a document.
      text, text_bounds: their bytes; [units + 1] int64.
      ids, id_bounds: their tokens, int32; likewise.
      spelling, spelling_bounds: unigram models: normalised bytes; likewise.
      scores: unigram models: [units] float32 sums of scores.
      certain: unigram models: [units] float32, as `unit_kernels.segment` gives them.
    """

    flags: Bytes
    text: Bytes
    text_bounds: Integers
    ids: npt.NDArray[np.int32]
    id_bounds: Integers
    spelling: Bytes
    spelling_bounds: Integers
    scores: npt.NDArray[np.float32]
    certain: npt.NDArray[np.float32]


_BOUNDED = {"text": "text_bounds", "ids": "id_bounds", "spelling": "spelling_bounds"}

_BOUNDS = tuple(_BOUNDED.values())

NONE = Units(
    flags=np.zeros(0, dtype=np.uint8),
    text=np.zeros(0, dtype=np.uint8),
    text_bounds=np.zeros(1, dtype=np.int64),
    ids=np.zeros(0, dtype=np.int32),
    id_bounds=np.zeros(1, dtype=np.int64),
    spelling=np.zeros(0, dtype=np.uint8),
    spelling_bounds=np.zeros(1, dtype=np.int64),
    scores=np.zeros(0, dtype=np.float32),
    certain=np.zeros(0, dtype=np.float32),
)


class Table(NamedTuple):
    """What is known, as arrays with room at their ends: they are filled there, then `places` tells where to look. Nothing else changes."""

    places: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]  # of the unit at each place
    units: Units
    size: int  # units that `places` knows

    @property
    def nbytes(self) -> int:
        """The bytes that the table and its units take."""
        return self.places.nbytes + self.hashes.nbytes + sum(array.nbytes for array in self.units) if self.size else 0

    def look_up(self, text: Bytes, bounds: npt.NDArray[np.int32], hashes: npt.NDArray[np.uint64], flags: Bytes) -> tuple[Entries, Entries]:
        """Finds units, as `unit_kernels.cut` gives them; see `unit_kernels.look_up`."""
        from tokenreel.vocabularies.unit_memo.kernels import units as kernels_units

        known = self.units
        found: tuple[Entries, Entries] = kernels_units.look_up(
            self.places, self.hashes, self.size, known.text, known.text_bounds, known.flags, text, bounds, hashes, flags
        )
        return found

    def added(self, hashes: npt.NDArray[np.uint64], new: Units, most_bytes: int) -> Table | None:
        """The table with further units that it does not hold, in these arrays or larger ones; None if it would take more than allowed."""
        from tokenreel.vocabularies.unit_memo.kernels import units as kernels_units

        count = self.size + len(hashes)
        grown = {}
        for name, old in self.units._asdict().items():
            start, added = self._used(name), getattr(new, name)
            if name in _BOUNDS:
                added = added[1:] + old[start - 1]
            grown[name] = (old, start, added)
        sizes = {name: _room(len(old), start + len(added)) for name, (old, start, added) in grown.items()}
        room = _room(len(self.places), 2 * count, power=True)
        if 12 * room + sum(sizes[name] * old.itemsize for name, (old, _, _) in grown.items()) > most_bytes:
            return None
        arrays = {}
        for name, (old, start, added) in grown.items():
            array = old
            if sizes[name] != len(old):
                array = np.empty(sizes[name], dtype=old.dtype)
                array[:start] = old[:start]
            array[start : start + len(added)] = added
            arrays[name] = array
        places, place_hashes = self.places, self.hashes
        if room != len(places):
            places, place_hashes = np.full(room, -1, dtype=np.int32), np.empty(room, dtype=np.uint64)
            kernels_units.place(places, place_hashes, self.places, self.hashes, 0)
        kernels_units.place(places, place_hashes, np.arange(len(hashes), dtype=np.int32), hashes, self.size)
        return Table(places, place_hashes, Units(**arrays), count)

    def _used(self, name: str) -> int:
        """How much of an array is filled."""
        if name in _BOUNDED:
            bounds = getattr(self.units, _BOUNDED[name])
            return int(bounds[min(self.size, len(bounds) - 1)])
        return min(self.size + (name in _BOUNDS), len(getattr(self.units, name)))  # some are empty where the model needs them not


def _room(size: int, needed: int, *, power: bool = False) -> int:
    """The size of an array that may have to grow."""
    if needed <= size:
        return size
    return 1 << max(4, (needed - 1).bit_length()) if power else max(needed, size + size // 2)


EMPTY = Table(np.full(1, -1, dtype=np.int32), np.zeros(1, dtype=np.uint64), NONE, 0)


def pick(units: Units, which: npt.NDArray[np.int32]) -> Units:
    """Some of the units."""
    from tokenreel.vocabularies.unit_memo.kernels import units as kernels_units

    picked = {}
    for name, bounds in _BOUNDED.items():
        if len(getattr(units, bounds)) > 1:
            picked[name], picked[bounds] = kernels_units.take(getattr(units, name), getattr(units, bounds), which)
    for name in ("flags", "scores", "certain"):
        if len(getattr(units, name)):
            picked[name] = getattr(units, name)[which]
    return units._replace(**picked)
