"""Cuts documents into units between which no piece of a SentencePiece model lies."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import BOOL, I64, U8, kernel

_SYMBOL = (0xE2, 0x96, 0x81)  # U+2581 in UTF-8
FIRST, LAST = 1, 2  # flags of units that begin or end a document: the normaliser treats spaces there in another way

# What cuts: `Cuts.allowed`, `Cuts.careful`, and [256] bool which bytes are always and only a space.
CUTTER = types.Tuple((BOOL, BOOL, BOOL))


@njit(nogil=True)
def _cut(text, begin, end, allowed, spaces, out, at, starts, unit, dropped, drop):
    """Cuts one document; gives where the bytes that are left end, the numbers of units and of dropped bytes, and whether it holds U+2581.

    Where `dropped` is None, they are not noted.
    """
    first_at, last, was_space, symbols = at, np.int64(0), False, np.int64(0)
    for i in range(begin, end):
        byte = np.int64(text[np.uint64(i)])
        # No branches, for most units are so short that they would be guessed wrong: what is written in vain is written over. Indices are
        # unsigned, for Numba looks at the others for whether they count from the end.
        is_space = spaces[np.uint64(byte)]
        kept = np.int64(1) - (np.int64(was_space) & np.int64(is_space))
        cut = np.int64(allowed[np.uint64(byte << 8 | last)]) | np.int64(at == first_at)
        out[np.uint64(at)] = byte
        starts[np.uint64(unit)] = at
        unit += cut & kept
        if dropped is not None and not kept:  # the former is decided when this is compiled
            dropped[np.uint64(drop)] = at
            drop += 1
        at += kept
        last = byte if kept else last
        was_space = is_space
        symbols += np.int64(byte == _SYMBOL[2])
    if symbols:  # whether one of these bytes ends U+2581
        symbols = 0
        for i in range(first_at + 2, at):
            symbols += np.int64(out[i] == _SYMBOL[2] and out[i - 1] == _SYMBOL[1] and out[i - 2] == _SYMBOL[0])
    return at, unit, drop, symbols > 0


@njit(nogil=True)
def _cut_documents(text, offsets, cutter, dropped, first_dropped):
    """Does what `cut_documents` does, and notes what `cut_with_dropped` does unless `dropped` is None."""
    allowed, careful, spaces = cutter
    out = np.empty(len(text) + 16, np.uint8)
    starts, first = np.empty(len(text) + 1, np.int32), np.empty(len(offsets), np.int64)
    unit = at = drop = np.int64(0)
    for document in range(len(offsets) - 1):
        first[document] = unit
        first_drop = drop
        if first_dropped is not None:
            first_dropped[document] = drop
        begin, end = offsets[document], offsets[document + 1]
        at, unit, drop, symbol = _cut(text, begin, end, allowed, spaces, out, at, starts, unit, dropped, drop)
        if symbol:  # the normaliser confuses it with the spaces that it writes
            unit = first[document]
            at = np.int64(starts[unit])
            at, unit, drop, symbol = _cut(text, begin, end, careful, spaces, out, at, starts, unit, dropped, first_drop)
    first[-1] = unit
    if first_dropped is not None:
        first_dropped[-1] = drop
    starts[unit] = at
    return out, starts[: unit + 1], first


@kernel((U8, I64, CUTTER))
def cut_documents(text, offsets, cutter):
    """Cuts documents into units; of each run of spaces one is left, as the normaliser will: lines of source code begin with many.

    Args:
      text: [bytes] uint8, documents end to end.
      offsets: [n + 1] int64, their bounds.
      cutter: a tuple: [65536] bool, `Cuts.allowed`, and `Cuts.careful` for documents that hold U+2581; [256] bool, bytes that are always
        and only a space.

    Returns:
      uint8 the text that is left, and more bytes behind it, sixteen at least; [units + 1] int32 where each unit begins in it, then where
      the last ends; and the [n + 1] int64 first unit of each document.
    """
    return _cut_documents(text, offsets, cutter, None, None)


@kernel((U8, I64, CUTTER))
def cut_with_dropped(text, offsets, cutter):
    """Does what `cut_documents` does, and says where spaces are not left.

    Returns:
      what `cut_documents` gives; int32, for each space that is not left, the byte of the text that is left behind it; and the [n + 1] int64
      first of these of each document.
    """
    dropped, first_dropped = np.empty(len(text) + 1, np.int32), np.empty(len(offsets), np.int64)
    out, starts, first = _cut_documents(text, offsets, cutter, dropped, first_dropped)
    return out, starts, first, dropped, first_dropped
