"""The table of units seen, within a bound of memory, and the ids of each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel.ragged import Ints

Bytes = npt.NDArray[np.uint8]


Entries = npt.NDArray[np.int32]


class EncodedUnits(NamedTuple):
    """Distinct units and what they are encoded as, end to end with bounds.

    Attributes:
      flags: [units] uint8, of `kernels.word_units.cut_words`.
      text, text_bounds: [bytes] uint8 their bytes, and [units + 1] int64.
      ids, id_bounds: [tokens] int32 their ids, and [units + 1] int64.
    """

    flags: Bytes
    text: Bytes
    text_bounds: Ints
    ids: npt.NDArray[np.int32]
    id_bounds: Ints


_BOUNDED = {"text": "text_bounds", "ids": "id_bounds"}  # arrays of values, and their bounds
_BOUNDS = tuple(_BOUNDED.values())

NONE = EncodedUnits(
    flags=np.zeros(0, dtype=np.uint8),
    text=np.zeros(0, dtype=np.uint8),
    text_bounds=np.zeros(1, dtype=np.int64),
    ids=np.zeros(0, dtype=np.int32),
    id_bounds=np.zeros(1, dtype=np.int64),
)


class Table(NamedTuple):
    """A hash table of the units seen, and their ids.

    Its arrays have room at their ends. `added` fills it, or moves all to larger arrays, and returns another `Table`: threads that still
    hold the older one find what it held, for nothing of that is written to. So looking up needs no lock; adding does.

    Attributes:
      places: [power of two] int32, the unit at each place or -1; at most half are taken.
      hashes: [power of two] uint64, the hash of the unit at each place.
      units: with room at the ends of the arrays.
      size: units that this table holds. `places` may name others, which came later.
    """

    places: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]
    units: EncodedUnits
    size: int

    @property
    def nbytes(self) -> int:
        """The bytes that the table and its units take; 0 when it is empty."""
        return self.places.nbytes + self.hashes.nbytes + sum(array.nbytes for array in self.units) if self.size else 0

    def look_up(self, text: Bytes, bounds: npt.NDArray[np.int32], hashes: npt.NDArray[np.uint64], flags: Bytes) -> tuple[Entries, Entries]:
        """Finds units as `kernels.word_units.cut_words` gives them; see `kernels.units.find_units`."""
        from tokenreel.vocabularies.unit_memo.kernels.units import find_units

        known = self.units
        found: tuple[Entries, Entries] = find_units(
            self.places, self.hashes, self.size, known.text, known.text_bounds, known.flags, text, bounds, hashes, flags
        )
        return found

    def added(self, hashes: npt.NDArray[np.uint64], new: EncodedUnits, most_bytes: int) -> Table | None:
        """Makes the table with further units, in the same arrays or larger ones.

        Args:
          hashes: [new] of the further units.
          new: the further units, none of which the table holds.
          most_bytes: that the table may take.

        Returns:
          None if it would take more.
        """
        from tokenreel.vocabularies.unit_memo.kernels.units import place_entries

        count = self.size + len(hashes)
        grown = {}  # of each array: as it is, how much of it is filled, what comes behind
        for name, old in self.units._asdict().items():
            start, added = self._used(name), getattr(new, name)
            if name in _BOUNDS:  # the first bound is there already; the others count on from where the values end
                added = added[1:] + old[start - 1]
            grown[name] = (old, start, added)
        sizes = {name: _room(len(old), start + len(added)) for name, (old, start, added) in grown.items()}
        room = _room(len(self.places), 2 * count, power=True)
        place_bytes = self.places.itemsize + self.hashes.itemsize
        if place_bytes * room + sum(sizes[name] * old.itemsize for name, (old, _, _) in grown.items()) > most_bytes:
            return None
        arrays = {}
        for name, (old, start, added) in grown.items():
            array = old
            if sizes[name] != len(old):
                array = np.empty(sizes[name], dtype=old.dtype)
                array[:start] = old[:start]
            array[start : start + len(added)] = added
            arrays[name] = array
        # Units are written before their places: another thread that looks up in the same arrays meets places of units that it does not
        # know, and passes them by (`find_units` takes `size`).
        places, place_hashes = self.places, self.hashes
        if room != len(places):
            places, place_hashes = np.full(room, -1, dtype=np.int32), np.empty(room, dtype=np.uint64)
            place_entries(places, place_hashes, self.places, self.hashes, 0)
        place_entries(places, place_hashes, np.arange(len(hashes), dtype=np.int32), hashes, self.size)
        return Table(places, place_hashes, EncodedUnits(**arrays), count)

    def _used(self, name: str) -> int:
        """Tells how much of an array is filled."""
        if name in _BOUNDED:
            return int(getattr(self.units, _BOUNDED[name])[self.size])
        return self.size + (name in _BOUNDS)


def _room(size: int, needed: int, *, power: bool = False) -> int:
    """Gives the size of an array that may have to grow: by half at least, so that all copies together cost no more than twice its size."""
    if needed <= size:
        return size
    return 1 << max(4, (needed - 1).bit_length()) if power else max(needed, size + size // 2)


EMPTY = Table(np.full(1, -1, dtype=np.int32), np.zeros(1, dtype=np.uint64), NONE, 0)


def pick(units: EncodedUnits, which: Entries) -> EncodedUnits:
    """Picks some of the units: [k] int32, in this order."""
    from tokenreel.vocabularies.unit_memo.kernels.units import take_sequences

    text, text_bounds = take_sequences(units.text, units.text_bounds, which)
    ids, id_bounds = take_sequences(units.ids, units.id_bounds, which)
    return EncodedUnits(units.flags[which], text, text_bounds, ids, id_bounds)
