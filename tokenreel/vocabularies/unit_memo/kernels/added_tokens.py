"""Finds added tokens in texts, puts spaces before texts, and tells which ones a normal form leaves as they are.

Tested in tests/tokenreel/vocabularies/test_fast_path.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit

from tokenreel.vocabularies.unit_memo.kernels.compiling import BOOL, I32, I64, U8, kernel
from tokenreel.vocabularies.unit_memo.kernels.cutting import character_at
from tokenreel.vocabularies.unit_memo.kernels.hashing import ONE
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, child
from tokenreel.vocabularies.unit_memo.kernels.words import WIDTH, equal_to, lowest_bit, pointer

TEXT, LIBRARY = -1, -2  # what becomes of a token's name in a text beside its id: it stays text, or the library takes the whole document


@njit(nogil=True)
def _next_candidate(text, i, end, begins, probes, size):
    """Finds where a name may begin, from a byte on: there, or before it, no name begins. Takes pointers; `size` is of `probes`."""
    if size:
        while i + WIDTH < end:  # the second bytes are read, too
            found = np.uint32(0)
            for k in range(0, size, 2):
                first = equal_to(text, np.uint64(i), probes[k])
                found |= first & equal_to(text, np.uint64(i) + ONE, probes[k + 1]) if probes[k + 1] else first
            if found:
                return i + np.int64(lowest_bit(found))
            i += WIDTH
    while i < end and not begins[text[i]]:
        i += 1
    return i


@kernel((U8, I64, I32, I64, U8, U8, I32))
def cut_at_tokens(text, bounds, tokens, trie, begins, probes, actions):
    """Cuts parts of texts at the names of tokens: of names that begin at the same place the longest counts, and none lies within another.

    Args:
      text: [bytes] uint8.
      bounds: [n + 1] int64 the bounds of parts.
      tokens: [n] int32 the id that a part is, which then stays whole, or -1; may be empty where all are -1.
      trie: [256 m] int64, of the names, as `build_trie` gives it.
      begins: [256] uint8 1 at the first bytes of names.
      probes: [2 k] uint8 each name begins with one of these pairs of bytes, or with the first of one whose second is 0; none are given
        where they would be too many to compare each with all of the text.
      actions: [names] int32 the id of each, or `TEXT`, or `LIBRARY`.

    Returns:
      [m + 1] int64 bounds, [m] int32 ids or -1, [n + 1] int64 the first of these parts of each one given, and [n] bool which hold a name
      that is left to the library.
    """
    room = len(bounds) + 64
    out, ids = np.empty(room + 1, np.int64), np.empty(room, np.int32)
    first, left_over = np.empty(len(bounds), np.int64), np.zeros(len(bounds) - 1, np.bool_)
    count = 0
    out[0] = bounds[0]
    for part in range(len(bounds) - 1):
        first[part] = count
        start, i, end = bounds[part], bounds[part], bounds[part + 1]
        whole = np.int32(-1)
        if len(tokens) and tokens[part] >= 0:
            whole, i = tokens[part], end
        while True:
            i = _next_candidate(pointer(text), i, end, pointer(begins), pointer(probes), len(probes))
            if i >= end:
                break
            base, at, name, stop = np.int64(ROOT), i, np.int64(-1), i
            while at < end:  # the longest name
                slot = child(trie, base, np.int64(text[at]))
                if slot == 0:
                    break
                at += 1
                if slot & MASK:
                    name, stop = (slot & MASK) - 1, at
                base = slot >> BASE & MASK
            if name < 0:
                i += 1
                continue
            action = actions[name]
            if action == LIBRARY:
                left_over[part] = True
            if action >= 0:
                if count + 4 > room:
                    room *= 2
                    more_out, more_ids = np.empty(room + 1, np.int64), np.empty(room, np.int32)
                    more_out[: count + 1], more_ids[:count] = out[: count + 1], ids[:count]
                    out, ids = more_out, more_ids
                if i > start:
                    ids[count] = -1
                    count += 1
                    out[count] = i
                ids[count] = action
                count += 1
                out[count] = start = stop
            i = stop
        if start < end or first[part] == count:
            if count + 4 > room:
                room *= 2
                more_out, more_ids = np.empty(room + 1, np.int64), np.empty(room, np.int32)
                more_out[: count + 1], more_ids[:count] = out[: count + 1], ids[:count]
                out, ids = more_out, more_ids
            ids[count] = whole
            count += 1
            out[count] = end
    first[-1] = count
    return out[: count + 1].copy(), ids[:count].copy(), first, left_over


@kernel((U8, I64, BOOL))
def put_spaces(text, bounds, which):
    """Puts a space before some parts of texts.

    Args:
      text: [bytes] uint8.
      bounds: [n + 1] int64 the bounds of parts.
      which: [n] bool.

    Returns:
      [more bytes] uint8 the parts end to end, and their [n + 1] int64 bounds.
    """
    new_bounds = np.zeros(len(bounds), np.int64)
    for part in range(len(which)):
        new_bounds[part + 1] = new_bounds[part] + bounds[part + 1] - bounds[part] + which[part]
    out = np.empty(new_bounds[-1], np.uint8)
    for part in range(len(which)):
        at = new_bounds[part]
        if which[part]:
            out[at] = 0x20
            at += 1
        out[at : new_bounds[part + 1]] = text[bounds[part] : bounds[part + 1]]
    return out, new_bounds


@kernel((U8, I64, U8))
def not_normal(text, bounds, kinds):
    """Finds texts that a normal form may change.

    It changes no text whose characters it does not change by themselves, none of which joins one before it, and in which no two marks that
    have an order follow each other (Unicode Standard Annex 15, "Detecting Normalization Forms").

    Args:
      text: [bytes] uint8, valid UTF-8, texts end to end.
      bounds: [n + 1] int64.
      kinds: [code points] uint8 `code_points.INERT`, `MARK` or `ACTIVE`; ASCII is inert.

    Returns:
      [n] bool.
    """
    found = np.zeros(len(bounds) - 1, np.bool_)
    data = pointer(text)
    for part in range(len(found)):
        i, end, last = bounds[part], bounds[part + 1], 0
        while i < end:
            if data[i] < 0x80:
                last = 0
                i += 1
                continue
            character, size = character_at(data, i)
            i += size
            kind = kinds[character]
            if kind + last >= 2:  # active, or a mark behind a mark
                found[part] = True
                break
            last = kind
    return found
