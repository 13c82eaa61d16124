"""Encodes words by models that see one word at a time: pieces from the left, the longest first, or those of the best sum of scores.

Tested in tests/tokenreel/vocabularies/test_word_path.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I64, U8, kernel
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, child


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
      [tokens] int32 ids, [tokens] int64 the bytes at which they end, and [n + 1] int64 the first token of each word.
    """
    ids, stops, first = np.empty(len(text), np.int32), np.empty(len(text), np.int64), np.empty(len(bounds), np.int64)
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
            ids[at], stops[at] = piece - 1, stop
            at += known
            i = stop
        if not known:
            at = first[k]
            ids[at], stops[at] = unknown, end
            at += 1
    first[-1] = at
    return ids[:at].copy(), stops[:at].copy(), first
