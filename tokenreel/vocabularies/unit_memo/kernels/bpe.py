"""Merges units by a BPE model."""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import types

from tokenreel.vocabularies.unit_memo.kernels.compiling import F32, I32, I64, U8, U64, kernel
from tokenreel.vocabularies.unit_memo.kernels.hashing import HALF, MIX, ONE
from tokenreel.vocabularies.unit_memo.kernels.trie import BASE, MASK, ROOT, child, find_piece

MOST_MERGED = 256  # characters of a unit that `merge` encodes: its time grows with their square, the library's does not

# What `merge` takes of a model: trie, pairs, pieces they become, scores, id of an unknown character, ids of bytes.
_MERGES = types.Tuple((I64, U64, I32, F32, types.int32, I32))


@kernel((U8, I64, I32, I64))
def build_pairs(text, bounds, ids, trie):
    """Finds what pieces side by side merge into.

    Args:
      text: [bytes] uint8, the pieces end to end.
      bounds: [pieces + 1] int64.
      ids: [pieces] int32.
      trie: [256 m] int64, what `build_trie` gives for the same pieces.

    Returns:
      [power of two] uint64 pairs, as a hash table of (left << 32 | right) + 1 with 0 at empty places, and [power of two] int32 the pieces
      that they become.
    """
    size = 16
    while size < 2 * len(text):  # a piece of n bytes is at most n - 1 pairs: the table is at most half full
        size *= 2
    mask = np.uint64(size - 1)
    pairs, merged = np.zeros(size, np.uint64), np.zeros(size, np.int32)
    for piece in range(len(ids)):
        for middle in range(bounds[piece] + 1, bounds[piece + 1]):
            left, right = find_piece(trie, text, bounds[piece], middle), find_piece(trie, text, middle, bounds[piece + 1])
            if left >= 0 and right >= 0:
                key = (np.uint64(left) << HALF | np.uint64(right)) + ONE
                at = (key * MIX) >> HALF & mask  # the upper half of a product is mixed best
                while pairs[at] != 0:
                    at = (at + ONE) & mask
                pairs[at], merged[at] = key, ids[piece]
    return pairs, merged


@kernel((U8, I64, _MERGES))
def merge(text, bounds, model):
    """Encodes short normalised texts by a BPE model as the library does: of all pairs that merge, the best, of equals the first.

    Args:
      text: [bytes] uint8, texts end to end.
      bounds: [n + 1] int64.
      model: a tuple: what `build_trie` and `build_pairs` give (three arrays); [pieces] float32 scores; int32 id of an unknown character;
        [256] int32 the pieces of bytes, or empty: then unknown characters side by side become one.

    Returns:
      ids (int32) end to end, [n + 1] int64 bounds, and [n] bool which texts are longer than `MOST_MERGED` characters, and have no ids.
    """
    trie, pairs, merged, scores, unknown, byte_ids = model
    mask = np.uint64(len(pairs) - 1)
    ids, id_bounds, long = np.empty(len(text), np.int32), np.zeros(len(bounds), np.int64), np.zeros(len(bounds) - 1, np.bool_)
    # Of one text: its symbols (a piece or -1) and their first bytes; of each symbol and the next, the piece that they merge into or -1, and
    # its score. A merge moves all behind it to the left: in short texts that is faster than a heap and linked lists.
    symbols, begins = np.empty(MOST_MERGED + 1, np.int64), np.empty(MOST_MERGED + 1, np.int64)
    becomes, ranks = np.empty(MOST_MERGED + 1, np.int64), np.empty(MOST_MERGED + 1, np.float32)
    at = np.int64(0)
    for k in range(len(bounds) - 1):
        i, end = bounds[k], bounds[k + 1]
        count = 0
        while i < end:
            if count == MOST_MERGED:
                long[k] = True
                break
            lead = text[i]
            stop = min(i + 1 + (lead >= 0xC0) + (lead >= 0xE0) + (lead >= 0xF0), end)
            begins[count] = i
            base, slot = np.int64(ROOT), np.int64(0)
            while i < stop:  # `find_piece`, without the call
                slot = child(trie, base, np.int64(text[i]))
                if slot == 0:
                    break
                base = slot >> BASE & MASK
                i += 1
            i = stop
            symbols[count] = (slot & MASK) - 1
            count += 1
        if long[k]:
            id_bounds[k + 1] = at
            continue
        begins[count] = end
        fresh, last_fresh = 0, count - 2  # pairs to look up: first all, then the two of the symbol that was made
        while True:
            for j in range(max(fresh, 0), min(last_fresh, count - 2) + 1):
                becomes[j] = -1
                if symbols[j] >= 0 and symbols[j + 1] >= 0:
                    key = (np.uint64(symbols[j]) << HALF | np.uint64(symbols[j + 1])) + ONE
                    place = (key * MIX) >> HALF & mask
                    while pairs[place] != 0:
                        if pairs[place] == key:
                            becomes[j] = merged[place]
                            ranks[j] = scores[merged[place]]
                            break
                        place = (place + ONE) & mask
            best = -1
            for j in range(count - 1):
                if becomes[j] >= 0 and (best < 0 or ranks[j] > ranks[best]):  # of equals the leftmost
                    best = j
            if best < 0:
                break
            symbols[best] = becomes[best]
            for j in range(best + 1, count - 1):
                symbols[j], begins[j] = symbols[j + 1], begins[j + 1]
                becomes[j], ranks[j] = becomes[j + 1], ranks[j + 1]
            count -= 1
            begins[count] = end
            fresh, last_fresh = best - 1, best
        first = at  # of this text's ids
        for j in range(count):
            if symbols[j] >= 0:
                ids[at] = symbols[j]
                at += 1
            elif len(byte_ids):
                for i in range(begins[j], begins[j + 1]):
                    ids[at] = byte_ids[text[i]]
                    at += 1
            elif at == first or ids[at - 1] != unknown:
                ids[at] = unknown
                at += 1
        id_bounds[k + 1] = at
    return ids[:at].copy(), id_bounds, long
