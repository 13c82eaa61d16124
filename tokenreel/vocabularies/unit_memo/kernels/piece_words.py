"""Says of how many characters of the text each token of a SentencePiece model is, in the number that holds its id.

The spans of a document's tokens follow each other without a gap: where one ends, the next begins. So all there is to know of a token is a
*step*, the number of characters from where it begins to where the next one does, and it goes with the id through the table of the units
that were seen: a *word* has the id in its low bits and the step above. The first word of a document is no token: its step is the characters
before the first one.

    "  ab c", encoded as "▁", "ab", "▁c"      words: (lead, 2), ("▁", 0), ("ab", 2), ("▁c", 2)      spans: [2, 2), [2, 4), [4, 6)

Steps count the characters that `documents.cut_documents` left: those of which it left one out of a run of spaces are added when words
become spans.

Tested in tests/tokenreel/vocabularies/unit_memo/test_memo.py.
"""

# mypy: ignore-errors
# (Numba finds the types of what it compiles.)

from __future__ import annotations

import numpy as np
from numba import njit

from tokenreel.vocabularies.unit_memo.kernels.documents import FIRST

ID_BITS = 23
MOST_PIECES = 1 << ID_BITS  # of a model; ids are below, and so is the number that stands in place of one before a document
IDS = MOST_PIECES - 1
MOST_STEP = (1 << 32 - ID_BITS) - 1  # says that only the library can tell, and so does `ASK`
ASK = -1  # in place of an id: only the library can tell
NO_ID = -2  # not even that


@njit(nogil=True, inline="always")
def bits_of(spans):
    """Gives the bits of a word, or of an id alone, that are the id."""
    return np.int64(IDS) if spans else np.int64(-1)


@njit(nogil=True, inline="always")
def joined_of(spans, unknown, byte_ids):
    """Gives the id of which one is left where several stand side by side in the ids of a document, or `NO_ID`.

    It is that of unknown characters, where they do not become bytes ([256] int32, or empty). In words they stay apart, for their steps.
    """
    return np.int64(unknown) if not spans and len(byte_ids) == 0 else np.int64(NO_ID)


@njit(nogil=True, inline="always")
def add_steps(out, begin, end, flag, lead, stops, origins):
    """Makes words of the ids of a unit, and writes the word before the document if the unit is the first one.

    Args:
      out: int32, written to: the ids.
      begin: the first of them; there is room before it if the unit is the first one of its document.
      end: behind the last.
      flag: of the unit.
      lead: what stands in place of an id in the word before a document.
      stops: int32, the byte of the normalised unit where each token ends.
      origins: int32, the character of the unit that each byte of the normalised one was made from, and where the last one ends.
    """
    before = np.int64(origins[0])
    if flag & FIRST:
        out[begin - 1] = lead | min(before, MOST_STEP) << ID_BITS
        before_unit = np.int64(0)
    else:
        before_unit = before  # the step to there would be lost; but no cut is made before what the normaliser leaves out
    for i in range(begin, end):
        place = np.int64(origins[stops[i - begin]])
        if out[i] >= 0:
            out[i] |= (MOST_STEP if before_unit else min(place - before, MOST_STEP)) << ID_BITS
        before = place
