"""Hashes of units, and the constants that hash tables of kernels share."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit

SHORT = 7  # bytes of a unit that its hash tells

# All uint64: Numba makes a float of a uint64 and a signed integer, so every operand of the arithmetic of hashes is one.
ONE, BYTE, HALF = np.uint64(1), np.uint64(8), np.uint64(32)
MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio; odd, so that multiplying by it can be undone
FNV_SEED, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)  # FNV-1a of 64 bits

# The tag of a short unit, from the upper bits: 1, flags (4 bits), size (3 bits), bytes (56 bits, the last one lowest).
_SIZE_BITS, _FLAG_BITS, _IS_SHORT = np.uint64(8 * SHORT), np.uint64(8 * SHORT + 3), np.uint64(1 << 63)


@njit(nogil=True)
def hash_unit(size, word, value, flag):
    """Hashes a unit; see `word_units.cut_words`.

    Units of up to `SHORT` bytes have the same hash only if their bytes and flags are the same, so that whoever compares hashes need not
    compare bytes: most units of natural text are that short.

    Args:
      size: its bytes.
      word: uint64, its last eight bytes, the last one lowest.
      value: uint64, FNV-1a of all its bytes.
      flag: uint64, its flags.
    """
    if size <= SHORT:
        tag = word | np.uint64(size) << _SIZE_BITS | flag << _FLAG_BITS | _IS_SHORT
    else:
        tag = (value ^ flag << _FLAG_BITS) * FNV_PRIME >> ONE  # the top bit is 0: no short unit's tag
    # Tables take the lower bits as the place, and words differ in any of their bytes. Both steps are one to one.
    tag *= MIX
    return tag ^ tag >> HALF
