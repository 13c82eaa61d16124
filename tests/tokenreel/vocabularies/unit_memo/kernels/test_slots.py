"""Keys of units; how slots are found and filled: test_slot_table.py."""

import itertools

import numpy as np

from tokenreel.vocabularies.unit_memo.kernels import slots


def test_keys_of_short_units_are_all_different():
    text = np.frombuffer(bytes([0, 1, 0, 0, 255] * 8), dtype=np.uint8)
    found = {}
    for begin, length, flag in itertools.product(range(20), range(1, 16), range(4)):
        key = tuple(int(word) for word in slots.key_of(text, *map(np.uint64, (begin, length, flag))))
        assert found.setdefault(key, (text[begin : begin + length].tobytes(), flag)) == (text[begin : begin + length].tobytes(), flag)
        assert key[1] >> 63 == 0


def test_a_larger_table_has_the_same_slots():
    old = np.zeros(4 * 16, dtype=np.uint64)
    for i, unit in enumerate([b"a", b"bc", b"defg"]):
        text, size = np.frombuffer(unit + bytes(16), dtype=np.uint8), np.uint64(len(unit))
        first, second = map(np.uint64, slots.key_of(text, np.uint64(0), size, np.uint64(0)))
        slot = int(slots.first_slot(first, second, slots.mask_of(old)))
        old[slot : slot + 4] = [first, second, i, i]
    larger = np.zeros(4 * 64, dtype=np.uint64)
    slots.move_slots(larger, old)
    assert sorted(larger.reshape(-1, 4).tolist()) == sorted([*old.reshape(-1, 4).tolist(), *[[0] * 4] * 48])
