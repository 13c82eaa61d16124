"""Normalises text by the compiled rules of a SentencePiece model."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I64, U8, U32, kernel
from tokenreel.vocabularies.unit_memo.kernels.documents import FIRST, LAST
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, child

_SPACE, _SYMBOL = 0x20, (0xE2, 0x96, 0x81)  # a space in the text, and what it is written as: U+2581

# What normalises, as `normalize` takes it.
NORMALIZER = types.Tuple((U32, U8, I64, types.boolean, types.boolean, types.boolean, types.boolean))


@njit(nogil=True, inline="always")
def _write_space(out, at, escape):
    """Writes a space; gives the place behind it."""
    if not escape:
        out[at] = _SPACE
        return at + 1
    out[at], out[at + 1], out[at + 2] = _SYMBOL
    return at + 3


@njit(nogil=True, inline="always")
def _write(source, i, end, out, at, after_space, collapse, escape):
    """Writes what the normaliser takes as one; gives the place behind it, and whether a space that follows is dropped."""
    while after_space and i < end and source[i] == _SPACE:
        i += 1
    for j in range(i, end):
        if source[j] == _SPACE:
            at = _write_space(out, at, escape)
        else:
            out[at] = source[j]
            at += 1
    return at, collapse and source[end - 1] == _SPACE if i < end else after_space


@njit(nogil=True, inline="always")
def _symbol_at(text, i, end, symbols):
    """Measures the longest user-defined symbol that begins at a byte: 0 if none does."""
    size, base, j = np.int64(0), np.int64(ROOT), i
    while j < end:
        slot = child(symbols, base, np.int64(text[j]))
        if slot == 0:
            break
        j += 1
        if slot & MASK:
            size = j - i
        base = slot >> BASE & MASK
    return size


@njit(nogil=True, inline="always")
def _rule_at(text, i, end, charsmap):
    """Finds the longest rule for what begins at a byte: how much it replaces, 0 if there is none, and where the replacement begins.

    A unit of Darts has its label in the low 8 bits and the top one, which is set where it holds a value. Bit 8 says that a value hangs on
    it, bit 9 that the offset of its children is shifted by 8; bits 10 to 30 are the offset.
    """
    unit = np.int64(charsmap[0])
    node, j, size, value = (unit >> 10) << ((unit & 512) >> 6), i, np.int64(0), np.int64(0)
    while j < end:
        node ^= np.int64(text[j])
        if node >= len(charsmap):
            break
        unit = np.int64(charsmap[node])
        if unit & 0x800000FF != text[j]:
            break
        j += 1
        node ^= (unit >> 10) << ((unit & 512) >> 6)
        if unit & 256:
            size, value = j - i, np.int64(charsmap[node]) & 0x7FFFFFFF
    return size, value


@njit(nogil=True, inline="always")
def normalize_unit(text, begin, end, flag, normalizer, out, origins, notes):
    """Writes a unit as the library's normaliser does in the midst, at the beginning or at the end of a text.

    Args:
      text: [bytes] uint8.
      begin: the first byte of the unit in it.
      end: behind its last byte.
      flag: `FIRST`, `LAST`, both or 0.
      normalizer: a tuple: uint32 the Darts double array of the rules, empty if there are none; uint8 what they put in place, each ended by
        NUL; [256 m] int64 a trie of user-defined symbols, which stay as they are, or empty; and four bool: whether a space is added to a
        text, whether it ends the text instead of beginning it, whether spaces side by side are one and none are at both ends, and whether
        spaces are written as U+2581.
      out: [m] uint8, written to.
      origins: [m + 1] int32, written to: the character of the unit that each byte was made from, and the one where the last of them ends:
        for a space that is added to the text, the first character behind the spaces that it begins with.
      notes: whether to write `origins`; a constant, so that the loop without them is compiled for itself.

    Returns:
      how much of `out` was written, or -1 if it has no room.
    """
    charsmap, replacements, symbols, adds_space, suffix, collapse, escape = normalizer
    i, at, character, after_space = begin, np.int64(0), np.int32(0), collapse and flag & FIRST != 0
    only_spaces = collapse and flag & FIRST != 0  # a text of nothing else stays empty
    if flag & FIRST and adds_space and not suffix:
        at = _write_space(out, at, escape)
    added, first_character = at, character
    while i < end:
        size = _symbol_at(text, i, end, symbols) if len(symbols) else np.int64(0)
        replaced, value = np.int64(0), np.int64(0)
        if size == 0 and len(charsmap):
            replaced, value = _rule_at(text, i, end, charsmap)
        stop = value
        if replaced:
            while replacements[stop] != 0:
                stop += 1
        elif size == 0:  # one character, whose first byte tells how long it is
            lead = text[i]
            size = min(1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0), end - i)
        if at + 3 * (stop - value + size) + 6 > len(out):
            return np.int64(-1)
        before = at
        if replaced:
            only_spaces &= stop == value + 1 and replacements[value] == _SPACE
            at, after_space = _write(replacements, value, stop, out, at, after_space, collapse, escape)
            size = replaced
        else:
            only_spaces &= size == 1 and text[i] == _SPACE
            at, after_space = _write(text, i, i + size, out, at, after_space, collapse, escape)
        if notes:
            for j in range(before, at):
                origins[j] = character
            for j in range(i, i + size):
                character += np.int32(text[j] & 0xC0 != 0x80)
            if only_spaces:
                first_character = character
        i += size
    if notes:
        for j in range(added):
            origins[j] = first_character
    if flag & LAST and collapse:  # with nothing else the space that was added goes, too
        while (
            (at > 2 and out[at - 3] == _SYMBOL[0] and out[at - 2] == _SYMBOL[1] and out[at - 1] == _SYMBOL[2])
            if escape
            else (at > 0 and out[at - 1] == _SPACE)
        ):
            at -= 3 if escape else 1
            if notes:
                character = origins[at]
    before = at
    if flag & LAST and adds_space and suffix and not only_spaces:
        at = _write_space(out, at, escape)
    if notes:
        for j in range(before, at + 1):
            origins[j] = character
    return at


@kernel((U8, types.int64, NORMALIZER, types.uint8[::1], types.int32[::1]))
def normalize(text, flag, normalizer, out, origins):
    """Normalises one unit, [bytes] uint8; see `normalize_unit`."""
    return normalize_unit(text, np.int64(0), np.int64(len(text)), flag, normalizer, out, origins, True)
