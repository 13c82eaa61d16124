"""Cuts texts into units by the automaton of a pre-tokenizer.

Tested in tests/tokenreel/vocabularies/test_fast_path.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, U8, U32, kernel

# What cuts, as `cut_units` takes it.
CUTTER = types.Tuple((U8, I32, U32, types.int64, U8, types.boolean))

# Flags of `automata.to_stream`, and how many they are. Indices are unsigned: Numba looks at the others for whether they count from the end.
_ENDS, _AGAIN, _STATE = np.uint64(1), np.uint64(4), np.uint64(3)


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


@kernel((U8, I64, I32, CUTTER))
def cut_units(text, bounds, tokens, cutter):
    """Cuts texts into units.

    Args:
      text: [bytes + 4] uint8, texts end to end, valid UTF-8.
      bounds: [n + 1] int64.
      tokens: [n] int32 the id that a text is, which then has no units, or -1; may be empty where all are -1.
      cutter: a tuple: [code points] uint8 classes; the table of an `Automaton` (int32) and that of `automata.to_stream` (uint32), both
        [states * columns], whose entries name the place where the next state's row begins in place of the state; their columns; [classes]
        uint8 regions; and whether what does not match is kept.

    Returns:
      [units + 1] int32 twice the byte where each unit begins, and 1 more if it is left out, then twice the end of all; and the [n + 1]
      int64 first unit of each text.
    """
    classes, table, stream, columns, regions, keeps_rest = cutter
    starts, first = np.empty(bounds[-1] - bounds[0] + len(bounds) + 1, np.int32), np.empty(len(bounds), np.int64)
    units = np.int64(0)
    for part in range(len(bounds) - 1):
        first[part] = units
        i, end = bounds[part], bounds[part + 1]
        if len(tokens) and tokens[part] >= 0:
            starts[units] = i << 1 | 1
            units += 1
            continue
        if i == end:
            continue
        starts[units] = i << 1
        units += 1
        state, size = np.uint64(0), np.int64(1)
        while True:
            entry = np.uint64(0)
            while i < end:
                character, before = np.int64(text[np.uint64(i)]), size
                size = np.int64(1)
                if character >= 0x80:
                    character, size = character_at(text, i)
                entry = np.uint64(stream[state + np.uint64(classes[np.uint64(character)])])
                if entry & _AGAIN:
                    break
                # Written each time, and counted where a unit begins: most units are so short that a branch would be guessed wrong.
                starts[np.uint64(units)] = (i - before * np.int64(entry >> _ENDS & _ENDS)) << 1
                units += np.int64(entry & _ENDS)
                state = entry >> _STATE
                i += size
            if not entry & _AGAIN and not np.uint64(stream[state + np.uint64(columns - 1)]) & _AGAIN:
                break
            begin = np.int64(starts[units - 1] >> 1)
            i, matches = _find_unit(text, begin, end, classes, table, columns, regions)
            if not matches and not keeps_rest:
                starts[units - 1] |= 1
            if i == end:
                break
            starts[units] = i << 1
            units += 1
            state, size = np.uint64(0), np.int64(1)
    first[-1] = units
    starts[units] = bounds[-1] << 1
    return starts[: units + 1], first
