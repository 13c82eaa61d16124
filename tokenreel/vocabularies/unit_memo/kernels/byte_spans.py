"""Finds which characters the tokens of byte-level vocabularies stand for.

Tested in tests/tokenreel/vocabularies/test_fast_path.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import types

from tokenreel.vocabularies.unit_memo.kernels.compiling import I32, I64, kernel

BYTES, CHARACTERS, LEADING, TRAILING, WITHIN = 0, 15, 30, 44, 58  # where the parts of a measure begin
_BITS_15, _BITS_14 = (1 << 15) - 1, (1 << 14) - 1


@kernel((I64, I32, I64, I64, types.boolean))
def find_spans(offsets, ids, lengths, measures, keeps_first):
    """Finds the spans of tokens that stand for all bytes of their documents, one behind the other.

    Args:
      offsets: [n + 1] int64 the bounds of documents, in bytes.
      ids: [tokens] int32, documents end to end.
      lengths: [n] int64 tokens of each document.
      measures: [ids] int64, -1 of tokens that do not tell, else of each token, from the lowest bit: its bytes and the characters that begin
        in it (15 bits each), the spaces at its front and at its end that its span leaves out (14 bits each), and whether it begins within
        a character.
      keeps_first: whether a token that begins a document keeps a single space at its front.

    Returns:
      [tokens] int32 begin and end of each in characters of its document: all of a character of which it has a part; and [n] bool whether
      the tokens of a document stand for all of its bytes. If they do not, their spans mean nothing.
    """
    begins, ends, explained = np.empty(len(ids), np.int32), np.empty(len(ids), np.int32), np.zeros(len(lengths), np.bool_)
    first = np.int64(0)
    for document in range(len(lengths)):
        size = characters = all_measures = np.int64(0)
        for token in range(first, first + lengths[document]):
            measure = measures[np.uint64(ids[np.uint64(token)])]
            all_measures |= measure
            begin = characters - (measure >> WITHIN & 1)
            characters += measure >> CHARACTERS & _BITS_15
            stop = characters
            size += measure & _BITS_15
            if measure >> LEADING & ((1 << (WITHIN - LEADING)) - 1):
                spaces = measure >> LEADING & _BITS_14
                if spaces == 1 and keeps_first and (token == first or begin == 0):
                    spaces = 0
                if spaces:
                    begin = min(begin + spaces, stop)
                spaces = measure >> TRAILING & _BITS_14
                if spaces and stop >= spaces:
                    stop = max(stop - spaces, begin)
            begins[np.uint64(token)], ends[np.uint64(token)] = begin, stop
        explained[document] = all_measures >= 0 and size == offsets[document + 1] - offsets[document]
        first += lengths[document]
    return begins, ends, explained
