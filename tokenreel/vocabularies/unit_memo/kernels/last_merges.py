"""Finds the last merge of each piece of a file of ranks.

Tested in tests/tokenreel/vocabularies/ranks/test_merges.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, U8, kernel
from tokenreel.vocabularies.unit_memo.kernels.hashing import FNV_PRIME, FNV_SEED, HALF, MIX

_NONE = np.int32(-1)


@njit(nogil=True)
def _place_of(data, begin, end, slots, bounds):
    """Finds the place of some bytes in a table of pieces, or else the empty one where they would stand."""
    value = FNV_SEED
    for i in range(begin, end):
        value = (value ^ np.uint64(data[i])) * FNV_PRIME
    mask = np.uint64(len(slots) - 1)
    place = (value * MIX) >> HALF & mask
    while slots[place] >= 0:
        first, size = bounds[slots[place]], bounds[slots[place] + 1] - bounds[slots[place]]
        if size == end - begin:
            i = 0
            while i < size and data[first + i] == data[begin + i]:
                i += 1
            if i == size:
                break
        place = (place + np.uint64(1)) & mask
    return place


@kernel((U8, I64, I32))
def last_merges(data, bounds, ranks):
    """Merges the bytes of each piece by itself, up to its last two parts.

    Of all neighbours whose bytes are a piece the pair of the lowest rank merges, of equals the first, until none does.

    Args:
      data: [bytes] uint8 pieces end to end, all of them different.
      bounds: [n + 1] int64.
      ranks: [n] int32.

    Returns:
      [n] int32 the left one and [n] int32 the right one of the two pieces that a piece is merged from at last; -1 for both of a piece of
      one byte, and of one that its bytes do not become.
    """
    size = 16
    while size < 2 * len(ranks) + 2:
        size *= 2
    slots = np.full(size, _NONE, np.int32)
    longest = np.int64(0)
    for piece in range(len(ranks)):
        slots[_place_of(data, bounds[piece], bounds[piece + 1], slots, bounds)] = piece
        longest = max(longest, bounds[piece + 1] - bounds[piece])
    left, right = np.full(len(ranks), _NONE, np.int32), np.full(len(ranks), _NONE, np.int32)
    # Where each part begins, and the piece that it makes with the next one.
    starts, joined = np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int32)
    for piece in range(len(ranks)):
        count = bounds[piece + 1] - bounds[piece]
        if count < 2:
            continue
        for i in range(count + 1):
            starts[i] = bounds[piece] + i
        for i in range(count - 1):
            joined[i] = slots[_place_of(data, starts[i], starts[i + 2], slots, bounds)]
        while count > 2:
            best = -1
            for i in range(count - 1):
                if joined[i] >= 0 and (best < 0 or ranks[joined[i]] < ranks[joined[best]]):
                    best = i
            if best < 0:
                break
            for i in range(best + 1, count):
                starts[i] = starts[i + 1]
            count -= 1
            for i in range(best + 1, count - 1):
                joined[i] = joined[i + 1]
            if best > 0:
                joined[best - 1] = slots[_place_of(data, starts[best - 1], starts[best + 1], slots, bounds)]
            if best < count - 1:
                joined[best] = slots[_place_of(data, starts[best], starts[best + 2], slots, bounds)]
        if count == 2:
            left[piece] = slots[_place_of(data, starts[0], starts[1], slots, bounds)]
            right[piece] = slots[_place_of(data, starts[1], starts[2], slots, bounds)]
            if left[piece] < 0 or right[piece] < 0:  # bytes that are no piece, as no text holds them
                left[piece] = right[piece] = _NONE
    return left, right
