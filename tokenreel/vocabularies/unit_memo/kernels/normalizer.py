"""Normalises text by the compiled rules of a SentencePiece model."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, U8, U32, kernel
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, child
from tokenreel.vocabularies.unit_memo.kernels.units import FIRST, LAST

_SPACE, _SYMBOL = 0x20, (0xE2, 0x96, 0x81)  # a space in the text, and what it is written as: U+2581


@kernel((U8, I32, I32, U8, U32, U8, types.int64, I64, types.boolean, types.boolean))
def normalize(text, bounds, units, flags, charsmap, replacements, longest, symbols, prefix, collapse):
    """Writes units as the library's normaliser does in the midst, at the beginning or at the end of a text.

    Args:
      text: [bytes] uint8; this, the bounds and the flags are from `units.cut_documents`.
      bounds: [units + 1] int32.
      units: [k] int32, which ones.
      flags: [units] uint8.
      charsmap: uint32, the Darts double array of the normaliser's rules; empty if it has none.
      replacements: uint8, what they put in place, each ended by NUL.
      longest: bytes of the longest of these.
      symbols: [256 m] int64, what `build_trie` gives for user-defined symbols, which stay as they are.
      prefix: whether a text begins with a space.
      collapse: whether spaces side by side are one, and none at its beginning and end.

    Returns:
      uint8 texts end to end, every space written as U+2581, and [k + 1] int64 bounds.
    """
    # Room for one step is checked before the step, not at each byte: it writes a replacement, in which each byte may be a space and become
    # three, or a symbol, of which none is longer than their trie.
    room = 3 * longest + len(symbols) + 1024
    any_symbols = False
    for slot in symbols:  # `any` would have each process load what Numba compiles it with, SciPy too
        if slot != 0:
            any_symbols = True
            break
    total = np.int64(0)
    for unit in units:
        total += bounds[unit + 1] - bounds[unit]
    out, out_bounds = np.empty(2 * total + room, np.uint8), np.zeros(len(units) + 1, np.int64)
    k = 0
    while k < len(units):
        i, end, flag = np.int64(bounds[units[k]]), np.int64(bounds[units[k] + 1]), flags[units[k]]
        begin = at = out_bounds[k]
        after_space = collapse and flag & FIRST != 0  # whether a space that follows is dropped
        if flag & FIRST and prefix:
            out[at], out[at + 1], out[at + 2] = _SYMBOL
            at += 3
        while i < end:
            if at + room > len(out):
                break
            size = np.int64(0)  # bytes that are replaced, or that stay as a symbol
            value = np.int64(-1)  # where the replacement begins
            base, j = np.int64(ROOT), i
            while any_symbols and j < end:
                slot = child(symbols, base, np.int64(text[j]))
                if slot == 0:
                    break
                j += 1
                if slot & MASK:
                    size = j - i
                base = slot >> BASE & MASK
            # The longest rule. A unit of Darts has its label in the low 8 bits and the top one, which is set where it holds a value. Bit 8
            # says that a value hangs on it, bit 9 that the offset of its children is shifted by 8; bits 10 to 30 are the offset.
            if size == 0 and len(charsmap):
                unit = np.int64(charsmap[0])
                node, j = (unit >> 10) << ((unit & 512) >> 6), i
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
            if value >= 0:
                i += size
                while replacements[value] != 0:
                    if replacements[value] != _SPACE:
                        out[at] = replacements[value]
                        at += 1
                        after_space = False
                    elif not after_space:
                        out[at], out[at + 1], out[at + 2] = _SYMBOL
                        at += 3
                        after_space = collapse
                    value += 1
            elif size == 0 and text[i] == _SPACE:
                i += 1
                if not after_space:
                    out[at], out[at + 1], out[at + 2] = _SYMBOL
                    at += 3
                    after_space = collapse
            else:  # as it is: a symbol, or one character, whose first byte tells how long it is
                lead = text[i]
                size = min(max(size, 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0)), end - i)
                for j in range(i, i + size):
                    out[at] = text[j]
                    at += 1
                i += size
                after_space = False
        if i < end:  # the whole unit once more, with more room
            grown = np.empty(2 * (at + room), np.uint8)
            grown[:begin] = out[:begin]
            out = grown
            continue
        while (  # spaces at the end of a document, and with nothing else its prefix too
            collapse
            and flag & LAST
            and at > begin
            and out[at - 3] == _SYMBOL[0]
            and out[at - 2] == _SYMBOL[1]
            and out[at - 1] == _SYMBOL[2]
        ):
            at -= 3
        k += 1
        out_bounds[k] = at
    return out[: out_bounds[-1]].copy(), out_bounds
