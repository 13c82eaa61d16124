"""The table of units seen: it finds what was put into it, whatever hashes say, and keeps within its bound."""

from __future__ import annotations

import numpy as np
import pytest

from tokenreel.vocabularies.unit_memo.kernels import slots
from tokenreel.vocabularies.unit_memo.slot_table import SlotTable


class Units:
    """Units in a table, one at a time, as the kernels find and keep them."""

    def __init__(self) -> None:
        self.table = SlotTable()

    def slot_of(self, unit: bytes, flag: int):
        text = np.frombuffer(unit + bytes(16), dtype=np.uint8)
        first, second = map(np.uint64, slots.key_of(text, *map(np.uint64, (0, len(unit), flag))))
        mask = np.uint64(slots.mask_of(self.table.slots))
        begin = np.uint64(slots.first_slot(first, second, mask))
        slot = slots.find_slot(text, 0, len(unit), first, second, begin, mask, self.table.slots, self.table.store)
        return text, first, second, np.uint64(slot)

    def find(self, unit: bytes, flag: int = 0):
        _, _, _, slot = self.slot_of(unit, flag)
        out = np.zeros(slots.MOST_IDS, dtype=np.int32)
        count = slots.read_ids(self.table.slots, slot, self.table.ids, out, 0)
        return None if count < 0 else (out[:count].tolist(), int(slots.mark_of(self.table.slots, slot)))

    def keep(self, unit: bytes, ids, mark: int = 0, flag: int = 0, most_bytes: int = 1 << 24) -> None:
        while not slots.has_room(*self.table.arrays):
            self.table.make_room(most_bytes)
        text, first, second, slot = self.slot_of(unit, flag)
        out = np.array(ids, dtype=np.int32)
        slots.keep_unit(text, 0, len(unit), first, second, slot, out, 0, len(out), *self.table.arrays)
        slots.mark(self.table.slots, slot, mark)


def test_units_are_found_again_with_their_ids():
    random, units = np.random.default_rng(0), Units()
    kept = {}
    for size in [*range(1, 40), 255, 256] * 40:
        unit, flag = random.bytes(size), int(random.integers(4))
        ids = random.integers(-1, 1 << 31 - 1, random.integers(0, 9)).tolist()
        assert units.find(unit, flag) == kept.get((unit, flag))
        if (unit, flag) not in kept:
            kept[unit, flag] = ids, int(random.integers(1 << 24))
            units.keep(unit, *kept[unit, flag], flag)
    for (unit, flag), expected in kept.items():
        assert units.find(unit, flag) == expected
        assert units.find(unit, flag ^ 1) == kept.get((unit, flag ^ 1))
    assert units.table.sizes[0] == len(kept) > 1_000


@pytest.mark.parametrize("size", [3, 40])
def test_a_table_takes_no_more_than_it_may(size):
    units = Units()
    assert units.table.nbytes == 0
    for i in range(5_000):
        units.keep(i.to_bytes(size, "little"), range(5), most_bytes=200_000)
        assert 0 < units.table.nbytes <= 200_000
    assert units.find((4_999).to_bytes(size, "little")) is not None and units.find(bytes(size)) is None, "it began afresh"


def test_text_that_hardly_repeats_is_looked_up_less_and_less():
    table = SlotTable()

    def looked_up(slices: int, new: int) -> int:
        count = 0
        for _ in range(slices):
            looks_up = table.begin_slice()
            count += looks_up
            table.end_slice(looks_up, 10_000, 100 * new)
        return count

    assert looked_up(1_000, 95) < 30
    assert looked_up(200, 10) > 130, "the next look brings it back"
    assert looked_up(1_000, 10) == 1_000
