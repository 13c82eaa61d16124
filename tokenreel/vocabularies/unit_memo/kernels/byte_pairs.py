"""Byte-level BPE of a text that is cut into units: looks them up, merges new ones and keeps them, in one pass.

Tested in tests/tokenreel/vocabularies/unit_memo/test_byte_pairs.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, U8, U64, kernel
from tokenreel.vocabularies.unit_memo.kernels.cutting import CUTTER, cut_units
from tokenreel.vocabularies.unit_memo.kernels.hashing import HALF, MIX, ONE
from tokenreel.vocabularies.unit_memo.kernels.heaps import lift, sink
from tokenreel.vocabularies.unit_memo.kernels.slots import (
    BATCH,
    DONE,
    FULL,
    KEPT_WORDS,
    LONG,
    MOST_KEPT,
    TABLE,
    W_I32,
    W_I64,
    W_U8,
    W_U64,
    find_slot,
    first_slot,
    keep_unit,
    key_of,
    mask_of,
    write_ids,
)
from tokenreel.vocabularies.unit_memo.kernels.words import copy, fetch_early, pointer

_TWO, _THREE, _MOST_KEPT = np.uint64(2), np.uint64(3), np.uint64(MOST_KEPT)
SLICE, MOST_TEXTS = 1 << 16, 1 << 13  # bytes and texts that are cut together
# What `encode` keeps between calls: the texts of the slice, the text and the unit where it goes on, ids written, ids written before the
# text, units that were new, and all units.
_BEGIN, _STOP, _PART, _UNIT, _AT, _FIRST_AT, _NEW, _SEEN = range(8)
_NO_FLAG, _LOW_HALF = np.uint64(0), np.uint64(0xFFFFFFFF)
_NO_MERGE = np.uint64(0xFFFFFFFFFFFFFFFF)  # ranks are far below
# What merges: of two bytes, of two pieces (`build_merges`), and the piece of each byte; then what parts of characters become (`_finish`).
_MERGES = types.Tuple((U64, U64, I32, I32, types.int64, types.boolean))
_SCRATCH = types.Tuple((W_U8, W_I32, W_I64, W_U64, W_I32, W_U64))


@njit(nogil=True, inline="always")
def _merged(pairs, mask, left, right):
    """Looks up what two pieces become: rank << 32 | piece, or `_NO_MERGE`."""
    key = (np.uint64(left) << HALF | np.uint64(right)) + ONE
    place = (key * MIX) >> HALF & mask
    while True:
        known = pairs[place << ONE]
        if known == key:
            return pairs[place << ONE | ONE]
        if known == 0:
            return _NO_MERGE
        place = (place + ONE) & mask


@njit(nogil=True, inline="always")
def _finish(symbol, parts, first_part, fuses, within, out, at):
    """Writes a piece; or what a part of a character, which no piece is, becomes: the ids of its bytes, or an unknown token.

    Args:
      symbol: a piece, or `first_part` + n.
      parts: [4 k] int32 for each part up to four ids, the others -1.
      first_part: ids from here on are parts.
      fuses: parts side by side are one unknown token.
      within: whether a part stands before.
      out: int32, written to.
      at: where.

    Returns:
      where to go on, and whether this is a part.
    """
    if symbol < first_part:
        out[at] = symbol
        return at + 1, False
    if not (fuses and within):
        row = 4 * (np.int64(symbol) - first_part)
        for i in range(row, row + 4):
            if parts[i] >= 0:
                out[at] = parts[i]
                at += 1
    return at, True


@njit(nogil=True)
def _merge_short(text, begin, end, merges, symbols, ranks, out, at):
    """Merges a unit of up to `MOST_KEPT` bytes: of all neighbours the pair of the lowest rank, of equals the first, until none merges.

    A merge moves all behind it to the left, which is faster than a heap and linked lists in short units.

    Returns:
      how many ids it wrote.
    """
    byte_pairs, pairs, mask, byte_ids, parts, first_part, fuses = merges
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
            ranks[best - 1] = _merged(pairs, mask, symbols[best - 1], symbols[best])
        if best < count - 1:
            ranks[best] = _merged(pairs, mask, symbols[best], symbols[best + 1])
    end, within = at, False
    for i in range(count):
        end, within = _finish(symbols[i], parts, first_part, fuses, within, out, end)
    return end - at


@njit(nogil=True)
def _merge_long(text, begin, end, merges, out, at):
    """Merges a unit of any length, in the same order, in a time that grows little faster than its length: by a heap and linked lists.

    The heap holds rank << 32 | place of pairs, some of which are no longer: those whose place has another rank now.
    """
    byte_pairs, pairs, mask, byte_ids, parts, first_part, fuses = merges
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
        sink(pointer(heap), size, parent)
    while size:
        top = heap[0]
        size -= 1
        heap[0] = heap[size]
        sink(pointer(heap), size, 0)
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
                ranks[left] = _merged(pairs, mask, symbols[left], symbols[behind[left]])
            if ranks[left] != _NO_MERGE:
                heap[size] = ranks[left] & ~_LOW_HALF | np.uint64(left)
                lift(pointer(heap), size)
                size += 1
    end, place, within = at, 0, False
    while place < count:
        end, within = _finish(symbols[place], parts, first_part, fuses, within, out, end)
        place = behind[place]
    return end - at


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
                byte_pairs[first << 8 | second] = _merged(pointer(pairs), mask, byte_ids[first], byte_ids[second])
    return byte_pairs, pairs


@kernel((U8, I64, I32, TABLE))
def keep_pieces(text, bounds, pieces, table):
    """Keeps units that are one piece each, which `encode` will then not merge.

    Args:
      text: [bytes + 16] uint8, the units end to end, and sixteen bytes more.
      bounds: [n + 1] int64 their bounds, at most `MOST_KEPT` bytes apart.
      pieces: [n] int32.
      table: written to; it has room.
    """
    slots, ids, store, sizes = table
    data, ids_of_pieces, mask = pointer(text), pointer(pieces), mask_of(slots)
    units, pool, words = pointer(slots), pointer(ids), pointer(store)
    for i in range(len(pieces)):
        length = bounds[i + 1] - bounds[i]
        first, second = key_of(data, np.uint64(bounds[i]), np.uint64(length), _NO_FLAG)
        slot = find_slot(data, bounds[i], length, first, second, first_slot(first, second, mask), mask, units, words)
        keep_unit(data, bounds[i], length, first, second, slot, ids_of_pieces, i, 1, units, pool, words, pointer(sizes))


@njit(nogil=True)
def _fetch_slots(text, starts, unit, stop, slots, mask, places):
    """Makes the keys of units, [3 k] uint64 with the slot where each is looked for first, and has these slots fetched.

    Slots lie anywhere in the memory. All of a batch are on their way before the first is looked at.
    """
    j = np.uint64(0)
    for k in range(np.uint64(unit), np.uint64(stop)):
        begin = np.uint64(starts[k]) >> ONE
        length = (np.uint64(starts[k + ONE]) >> ONE) - begin
        first, second, slot = _NO_MERGE, _NO_MERGE, np.uint64(0)  # as no slot has them: of what is left out, or too long to be kept
        if length <= _MOST_KEPT and np.uint64(starts[k]) & ONE == 0:
            first, second = key_of(text, begin, length, _NO_FLAG)
            slot = first_slot(first, second, mask)
            fetch_early(slots, slot)
            second |= (second & LONG) >> ONE  # `_look_up` finds no long unit, whose bytes are to be compared
        places[j], places[j + ONE], places[j + _TWO] = first, second, slot
        j += _THREE


@njit(nogil=True)
def _look_up(slots, places, j, stop, ids, out, at):
    """Writes the ids of units up to the first one that does not lie where it is looked for first, or is long; gives this one and `at`."""
    while j < stop:
        slot = places[j + _TWO]
        if slots[slot] != places[j] or slots[slot | ONE] != places[j + ONE]:
            break
        at += write_ids(slots, slot, ids, out, at)
        j += _THREE
    return j, at


@njit(nogil=True)
def _encode_units(scratch, tokens, merges, table, state, out, counts):
    """Encodes the units of a slice from where `state` says on, as `encode` does; takes pointers, and gives `DONE` or `FULL`."""
    text, starts, units, places, symbols, ranks = scratch
    tokens, has_tokens = tokens
    slots, mask, ids, most_ids, store, most_words, sizes = table
    begin, part, unit, at, first_at = state[_BEGIN], state[_PART], state[_UNIT], state[_AT], state[_FIRST_AT]
    last, found = units[state[_STOP] - begin], DONE
    while unit < last and found == DONE:
        base, stop = unit, min(unit + BATCH, last)
        _fetch_slots(text, starts, base, stop, slots, mask, places)
        while unit < stop:
            while unit == units[part + 1 - begin]:
                counts[part] = at - first_at
                first_at = at
                part += 1
            until = min(stop, units[part + 1 - begin])
            j, where = _look_up(slots, places, np.uint64(3 * (unit - base)), np.uint64(3 * (until - base)), ids, out, np.uint64(at))
            unit, at = base + np.int64(j // _THREE), np.int64(where)
            if unit == until:
                continue
            start, length = np.int64(starts[unit] >> 1), np.int64(starts[unit + 1] >> 1) - np.int64(starts[unit] >> 1)
            if starts[unit] & 1:
                if has_tokens and tokens[part] >= 0:
                    out[at] = tokens[part]
                    at += 1
            elif length > MOST_KEPT:
                at += _merge_long(text, start, start + length, merges, out, at)
                state[_NEW] += 1
            else:
                first, second = places[j], places[j + ONE]
                second &= ~((second & LONG) >> ONE)
                slot = find_slot(text, start, length, first, second, places[j + _TWO], mask, slots, store)
                if slots[slot | ONE]:
                    at += np.int64(write_ids(slots, slot, ids, out, np.uint64(at)))
                elif 2 * sizes[0] > np.int64(mask) or sizes[1] > most_ids - MOST_KEPT or sizes[2] > most_words - KEPT_WORDS:
                    found = FULL  # at most half of the places are taken
                    break
                else:
                    count = _merge_short(text, start, start + length, merges, symbols, ranks, out, at)
                    keep_unit(text, start, length, first, second, slot, out, at, count, slots, ids, store, sizes)
                    state[_NEW] += 1
                    at += count
            unit += 1
    if found == DONE:
        for rest in range(part, state[_STOP]):
            counts[rest] = at - first_at
            first_at = at
        part = state[_STOP]
    state[_PART], state[_UNIT], state[_AT], state[_FIRST_AT] = part, unit, at, first_at
    return found


@kernel((U8, I64, I32, CUTTER, _MERGES, TABLE, _SCRATCH, W_I64, W_I32, W_I64))
def encode(text, bounds, tokens, cutter, merges, table, scratch, state, out, counts):
    """Encodes texts, slice by slice: what is written beside the ids stays in the processor's cache.

    Args:
      text: [bytes] uint8, texts end to end, valid UTF-8.
      bounds: [n + 1] int64 the bounds of texts.
      tokens: [n] int32 the id that a text is, whatever it says, or -1; may be empty where all are -1.
      cutter: a tuple, as `cutting.cut_units` takes it.
      merges: a tuple: what `build_merges` gives, the [256] int32 pieces of bytes, and `parts`, `first_part` and `fuses` of `_finish`.
      table: a tuple: slots, ids, bytes, and [3] int64 how much of them is taken; written to.
      scratch: a tuple, written to, with room for `SLICE` bytes or one text, if that is longer: the bytes and 16 more, as many int32 and
        `MOST_TEXTS` + 16 more, `MOST_TEXTS` + 1 int64, 3 * `BATCH` uint64, and `MOST_KEPT` int32 and uint64.
      state: [8] int64, written to, zeros at first: `_BEGIN` and what follows it.
      out: [bytes + n + 3] int32, written to: the ids. What lies behind them is overwritten, too.
      counts: [n] int64, written to: ids of each text.

    Returns:
      `DONE`, or `FULL`: called again with more room in the table it goes on where it was.
    """
    data, starts, units, places, symbols, ranks = scratch
    slots, ids, store, sizes = table
    byte_pairs, pairs, byte_ids, parts, first_part, fuses = merges
    classes, automaton, stream, columns, row_bits, regions, keeps_rest, rows, ascii, bits = cutter
    has_tokens, texts = len(tokens) > 0, len(counts)
    kept = (pointer(data), pointer(starts), pointer(units), pointer(places), pointer(symbols), pointer(ranks))
    held = (pointer(slots), mask_of(slots), pointer(ids), len(ids), pointer(store), len(store), pointer(sizes))
    merging = (pointer(byte_pairs), pointer(pairs), np.uint64((len(pairs) >> 1) - 1), pointer(byte_ids), pointer(parts), first_part, fuses)
    cutting = (pointer(classes), pointer(automaton), pointer(stream), columns, row_bits, pointer(regions), keeps_rest)
    by_pairs = (pointer(rows), pointer(ascii), bits, len(rows) > 0)
    now, edges, given = pointer(state), pointer(bounds), (pointer(tokens), has_tokens)
    while True:
        if now[_PART] < now[_STOP] and _encode_units(kept, given, merging, held, now, pointer(out), pointer(counts)) == FULL:
            return FULL
        begin = now[_STOP]
        if begin == texts:
            return DONE
        stop = begin + 1
        while stop < min(texts, begin + MOST_TEXTS) and edges[stop + 1] - edges[begin] <= SLICE:
            stop += 1
        copy(pointer(data), pointer(text), edges[begin], edges[stop] - edges[begin])
        cut_units(pointer(data), edges, given, cutting, by_pairs, begin, stop, pointer(starts), pointer(units))
        now[_BEGIN], now[_STOP], now[_PART], now[_UNIT] = begin, stop, begin, 0
        now[_SEEN] += units[stop - begin]
