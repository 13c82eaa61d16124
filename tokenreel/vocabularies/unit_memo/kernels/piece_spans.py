"""Reads from the words of `piece_words` where tokens lie.

Tested in tests/tokenreel/vocabularies/unit_memo/test_memo.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, U8, kernel
from tokenreel.vocabularies.unit_memo.kernels.piece_words import ID_BITS, IDS, MOST_STEP, NO_ID
from tokenreel.vocabularies.unit_memo.kernels.slots import W_I32, W_I64

_NEVER = 1 << 62


@njit(nogil=True, inline="always")
def _count(text, begin, end):
    """Counts the characters that begin in a range of bytes."""
    count = np.int64(0)
    for i in range(begin, end):
        count += np.int64(text[np.uint64(i)] & 0xC0 != 0x80)
    return count


@njit(nogil=True)
def _pass_dropped(text, dropped, drop, stop, limit, place):
    """Counts the spaces that were left out before a character; gives the next of them, the character before which it was, and the place."""
    while limit <= place:
        place += 1
        counted = np.int64(dropped[drop])
        drop += 1
        limit = limit + 1 + _count(text, counted, np.int64(dropped[drop])) if drop < stop else np.int64(_NEVER)
    return drop, limit, place


@kernel((I32, I64, types.int64, U8, I32, I64, I32, I64, W_I32, W_I32, W_I32, W_I64, types.boolean[::1]), counts_arrays=False)
def find_spans(words, counts, unknown, text, starts, first, dropped, first_dropped, ids, begins, ends, lengths, right):
    """Reads the words of documents.

    Args:
      words: [words] int32, documents end to end.
      counts: [n] int64 words of each document.
      unknown: the id of unknown characters, of which those side by side become one, or `NO_ID`.
      text: [bytes] uint8, of `documents.cut_with_dropped` like all that follow.
      starts: [units + 1] int32.
      first: [n + 1] int64.
      dropped: int32, the bytes of `text` before which a space was left out.
      first_dropped: [n + 1] int64, the first of these of each document.
      ids: [words or more] int32, written to: ids, documents end to end.
      begins: as many, written to: where each token begins, in characters of its document.
      ends: as many, written to: where it ends.
      lengths: [n] int64, written to: tokens of each document; 0 at first.
      right: [n] bool, written to: for which documents they are right, and not for the library; True at first.
    """
    word, at, joins = np.int64(0), np.int64(0), unknown != NO_ID
    for document in range(len(counts)):
        if counts[document] == 0:
            continue
        start, stop_word = at, word + counts[document]
        drop, stop_drop = first_dropped[document], first_dropped[document + 1]
        limit = _count(text, np.int64(starts[first[document]]), np.int64(dropped[drop])) if drop < stop_drop else np.int64(_NEVER)
        longest = place = np.int64(words[word]) >> ID_BITS & MOST_STEP  # the first word is no token
        if limit <= place:
            drop, limit, place = _pass_dropped(text, dropped, drop, stop_drop, limit, place)
        begins[at], before = place, np.int64(NO_ID)
        for i in range(word + 1, stop_word):
            packed = np.int64(words[np.uint64(i)])
            token, step = packed & IDS, packed >> ID_BITS & MOST_STEP
            longest = max(longest, step)
            place += step
            if limit <= place:
                drop, limit, place = _pass_dropped(text, dropped, drop, stop_drop, limit, place)
            if joins:
                at -= np.int64(token == unknown) & np.int64(before == unknown)
            ids[np.uint64(at)], ends[np.uint64(at)], begins[np.uint64(at + 1)] = token, place, place
            before = token
            at += 1
        lengths[document], right[document] = at - start, longest < MOST_STEP
        word = stop_word
