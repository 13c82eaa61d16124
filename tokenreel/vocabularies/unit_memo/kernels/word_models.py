"""Encodes words by models that see one word at a time: pieces from the left, the longest first, or those of the best sum of scores.

Tested in tests/tokenreel/vocabularies/test_word_path.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, U8, kernel
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, child

_F64 = types.Array(types.float64, 1, "C", readonly=True)


@kernel((U8, I64, I64, I64, types.int32, types.int64))
def word_pieces(text, bounds, beginning, within, unknown, most_characters):
    """Encodes words from the left, each time by the longest piece; a word that has no pieces is unknown as a whole.

    Args:
      text: [bytes] uint8, words end to end, valid UTF-8.
      bounds: [n + 1] int64.
      beginning: [256 m] int64, what `build_trie` gives for pieces that begin a word.
      within: [256 m] int64, likewise for those that go on within a word, less what marks them.
      unknown: int32, the id of an unknown word.
      most_characters: longer words are unknown.

    Returns:
      [tokens] int32 ids, [tokens] int64 the bytes at which they begin and end, and [n + 1] int64 the first token of each word.
    """
    ids, starts, stops = np.empty(len(text), np.int32), np.empty(len(text), np.int64), np.empty(len(text), np.int64)
    first = np.empty(len(bounds), np.int64)
    at = np.int64(0)
    for k in range(len(bounds) - 1):
        first[k] = at
        i, end = bounds[k], bounds[k + 1]
        characters = np.int64(0)
        for j in range(i, end):
            characters += text[j] & 0xC0 != 0x80
        known = characters <= most_characters
        while known and i < end:
            base, j, piece, stop = np.int64(ROOT), i, np.int64(0), i
            while j < end:
                slot = child(beginning, base, np.int64(text[j])) if i == bounds[k] else child(within, base, np.int64(text[j]))
                if slot == 0:
                    break
                j += 1
                if slot & MASK:
                    piece, stop = slot & MASK, j
                base = slot >> BASE & MASK
            known = piece > 0
            ids[at], starts[at], stops[at] = piece - 1, i, stop
            at += known
            i = stop
        if not known:
            at = first[k]
            ids[at], starts[at], stops[at] = unknown, bounds[k], end
            at += 1
    first[-1] = at
    return ids[:at].copy(), starts[:at].copy(), stops[:at].copy(), first


@kernel((U8, I64, I64, _F64, types.int32, types.float64, I32))
def best_pieces(text, bounds, trie, scores, unknown, unknown_score, byte_ids):
    """Encodes words by the pieces of the best sum of scores, added up from the left in float64; of equals the one found first stays.

    Args:
      text: [bytes] uint8, words end to end, valid UTF-8.
      bounds: [n + 1] int64.
      trie: [256 m] int64, what `build_trie` gives for the pieces.
      scores: [pieces] float64.
      unknown: int32, the id of unknown characters; those side by side become one.
      unknown_score: float64, of an unknown character.
      byte_ids: [256] int32 the pieces of bytes, or -1; they take the place of what is unknown, if all of its bytes have one.

    Returns:
      [tokens] int32 ids, [tokens] int64 the bytes at which they begin and end (for pieces of bytes, those of all that was unknown), and
      [n + 1] int64 the first token of each word.
    """
    ids, starts, stops = np.empty(len(text), np.int32), np.empty(len(text), np.int64), np.empty(len(text), np.int64)
    first = np.empty(len(bounds), np.int64)
    longest = np.int64(0)
    for k in range(len(bounds) - 1):
        longest = max(longest, bounds[k + 1] - bounds[k])
    best, back, by = np.empty(longest + 1, np.float64), np.empty(longest + 1, np.int64), np.empty(longest + 1, np.int32)
    at = np.int64(0)
    for k in range(len(bounds) - 1):
        first[k] = at
        begin, size = bounds[k], bounds[k + 1] - bounds[k]
        best[0] = 0.0
        for j in range(size + 1):
            back[j] = -1
        here = np.int64(0)
        while here < size:
            lead = text[begin + here]
            step = min(1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0), size - here)
            single = False
            base, j = np.int64(ROOT), here
            while j < size:
                slot = child(trie, base, np.int64(text[begin + j]))
                if slot == 0:
                    break
                j += 1
                if slot & MASK:
                    piece = np.int32((slot & MASK) - 1)
                    candidate = scores[piece] + best[here]
                    if back[j] < 0 or candidate > best[j]:
                        best[j], back[j], by[j] = candidate, here, piece
                    single |= j - here == step
                base = slot >> BASE & MASK
            if not single:
                j = here + step
                candidate = unknown_score + best[here]
                if back[j] < 0 or candidate > best[j]:
                    best[j], back[j], by[j] = candidate, here, unknown
            here += step
        # From the end to the front, into the last places that this word may take; then moved to where they belong.
        place, j = at + size, size
        while j > 0:
            i = back[j]
            if by[j] != unknown:
                place -= 1
                ids[place], starts[place], stops[place] = by[j], begin + i, begin + j
                j = i
                continue
            while i > 0 and by[i] == unknown:
                i = back[i]
            base, slot = np.int64(ROOT), np.int64(0)
            spelled = True
            for n in range(begin + i, begin + j):
                spelled &= byte_ids[text[n]] >= 0
            for n in range(begin + i, begin + j):
                slot = child(trie, base, np.int64(text[n]))
                if slot == 0:
                    break
                base = slot >> BASE & MASK
            if slot & MASK or not spelled:
                place -= 1
                ids[place] = np.int32((slot & MASK) - 1) if slot & MASK else unknown
                starts[place], stops[place] = begin + i, begin + j
            else:
                for n in range(begin + j - 1, begin + i - 1, -1):
                    place -= 1
                    ids[place], starts[place], stops[place] = byte_ids[text[n]], begin + i, begin + j
            j = i
        for n in range(place, at + size):
            ids[at], starts[at], stops[at] = ids[n], starts[n], stops[n]
            at += 1
    first[-1] = at
    return ids[:at].copy(), starts[:at].copy(), stops[:at].copy(), first
