"""Byte-level BPE of a text that is cut into units: looks them up, merges new ones and keeps them, in one pass.

A table belongs to one caller at a time, so units are found and written in the same loop. It has four uint64 for each unit, half a line of
the processor's cache, and most units are told by them alone:

    0, 1   up to 15 bytes and their number in the top byte; of longer units a hash, and their number with the top bit set
    2, 3   up to three ids and their number in the top byte; else where the ids lie in a pool and, of longer units, the bytes in another

Tested in tests/tokenreel/vocabularies/unit_memo/test_byte_pairs.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, U8, U64, kernel
from tokenreel.vocabularies.unit_memo.kernels.hashing import HALF, MIX, ONE
from tokenreel.vocabularies.unit_memo.kernels.words import fetch_early, word_at

MOST_KEPT = 256  # bytes of a unit that is kept; longer ones hardly come again
KEPT_WORDS = MOST_KEPT // 8
DONE, FULL = 0, 1  # what `encode` returns: through, or the table has no room for another unit

_TOP, _THREE, _SEVEN = np.uint64(56), np.uint64(3), np.uint64(7)
_TWO, _EIGHT = np.uint64(2), np.uint64(8)
_BATCH = 64  # units whose places are fetched together
_LONG, _LAST_BIT, _LOW_HALF = np.uint64(1 << 63), np.uint64(63), np.uint64(0xFFFFFFFF)
_NO_MERGE = np.uint64(0xFFFFFFFFFFFFFFFF)  # ranks are far below
_INLINE = 3  # ids in a slot
# Masks of the first eight and of the further bytes of units of 0 to 15 bytes.
_FIRST_BYTES = np.array([(1 << 8 * min(size, 8)) - 1 for size in range(16)], dtype=np.uint64)
_LAST_BYTES = np.array([(1 << 8 * max(size - 8, 0)) - 1 for size in range(16)], dtype=np.uint64)

_WRITTEN_U64, _WRITTEN_I32, _WRITTEN_I64 = types.uint64[::1], types.int32[::1], types.int64[::1]
# The table: slots, pool of ids, pool of bytes, and how many units, ids and words of bytes it holds.
_TABLE = types.Tuple((_WRITTEN_U64, _WRITTEN_I32, _WRITTEN_U64, _WRITTEN_I64))
# What merges: of two bytes, of two pieces (`build_merges`), and the piece of each byte.
_MERGES = types.Tuple((U64, U64, I32))


@njit(nogil=True, inline="always")
def _word_at(words, at):
    """Gives eight bytes of a text from any byte on, the first one lowest; `words` is the text as uint64, with one more at its end."""
    place, shift = np.uint64(at) >> _THREE, (np.uint64(at) & _SEVEN) << _THREE
    return words[place] >> shift | (words[place + ONE] << ONE) << (_LAST_BIT - shift)


@njit(nogil=True, inline="always")
def _key(text, words, begin, length):
    """Makes the two words by which a unit of up to `MOST_KEPT` bytes is found."""
    if length < 16:
        size = np.uint64(length)
        first = word_at(text, np.uint64(begin)) & _FIRST_BYTES[size]
        return first, word_at(text, np.uint64(begin) + _EIGHT) & _LAST_BYTES[size] | size << _TOP
    value = np.uint64(length)
    for i in range(begin, begin + length - 7, 8):
        value = (value ^ _word_at(words, i)) * MIX
        value ^= value >> HALF
    last = _word_at(words, begin + length - 8)  # the last eight bytes, some of which may have come already
    value = (value ^ last) * MIX
    return value ^ value >> HALF, np.uint64(length) | _LONG


@njit(nogil=True, inline="always")
def _first_place(first, second, mask):
    """Gives the place where a unit is looked for first."""
    value = (first ^ (second << HALF | second >> HALF)) * MIX
    value = (value ^ value >> HALF) * MIX
    return value >> HALF & mask


@njit(nogil=True, inline="always")
def _find(words, begin, length, first, second, slots, store):
    """Finds the slot of a unit, or else an empty one for it: where it begins."""
    mask = np.uint64((len(slots) >> 2) - 1)
    place = _first_place(first, second, mask)
    while True:
        slot = place << _TWO
        known = slots[slot | ONE]
        if known == 0:
            break
        if known == second and slots[slot] == first:
            if length < 16:
                break
            at, i = np.int64(slots[slot | _TWO] >> HALF), 0
            while i + 8 <= length and store[at] == _word_at(words, begin + i):
                at, i = at + 1, i + 8
            if i + 8 > length and (i == length or store[at] == _word_at(words, begin + length - 8)):
                break
        place = (place + ONE) & mask
    return slot


@njit(nogil=True, inline="always")
def _keep(words, begin, length, first, second, slot, out, at, count, slots, ids, store, sizes):
    """Writes a unit, whose ids are the `count` ones of `out` from `at` on, into its slot."""
    slots[slot], slots[slot | ONE] = first, second
    sizes[0] += 1
    if count <= _INLINE and length < 16:
        value, last = np.uint64(0), np.uint64(count) << _TOP
        if count > 0:
            value = np.uint64(out[at])
        if count > 1:
            value |= np.uint64(out[at + 1]) << HALF
        if count > 2:
            last |= np.uint64(out[at + 2])
        slots[slot | _TWO], slots[slot | _THREE] = value, last
        return
    slots[slot | _TWO] = np.uint64(sizes[1]) | np.uint64(sizes[2]) << HALF
    slots[slot | _THREE] = np.uint64(count) | np.uint64(255) << _TOP
    for i in range(count):
        ids[sizes[1] + i] = out[at + i]
    sizes[1] += count
    if length >= 16:
        for i in range(0, length - 7, 8):
            store[sizes[2]] = _word_at(words, begin + i)
            sizes[2] += 1
        if length & 7:
            store[sizes[2]] = _word_at(words, begin + length - 8)
            sizes[2] += 1


@njit(nogil=True, inline="always")
def _merged(pairs, left, right):
    """Looks up what two pieces become: rank << 32 | piece, or `_NO_MERGE`."""
    key = (np.uint64(left) << HALF | np.uint64(right)) + ONE
    mask = np.uint64((len(pairs) >> 1) - 1)
    place = (key * MIX) >> HALF & mask
    while True:
        known = pairs[place << ONE]
        if known == key:
            return pairs[place << ONE | ONE]
        if known == 0:
            return _NO_MERGE
        place = (place + ONE) & mask


@njit(nogil=True)
def _merge_short(text, begin, end, merges, symbols, ranks, out, at):
    """Merges a unit of up to `MOST_KEPT` bytes: of all neighbours the pair of the lowest rank, of equals the first, until none merges.

    A merge moves all behind it to the left, which is faster than a heap and linked lists in short units.

    Returns:
      how many ids it wrote.
    """
    byte_pairs, pairs, byte_ids = merges
    count = end - begin
    for i in range(count):
        symbols[i] = byte_ids[text[begin + i]]
    for i in range(count - 1):
        ranks[i] = byte_pairs[np.int64(text[begin + i]) << 8 | np.int64(text[begin + i + 1])]
    while count > 1:
        best, lowest = 0, ranks[0]
        for i in range(1, count - 1):
            if ranks[i] < lowest:
                best, lowest = i, ranks[i]
        if lowest == _NO_MERGE:
            break
        symbols[best] = np.int32(lowest & _LOW_HALF)
        count -= 1
        for i in range(best + 1, count):
            symbols[i] = symbols[i + 1]
        for i in range(best + 1, count - 1):
            ranks[i] = ranks[i + 1]
        if best > 0:
            ranks[best - 1] = _merged(pairs, symbols[best - 1], symbols[best])
        if best < count - 1:
            ranks[best] = _merged(pairs, symbols[best], symbols[best + 1])
    for i in range(count):
        out[at + i] = symbols[i]
    return count


@njit(nogil=True)
def _merge_long(text, begin, end, merges, out, at):
    """Merges a unit of any length, in the same order, in a time that grows little faster than its length: by a heap and linked lists.

    The heap holds rank << 32 | place of pairs, some of which are no longer: those whose place has another rank now.
    """
    byte_pairs, pairs, byte_ids = merges
    count = end - begin
    symbols, ranks = np.empty(count, np.int32), np.full(count, _NO_MERGE, np.uint64)
    before, behind = np.empty(count, np.int32), np.empty(count, np.int32)
    heap, size = np.empty(3 * count + 2, np.uint64), 0
    for i in range(count):
        symbols[i], before[i], behind[i] = byte_ids[text[begin + i]], i - 1, i + 1
    for i in range(count - 1):
        ranks[i] = byte_pairs[np.int64(text[begin + i]) << 8 | np.int64(text[begin + i + 1])]
        if ranks[i] != _NO_MERGE:
            heap[size] = ranks[i] & ~_LOW_HALF | np.uint64(i)
            size += 1
    for parent in range(size // 2 - 1, -1, -1):
        _sink(heap, size, parent)
    while size:
        top = heap[0]
        size -= 1
        heap[0] = heap[size]
        _sink(heap, size, 0)
        place = np.int64(top & _LOW_HALF)
        if ranks[place] == _NO_MERGE or ranks[place] >> HALF != top >> HALF:
            continue
        gone = behind[place]
        symbols[place] = np.int32(ranks[place] & _LOW_HALF)
        symbols[gone], ranks[gone] = -1, _NO_MERGE
        behind[place] = behind[gone]
        if behind[place] < count:
            before[behind[place]] = place
        for left in (np.int64(before[place]), place):
            if left < 0:
                continue
            ranks[left] = _NO_MERGE
            if behind[left] < count:
                ranks[left] = _merged(pairs, symbols[left], symbols[behind[left]])
            if ranks[left] != _NO_MERGE:
                child, heap[size] = size, ranks[left] & ~_LOW_HALF | np.uint64(left)
                size += 1
                while child > 0 and heap[child] < heap[(child - 1) >> 1]:
                    parent = (child - 1) >> 1
                    heap[child], heap[parent] = heap[parent], heap[child]
                    child = parent
    written, place = 0, 0
    while place < count:
        out[at + written] = symbols[place]
        written += 1
        place = behind[place]
    return written


@njit(nogil=True)
def _sink(heap, size, parent):
    """Moves an entry of a heap down to where both below it are larger."""
    while 2 * parent + 1 < size:
        child = 2 * parent + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[parent] <= heap[child]:
            break
        heap[parent], heap[child] = heap[child], heap[parent]
        parent = child


@kernel((I32, I32, I32, I32))
def build_merges(left, right, merged, byte_ids):
    """Makes tables of merges.

    Args:
      left: [merges] int32 the left one of two pieces that merge, best first. Of a pair that comes twice the last counts, as in the library.
      right: [merges] int32 the right one.
      merged: [merges] int32 what they become.
      byte_ids: [256] int32 the piece of each byte, or -1.

    Returns:
      [65536] uint64 what two bytes, the first in the upper half of the index, become: rank << 32 | piece, or all ones; and the pairs of
      pieces as a hash table, [2 k] uint64: (left << 32 | right) + 1, or 0 where it is empty, and what they become.
    """
    size = 16
    while size < 2 * len(left) + 2:
        size *= 2
    mask = np.uint64(size - 1)
    pairs, byte_pairs = np.zeros(2 * size, np.uint64), np.full(65536, _NO_MERGE, np.uint64)
    for i in range(len(left)):
        key = (np.uint64(left[i]) << HALF | np.uint64(right[i])) + ONE
        place = (key * MIX) >> HALF & mask
        while pairs[place << ONE] != 0 and pairs[place << ONE] != key:
            place = (place + ONE) & mask
        pairs[place << ONE], pairs[place << ONE | ONE] = key, np.uint64(i) << HALF | np.uint64(merged[i])
    for first in range(256):
        for second in range(256):
            if byte_ids[first] >= 0 and byte_ids[second] >= 0:
                byte_pairs[first << 8 | second] = _merged(pairs, byte_ids[first], byte_ids[second])
    return byte_pairs, pairs


@kernel((U64, I64, I32, _TABLE))
def keep_pieces(words, bounds, pieces, table):
    """Keeps units that are one piece each, which `encode` will then not merge.

    Args:
      words: [...] uint64, the bytes of the units end to end, and one word more.
      bounds: [n + 1] int64 their bounds, at most `MOST_KEPT` bytes apart.
      pieces: [n] int32.
      table: written to; it has room.
    """
    slots, ids, store, sizes = table
    for i in range(len(pieces)):
        length = bounds[i + 1] - bounds[i]
        first, second = _key(words.view(np.uint8), words, bounds[i], length)
        slot = _find(words, bounds[i], length, first, second, slots, store)
        _keep(words, bounds[i], length, first, second, slot, pieces, i, 1, slots, ids, store, sizes)


@kernel((_WRITTEN_U64, U64))
def move_slots(slots, old):
    """Fills the slots of a larger table, all empty, with those of another one."""
    mask = np.uint64((len(slots) >> 2) - 1)
    for i in range(0, len(old), 4):
        if old[i + 1]:
            place = _first_place(old[i], old[i + 1], mask)
            while slots[place << _TWO | ONE]:
                place = (place + ONE) & mask
            for j in range(4):
                slots[(place << _TWO) + np.uint64(j)] = old[i + j]


@kernel((U8, U64, I64, I32, I32, I64, _MERGES, _TABLE, _WRITTEN_I64, _WRITTEN_I32, _WRITTEN_I64))
def encode(text, words, bounds, tokens, starts, units, merges, table, progress, out, counts):
    """Encodes texts.

    Args:
      text: [bytes + 16] uint8, texts end to end, valid UTF-8; the last sixteen bytes are none of them.
      words: the same bytes as uint64.
      bounds: [n + 1] int64 the bounds of texts.
      tokens: [n] int32 the id that a text is, whatever it says, or -1; may be empty where all are -1.
      starts: [units + 1] int32, of `cutting.cut_units`.
      units: [n + 1] int64 the first unit of each text.
      merges: a tuple: what `build_merges` gives, and the [256] int32 pieces of bytes.
      table: a tuple: slots, ids, bytes, and [3] int64 how much of them is taken; written to.
      progress: [5] int64, written to, zeros at first: the text, the unit where it goes on, ids written, ids written before the text, and
        units that were new.
      out: [bytes + n + 3] int32, written to: the ids. What lies behind them is overwritten, too.
      counts: [n] int64, written to: ids of each text.

    Returns:
      `DONE`, or `FULL`: called again with more room in the table it goes on where it was.
    """
    slots, ids, store, sizes = table
    most = len(slots) >> 3  # units: half of the places
    mask = np.uint64((len(slots) >> 2) - 1)
    symbols, ranks = np.empty(MOST_KEPT, np.int32), np.empty(MOST_KEPT, np.uint64)
    firsts, seconds, places = np.empty(_BATCH, np.uint64), np.empty(_BATCH, np.uint64), np.empty(_BATCH, np.uint64)
    part, unit, at, first_at, new = progress[0], progress[1], progress[2], progress[3], progress[4]
    total = len(starts) - 1
    while unit < total:
        batch = unit
        stop_batch = min(batch + _BATCH, total)
        for k in range(batch, stop_batch):
            start = np.int64(starts[k] >> 1)
            length = np.int64(starts[k + 1] >> 1) - start
            if length <= MOST_KEPT:
                j = np.uint64(k - batch)
                first, second = _key(text, words, start, length)
                place = _first_place(first, second, mask)
                firsts[j], seconds[j], places[j] = first, second, place << _TWO
                fetch_early(slots, place << _TWO)
        while unit < stop_batch:
            while unit == units[part + 1]:
                counts[part] = at - first_at
                first_at = at
                part += 1
            mark = starts[unit]
            if mark & 1:
                if len(tokens) and tokens[part] >= 0:
                    out[at] = tokens[part]
                    at += 1
                unit += 1
                continue
            j = np.uint64(unit - batch)
            first, second, slot = firsts[j], seconds[j], places[j]
            start = np.int64(mark >> 1)
            length = np.int64(starts[unit + 1] >> 1) - start
            if length >= 16 or slots[slot] != first or slots[slot | ONE] != second:
                if length > MOST_KEPT:
                    at += _merge_long(text, start, start + length, merges, out, at)
                    unit, new = unit + 1, new + 1
                    continue
                slot = _find(words, start, length, first, second, slots, store)
                if slots[slot | ONE] == 0:
                    if sizes[0] >= most or sizes[1] + MOST_KEPT > len(ids) or sizes[2] + KEPT_WORDS > len(store):
                        progress[0], progress[1], progress[2], progress[3], progress[4] = part, unit, at, first_at, new
                        return FULL
                    count = _merge_short(text, start, start + length, merges, symbols, ranks, out, at)
                    _keep(words, start, length, first, second, slot, out, at, count, slots, ids, store, sizes)
                    new += 1
                    at += count
                    unit += 1
                    continue
            value, last = slots[slot | _TWO], slots[slot | _THREE]
            count = np.int64(last >> _TOP)
            if count <= _INLINE:  # all three are written, for a branch would be guessed wrong
                out[at] = np.int32(value & _LOW_HALF)
                out[at + 1] = np.int32(value >> HALF)
                out[at + 2] = np.int32(last & _LOW_HALF)
            else:
                pool, count = np.int64(value & _LOW_HALF), np.int64(last & _LOW_HALF)
                for i in range(count):
                    out[at + i] = ids[pool + i]
            at += count
            unit += 1
    while part < len(counts):
        counts[part] = at - first_at
        first_at = at
        part += 1
    progress[0], progress[1], progress[2], progress[3], progress[4] = part, unit, at, first_at, new
    return DONE
