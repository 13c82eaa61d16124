"""Cuts texts into units by the automaton of a pre-tokenizer.

Tested in tests/tokenreel/vocabularies/test_fast_path.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, U8, U32
from tokenreel.vocabularies.unit_memo.kernels.hashing import ONE
from tokenreel.vocabularies.unit_memo.kernels.words import word_at

# What cuts, as `cut_units` takes it.
CUTTER = types.Tuple((U8, I32, U32, types.int64, types.uint64, U8, types.boolean, U32, U8, types.uint64))

# Flags of `automata.to_stream`, and how many they are; and one of `automata.to_pairs`.
_ENDS, _AGAIN, _STATE, _PAIR_AGAIN = np.uint64(1), np.uint64(4), np.uint64(3), np.uint64(16)
_TWO, _THREE, _FOUR, _SIX, _EIGHT = (np.uint64(number) for number in (2, 3, 4, 6, 8))
_NO_ASCII = np.uint64(0x8080808080808080)


@njit(nogil=True, inline="always")
def character_at(text, i):
    """Decodes the character that begins at a byte that is no ASCII: its code point and its bytes."""
    lead = np.int64(text[i])
    if lead < 0xE0:
        return (lead & 0x1F) << 6 | np.int64(text[i + 1] & 0x3F), np.int64(2)
    if lead < 0xF0:
        return (lead & 0x0F) << 12 | np.int64(text[i + 1] & 0x3F) << 6 | np.int64(text[i + 2] & 0x3F), np.int64(3)
    character = (lead & 0x07) << 18 | np.int64(text[i + 1] & 0x3F) << 12
    return character | np.int64(text[i + 2] & 0x3F) << 6 | np.int64(text[i + 3] & 0x3F), np.int64(4)


@njit(nogil=True)
def _find_unit(text, start, end, classes, table, columns, regions):
    """Finds the end of the unit that begins at a byte, and whether it is a match or what lies before the next one."""
    place, first_region = start, np.int64(-1)
    while place < end:
        state, last, i = columns, place, place
        first, size = np.int64(0), np.int64(1)
        while state:
            if i < end:
                character, size = np.int64(text[i]), np.int64(1)
                if character >= 0x80:
                    character, size = character_at(text, i)
                number = np.int64(classes[character])
                if i == place:
                    first, first_size = number, size
                entry = np.int64(table[state + number])
            else:
                entry = np.int64(table[state + columns - 1])
            if entry & 1:
                last = i
            state = entry >> 1
            i += size
        if last > place:
            return (last, True) if place == start else (place, False)
        region = np.int64(regions[first])
        if first_region >= 0 and region != first_region:
            return place, False
        first_region = region
        place += first_size
    return end, False


@njit(nogil=True, inline="always")
def _step(text, i, entry, seen, rows, pairs, ascii, bits, starts, units):
    """Reads two characters of ASCII; starts are written each time, and counted where a unit begins, as in `cut_units`."""
    column = np.uint64(ascii[text[i]]) << bits | np.uint64(ascii[text[i + ONE]])
    entry = np.uint64(pairs[(entry & rows) + column])
    starts[units] = np.int64(i - (entry >> ONE & ONE)) << 1
    units += entry & ONE
    starts[units] = np.int64(i + ONE - (entry >> _THREE & ONE)) << 1
    units += entry >> _TWO & ONE
    return entry, seen | entry, units


@njit(nogil=True)
def _cut_ascii(text, i, end, row, pairs, ascii, bits, starts, units):
    """Cuts eight bytes at a time, as long as they are ASCII and need not be read one by one: the row of the state, the byte and the units.

    What `starts` holds from the unit on is overwritten.
    """
    rows = ~((ONE << _TWO * bits) - ONE)
    while i + _EIGHT <= end and word_at(text, i) & _NO_ASCII == 0:
        entry, seen, found = row, np.uint64(0), units
        entry, seen, found = _step(text, i, entry, seen, rows, pairs, ascii, bits, starts, found)
        entry, seen, found = _step(text, i + _TWO, entry, seen, rows, pairs, ascii, bits, starts, found)
        entry, seen, found = _step(text, i + _FOUR, entry, seen, rows, pairs, ascii, bits, starts, found)
        entry, seen, found = _step(text, i + _SIX, entry, seen, rows, pairs, ascii, bits, starts, found)
        if seen & _PAIR_AGAIN:
            break
        row, units = entry & rows, found
        i += _EIGHT
    return row, i, units


@njit(nogil=True)
def cut_units(text, bounds, tokens, cutter, by_pairs, begin, stop, starts, first):
    """Cuts some texts into units. Takes pointers in place of arrays.

    Args:
      text: uint8, these texts end to end, valid UTF-8, and at least eight bytes more.
      bounds: [n + 1] int64 of all texts; a text that is cut begins at its bound less that of the first one.
      tokens: [n] int32 the id that a text is, which then is one unit that is left out, or -1; and whether there are any.
      cutter: what the memo's `lay_out` gives: classes, table, stream, columns, row_bits, regions, keeps_rest.
      by_pairs: likewise pairs, ascii and bits, and whether there are any pairs.
      begin: the first text.
      stop: the one behind the last.
      starts: [bytes + texts + 16] int32, written to: twice the byte where each unit begins, and 1 more if it is left out, then twice the
        end of all. What lies behind them is overwritten, too.
      first: [texts + 1] int64, written to: the first unit of each text, and their number.
    """
    classes, table, stream, columns, row_bits, regions, keeps_rest = cutter
    pairs, ascii, bits, has_pairs = by_pairs
    tokens, has_tokens = tokens
    units, last = np.int64(0), np.uint64((1 << row_bits) - 1)
    for part in range(begin, stop):
        first[part - begin] = units
        i, end = bounds[part] - bounds[begin], bounds[part + 1] - bounds[begin]
        starts[units] = i << 1
        if has_tokens and tokens[part] >= 0:
            starts[units] |= 1
            units += 1
            continue
        if i == end:
            continue
        units += 1
        state, size, one_by_one = np.uint64(0), np.int64(1), i
        while True:
            entry = np.uint64(0)
            while i < end:
                character, before = np.int64(text[np.uint64(i)]), size
                size = np.int64(1)
                if character >= 0x80:
                    character, size = character_at(text, i)
                elif before == 1 and i >= one_by_one and has_pairs:
                    row, at, found = _cut_ascii(
                        text, np.uint64(i), np.uint64(end), state >> row_bits << _TWO * bits, pairs, ascii, bits, starts, np.uint64(units)
                    )
                    one_by_one = np.int64(at) + 8
                    if at > np.uint64(i):
                        i, units, state = np.int64(at), np.int64(found), row >> _TWO * bits << row_bits
                        continue
                entry = np.uint64(stream[state + np.uint64(classes[np.uint64(character)])])
                if entry & _AGAIN:
                    break
                # Written each time, and counted where a unit begins: most units are so short that a branch would be guessed wrong.
                starts[np.uint64(units)] = (i - before * np.int64(entry >> _ENDS & _ENDS)) << 1
                units += np.int64(entry & _ENDS)
                state = entry >> _STATE
                i += size
            if not entry & _AGAIN and not np.uint64(stream[state + last]) & _AGAIN:
                break
            start = np.int64(starts[units - 1] >> 1)
            i, matches = _find_unit(text, start, end, classes, table, columns, regions)
            if not matches and not keeps_rest:
                starts[units - 1] |= 1
            if i == end:
                break
            starts[units] = i << 1
            units += 1
            state, size, one_by_one = np.uint64(0), np.int64(1), i
    first[stop - begin] = units
    starts[units] = (bounds[stop] - bounds[begin]) << 1
