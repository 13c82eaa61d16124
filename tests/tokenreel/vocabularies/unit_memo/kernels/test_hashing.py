"""Hashes of units."""

import numpy as np

from tokenreel.vocabularies.unit_memo.kernels import hashing


def hash_of(data: bytes, flag: int) -> int:
    value = int(hashing.FNV_SEED)
    for byte in data:
        value = (value ^ byte) * int(hashing.FNV_PRIME) % (1 << 64)
    word = int.from_bytes(data[-8:], "big")
    return int(hashing.hash_unit(len(data), np.uint64(word), np.uint64(value), np.uint64(flag)))


def test_hashes_of_short_units_are_all_different():
    """Turned back, a hash tells bytes, size and flags."""
    back = pow(int(hashing.MIX), -1, 1 << 64)
    for data in (b"", b"a", b"\0", b"\0\0", b"\xff" * 7, b"the", b" the"):
        for flag in range(4):
            value = hash_of(data, flag)
            tag = (value ^ value >> 32) * back % (1 << 64)
            assert (tag >> 63, tag >> 59 & 15, tag >> 56 & 7) == (1, flag, len(data))
            assert (tag & (1 << 56) - 1).to_bytes(7, "big")[7 - len(data) :] == data


def test_a_long_unit_never_has_the_hash_of_a_short_one():
    back = pow(int(hashing.MIX), -1, 1 << 64)
    random = np.random.default_rng(0)
    values = {}
    for _ in range(300):
        data, flag = random.bytes(int(random.integers(hashing.SHORT + 1, 30))), int(random.integers(4))
        value = hash_of(data, flag)
        assert ((value ^ value >> 32) * back % (1 << 64)) >> 63 == 0
        values[data, flag] = value
    assert len(set(values.values())) == len(values)
