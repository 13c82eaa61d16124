"""The table of the units that were seen: four uint64 for each, half a line of the processor's cache.

A table belongs to one caller at a time, so units are found and written in the same loop. Most are told by their slot alone. Functions that
take no `len` of an array take what `words.pointer` gives, too.

    0, 1   up to 15 bytes and their number in the top byte; of longer units a hash, and their number with the top bit set; flags, 2 bits
    2, 3   up to three ids and their number in the top byte; else where the ids lie in a pool and, of longer units, the bytes in another;
           24 bits are for the caller
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import U64, kernel
from tokenreel.vocabularies.unit_memo.kernels.documents import FIRST, LAST
from tokenreel.vocabularies.unit_memo.kernels.hashing import HALF, MIX, ONE
from tokenreel.vocabularies.unit_memo.kernels.words import fetch_early, word_at

MOST_KEPT = 256  # bytes of a unit that is kept; longer ones hardly come again
MOST_IDS = 256  # of a unit that is kept
KEPT_WORDS = MOST_KEPT // 8
BATCH = 64  # units whose slots are fetched together
DONE, FULL, NARROW = 0, 1, 2  # what a caller returns: through; the table, or the result, has no room for another unit

_TOP, _FLAGS, _LOW_HALF = np.uint64(56), np.uint64(60), np.uint64(0xFFFFFFFF)
_TWO, _THREE, _FOUR, _EIGHT, _SIXTEEN = np.uint64(2), np.uint64(3), np.uint64(4), np.uint64(8), np.uint64(16)
LONG = np.uint64(1 << 63)  # in the second word of a unit of sixteen bytes or more
_MARK = np.uint64(0xFFFFFF)
_INLINE = np.uint64(3)  # ids in a slot
# Masks of the first eight and of the further bytes of units of 0 to 15 bytes, in turns.
_MASKS = np.array([(1 << 8 * size) - 1 for total in range(16) for size in (min(total, 8), max(total - 8, 0))], dtype=np.uint64)

W_U8, W_U64, W_I32, W_I64 = types.uint8[::1], types.uint64[::1], types.int32[::1], types.int64[::1]
TABLE = types.Tuple((W_U64, W_I32, W_U64, W_I64))  # slots, pool of ids, pool of bytes, and how many units, ids and words of bytes it holds


@njit(nogil=True, inline="always")
def key_of(text, begin, length, flag):
    """Makes the two words by which a unit of up to `MOST_KEPT` bytes is found. All are uint64; sixteen bytes behind it are read.

    A flag is 0 to 3.
    """
    if length < _SIXTEEN:
        at = length << ONE
        return word_at(text, begin) & _MASKS[at], word_at(text, begin + _EIGHT) & _MASKS[at | ONE] | length << _TOP | flag << _FLAGS
    value, i, last = length, begin, begin + length - _EIGHT
    while i <= last:
        value = (value ^ word_at(text, i)) * MIX
        value ^= value >> HALF
        i += _EIGHT
    value = (value ^ word_at(text, last)) * MIX  # the last eight bytes, some of which may have come already
    return value ^ value >> HALF, length | flag << _FLAGS | LONG


@njit(nogil=True, inline="always")
def mask_of(slots):
    """Gives what the place of a unit, of which there are two to some power, is of a hash."""
    return np.uint64((len(slots) >> 2) - 1)


@njit(nogil=True, inline="always")
def first_slot(first, second, mask):
    """Gives the slot where a unit is looked for first."""
    value = (first ^ (second << HALF | second >> HALF)) * MIX
    value = (value ^ value >> HALF) * MIX
    return (value >> HALF & mask) << _TWO


@njit(nogil=True, inline="always")
def fetch_slots(text, starts, unit, stop, first_unit, end_unit, slots, batch):
    """Makes the keys of units of a document, up to `BATCH`, and fetches the slots where they are looked for before any is looked at.

    Args:
      text: [bytes] uint8.
      starts: [units + 1] int32.
      unit: the first of them.
      stop: behind the last.
      first_unit: of the document.
      end_unit: behind the last of the document.
      slots: of the table.
      batch: [3 * BATCH] uint64, written to: the two words of each key, and the slot.
    """
    mask = mask_of(slots)
    for k in range(unit, stop):
        start = np.int64(starts[np.uint64(k)])
        length = np.int64(starts[np.uint64(k + 1)]) - start
        if length <= MOST_KEPT:
            flag = np.int64(k == first_unit) * FIRST | np.int64(k == end_unit - 1) * LAST
            first, second = key_of(text, np.uint64(start), np.uint64(length), np.uint64(flag))
            slot, at = first_slot(first, second, mask), np.uint64(3 * (k - unit))
            batch[at], batch[at + ONE], batch[at + _TWO] = first, second, slot
            fetch_early(slots, slot)


@njit(nogil=True, inline="always")
def find_slot(text, begin, length, first, second, slot, mask, slots, store):
    """Finds the slot of a unit, looked for from `first_slot` on, or else an empty one for it: where it begins."""
    while True:
        known = slots[slot | ONE]
        if known == 0:
            break
        if known == second and slots[slot] == first:
            if length < 16:
                break
            at, i = np.int64(slots[slot | _TWO] >> HALF), 0
            while i + 8 <= length and store[at] == word_at(text, np.uint64(begin + i)):
                at, i = at + 1, i + 8
            if i + 8 > length and (i == length or store[at] == word_at(text, np.uint64(begin + length - 8))):
                break
        slot = (slot + _FOUR) & (mask << _TWO | _THREE)
    return slot


@njit(nogil=True, inline="always")
def write_ids(slots, slot, ids, out, at):
    """Writes the ids of a slot that a unit has, and over what lies behind them; gives how many they are. All are uint64."""
    value, last = slots[slot | _TWO], slots[slot | _THREE]
    count = last >> _TOP
    if count <= _INLINE:  # all three are written, for a branch would be guessed wrong
        out[at] = np.int32(value & _LOW_HALF)
        out[at + ONE] = np.int32(value >> HALF)
        out[at + _TWO] = np.int32(last & _LOW_HALF)
    else:
        pool, count = value & _LOW_HALF, last & _LOW_HALF
        for i in range(count):
            out[at + i] = ids[pool + i]
    return count


@njit(nogil=True, inline="always")
def read_ids(slots, slot, ids, out, at):
    """Writes the ids of a slot to `out`, which has room for `MOST_IDS` of them; gives their number, or -1 if it is empty."""
    return np.int64(write_ids(slots, slot, ids, out, np.uint64(at))) if slots[slot | ONE] else np.int64(-1)


@njit(nogil=True, inline="always")
def keep_unit(text, begin, length, first, second, slot, out, at, count, slots, ids, store, sizes):
    """Writes a unit, whose ids are the `count` ones of `out` from `at` on, into its slot."""
    slots[slot], slots[slot | ONE] = first, second
    sizes[0] += 1
    if count <= 3 and length < 16:
        value, last = np.uint64(0), np.uint64(count) << _TOP
        if count > 0:
            value = np.uint64(np.uint32(out[at]))
        if count > 1:
            value |= np.uint64(np.uint32(out[at + 1])) << HALF
        if count > 2:
            last |= np.uint64(np.uint32(out[at + 2]))
        slots[slot | _TWO], slots[slot | _THREE] = value, last
        return
    slots[slot | _TWO] = np.uint64(sizes[1]) | np.uint64(sizes[2]) << HALF
    slots[slot | _THREE] = np.uint64(count) | np.uint64(255) << _TOP
    for i in range(count):
        ids[sizes[1] + i] = out[at + i]
    sizes[1] += count
    if length >= 16:
        for i in range(0, length - 7, 8):
            store[sizes[2]] = word_at(text, np.uint64(begin + i))
            sizes[2] += 1
        if length & 7:
            store[sizes[2]] = word_at(text, np.uint64(begin + length - 8))
            sizes[2] += 1


@njit(nogil=True, inline="always")
def has_room(slots, ids, store, sizes):
    """Tells whether a table has room for another unit; at most two thirds of its places are taken."""
    return 6 * sizes[0] < len(slots) and sizes[1] + MOST_IDS <= len(ids) and sizes[2] + KEPT_WORDS <= len(store)


@njit(nogil=True, inline="always")
def mark(slots, slot, value):
    """Writes 24 bits that are the caller's, once, into a slot."""
    slots[slot | _THREE] |= np.uint64(value) << HALF


@njit(nogil=True, inline="always")
def mark_of(slots, slot):
    """Reads the bits that are the caller's."""
    return np.int64(slots[slot | _THREE] >> HALF & _MARK)


@kernel((W_U64, U64))
def move_slots(slots, old):
    """Fills the slots of a larger table, all empty, with those of another one."""
    mask = mask_of(slots)
    for i in range(0, len(old), 4):
        if old[i + 1]:
            slot = first_slot(old[i], old[i + 1], mask)
            while slots[slot | ONE]:
                slot = (slot + _FOUR) & (mask << _TWO | _THREE)
            for j in range(4):
                slots[slot + np.uint64(j)] = old[i + j]
