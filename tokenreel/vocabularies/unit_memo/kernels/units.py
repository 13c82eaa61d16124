"""Cuts text into units and finds them in the table of those seen."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import BOOL, I32, I64, U8, U64, kernel

FIRST, LAST = 1, 2  # flags of units that begin or end a document

SHORT = 7  # bytes of a unit that its hash tells

_SEED, _PRIME, MIX = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)

HALF, _BYTE, ONE = np.uint64(32), np.uint64(8), np.uint64(1)

_SIZE_BITS, _FLAG_BITS, _IS_SHORT = np.uint64(8 * SHORT), np.uint64(8 * SHORT + 3), np.uint64(1 << 63)

_SYMBOL, _WHOLE_SYMBOL = np.uint64(0xE29681), np.uint64(0xFFFFFF)


@njit(nogil=True)
def _hash(size, word, value, flag):
    """The hash of a unit: of its size, its last bytes, a hash of all its bytes, and its flags."""
    if size <= SHORT:
        tag = word | np.uint64(size) << _SIZE_BITS | flag << _FLAG_BITS | _IS_SHORT
    else:
        tag = (value ^ flag << _FLAG_BITS) * _PRIME >> ONE
    tag *= MIX  # one to one, like the next step
    return tag ^ tag >> HALF


@kernel((U8, I64, BOOL, BOOL))
def cut(text, offsets, allowed, spaces):
    """Cuts documents into units; of each run of spaces one is left, as the normaliser will: lines of source code begin with many.

    Args:
      text: [bytes] uint8, documents end to end.
      offsets: [n + 1] int64, their bounds.
      allowed: [65536] bool, `Cuts.allowed`.
      spaces: [256] bool, bytes that are always and only a space.

    Returns:
      the text that is left, [units + 1] int32 the bounds of units in it, [n + 1] int64 the first unit of each document, [units] uint64
      hashes, and [units] uint8 flags; [n] bool documents with U+2581. Units of up to `SHORT` bytes have the same hash only if they are the
      same, flags included.
    """
    out = np.empty(len(text), np.uint8)
    bounds, hashes, flags = np.empty(len(text) + 1, np.int32), np.empty(len(text), np.uint64), np.empty(len(text), np.uint8)
    first, with_symbol = np.empty(len(offsets), np.int64), np.zeros(len(offsets) - 1, np.bool_)
    unit = at = np.int64(0)
    bounds[0] = 0
    for document in range(len(offsets) - 1):
        first[document] = unit
        begin = at  # of the unit
        last = np.int64(0)
        space = False
        word, value, flag = np.uint64(0), _SEED, np.uint64(FIRST)
        for i in range(offsets[document], offsets[document + 1]):
            byte = np.int64(text[i])
            if space and spaces[byte]:
                continue
            space = spaces[byte]
            if allowed[byte << 8 | last] and at > begin:
                hashes[unit], flags[unit] = _hash(at - begin, word, value, flag), flag
                unit += 1
                bounds[unit] = begin = at
                word, value, flag = np.uint64(0), _SEED, np.uint64(0)
            out[at] = byte
            at += 1
            last = byte
            word = word << _BYTE | np.uint64(byte)
            value = (value ^ np.uint64(byte)) * _PRIME
            if word & _WHOLE_SYMBOL == _SYMBOL:
                with_symbol[document] = True
        if at > begin:
            flag |= np.uint64(LAST)
            hashes[unit], flags[unit] = _hash(at - begin, word, value, flag), flag
            unit += 1
            bounds[unit] = at
    first[-1] = unit
    return out[:at], bounds[: unit + 1].copy(), first, hashes[:unit].copy(), flags[:unit].copy(), with_symbol


@kernel((I32, U64, types.int64, U8, I64, U8, U8, I32, U64, U8))
def look_up(places, place_hashes, count, known_text, known_bounds, known_flags, text, bounds, hashes, flags):
    """Finds units in a table.

    Args:
      places: [power of two] int32, the table: an entry or -1, at the first empty place from the one that its hash names.
      place_hashes: [power of two] uint64, the hashes of the entries.
      count: entries that there are for the caller; others may come while this runs.
      known_text: [bytes] uint8, the entries' bytes end to end.
      known_bounds: [entries + 1] int64.
      known_flags: [entries] uint8.
      text: [bytes] uint8, from `cut` like all that follow.
      bounds: [units + 1] int32.
      hashes: [units] uint64.
      flags: [units] uint8.

    Returns:
      [units] int32 the entry of each unit; -1 - i where it is the i-th of those that the table does not hold; of these, [new] int32 a unit
      of the text.
    """
    mask = np.uint64(len(places) - 1)
    size = 1024
    new_places, new_mask = np.full(size, -1, np.int32), np.uint64(size - 1)
    entries, new_units = np.empty(len(hashes), np.int32), np.empty(len(hashes), np.int32)
    new = 0
    for unit in range(len(hashes)):
        value, begin = hashes[unit], bounds[unit]
        length = bounds[unit + 1] - begin
        place = value & mask
        entry = places[place]
        while entry >= 0:
            if place_hashes[place] == value and entry < count:
                if length <= SHORT:
                    break
                other = known_bounds[entry]
                if known_flags[entry] == flags[unit] and known_bounds[entry + 1] - other == length:
                    i = 0
                    while i < length and known_text[other + i] == text[begin + i]:
                        i += 1
                    if i == length:
                        break
            place = (place + ONE) & mask
            entry = places[place]
        if entry >= 0:
            entries[unit] = entry
            continue
        place = value & new_mask
        entry = new_places[place]
        while entry >= 0:
            other_unit = new_units[entry]
            if hashes[other_unit] == value:
                if length <= SHORT:
                    break
                other_begin = bounds[other_unit]
                if flags[other_unit] == flags[unit] and bounds[other_unit + 1] - other_begin == length:
                    i = 0
                    while i < length and text[other_begin + i] == text[begin + i]:
                        i += 1
                    if i == length:
                        break
            place = (place + ONE) & new_mask
            entry = new_places[place]
        if entry < 0:
            entry = np.int32(new)
            new_places[place], new_units[new] = entry, unit
            new += 1
            if 2 * new > size:
                size *= 4
                new_places, new_mask = np.full(size, -1, np.int32), np.uint64(size - 1)
                for i in range(new):
                    place = hashes[new_units[i]] & new_mask
                    while new_places[place] >= 0:
                        place = (place + ONE) & new_mask
                    new_places[place] = i
        entries[unit] = -1 - entry
    return entries, new_units[:new].copy()


@kernel((U8, I32, I32), (U8, I64, I32), (I32, I64, I32))
def take(values, bounds, indices):
    """Picks sequences in a given order: their values end to end, and [len(indices) + 1] int64 bounds."""
    out_bounds = np.zeros(len(indices) + 1, np.int64)
    for i in range(len(indices)):
        out_bounds[i + 1] = out_bounds[i] + bounds[indices[i] + 1] - bounds[indices[i]]
    out = np.empty(out_bounds[-1], values.dtype)
    at = 0
    for i in range(len(indices)):
        for j in range(bounds[indices[i]], bounds[indices[i] + 1]):
            out[at] = values[j]
            at += 1
    return out, out_bounds


@kernel((types.int32[::1], types.uint64[::1], I32, U64, types.int64))
def place(places, place_hashes, entries, hashes, first):
    """Makes entries found in a table by their hashes; `first` is added to them, and those below 0 are left out."""
    mask = np.uint64(len(places) - 1)
    for i in range(len(entries)):
        if entries[i] >= 0:
            at = hashes[i] & mask
            while places[at] >= 0:
                at = (at + ONE) & mask
            place_hashes[at] = hashes[i]
            places[at] = entries[i] + first


@kernel((I32, I64, I64, I64))
def count(entries, first, bounds, new_bounds):
    """[n] int64 how many ids documents have, from `look_up`, `cut`, and the bounds of ids of known and of new units."""
    counts = np.zeros(len(first) - 1, np.int64)
    for document in range(len(counts)):
        total = np.int64(0)
        for unit in range(first[document], first[document + 1]):
            entry = entries[unit]
            if entry >= 0:
                total += bounds[entry + 1] - bounds[entry]
            else:
                total += new_bounds[-entry] - new_bounds[-1 - entry]
        counts[document] = total
    return counts


@kernel((I32, I64, I32, I64, I32, I64, I64, I64, types.int32[::1]))
def gather(entries, first, values, bounds, new_values, new_bounds, documents, out_bounds, out):
    """Writes the values of the units of some documents, each from its `out_bounds` on."""
    for document in documents:
        at = out_bounds[document]
        for unit in range(first[document], first[document + 1]):
            entry = entries[unit]
            if entry >= 0:
                for i in range(bounds[entry], bounds[entry + 1]):
                    out[at] = values[i]
                    at += 1
            else:
                for i in range(new_bounds[-1 - entry], new_bounds[-entry]):
                    out[at] = new_values[i]
                    at += 1
