"""Where tokens lie in the text of their document, counted in characters (code points), and which tokens a character became.

A token's *span* is the range [begin, end) of characters of the original text that it stands for. Spans are empty where a token stands for
nothing of the text (a dummy prefix), or for a part of a character whose last token has it (the bytes of a fallback, the middle of an
expanded ligature); begins and ends never decrease within a document. Tokens of no text at all (bos, eos, separators, padding) have -1 for
both.

Inside the build a span is one number, begin in its low half and end in its high half, so that spans go wherever tokens go; -1 is the span
of a token without text.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
NO_SPAN = -1


def pack(begins: npt.NDArray[np.integer], ends: npt.NDArray[np.integer]) -> Int64s:
    """Makes one int64 of each begin and end: int [...] both, below 2**31.

    >>> unpack(pack(np.array([3, -1]), np.array([5, -1])))[1].tolist()
    [5, -1]
    """
    return (ends.astype(np.int64) << 32) | (begins.astype(np.int64) & 0xFFFFFFFF)


def unpack(spans: npt.NDArray[np.integer]) -> tuple[Int32s, Int32s]:
    """Gives the begins and ends of int64 [...] packed spans back: int32 [...] both."""
    wide = spans.astype(np.int64, copy=False)
    return wide.astype(np.int32), (wide >> 32).astype(np.int32)  # to int32 takes the low half


def shift(spans: Int64s, characters: npt.NDArray[np.integer]) -> Int64s:
    """Moves int64 [n] packed spans, none of them -1, behind int [n] characters each."""
    begins, ends = unpack(spans)
    return pack(begins + characters, ends + characters)


def count_characters(text: npt.NDArray[np.uint8]) -> Int64s:
    """Counts the characters that begin before each byte.

    Args:
      text: [bytes] valid UTF-8.

    Returns:
      int64 [bytes + 1].

    >>> count_characters(np.frombuffer("aé".encode(), dtype=np.uint8)).tolist()
    [0, 1, 2, 2]
    """
    counts = np.zeros(len(text) + 1, dtype=np.int64)
    np.cumsum((text & 0xC0) != 0x80, out=counts[1:])
    return counts


def tokens_of_characters(begins: npt.ArrayLike, ends: npt.ArrayLike, characters: npt.ArrayLike) -> Int64s:
    """Finds the tokens that characters became.

    A character that became several tokens (bytes of a fallback, an expanded ligature) gives them all, those with empty spans in front of
    the last included; a dummy prefix counts as part of the first character.

    Args:
      begins: int [n] of consecutive tokens of one document: the whole of it, or one segment of an example. Tokens without text (-1) may
        stand before and behind, not between.
      ends: int [n], likewise.
      characters: int [...] places in the document.

    Returns:
      int64 [..., 2] the first and the last token, indices into `begins`; -1 for characters that no token stands for (white space that the
      normaliser removed, text of another segment).

    >>> begins, ends = [0, 1, 1, 3, -1], [1, 1, 2, 5, -1]
    >>> tokens_of_characters(begins, ends, [0, 1, 2, 3, 4]).tolist()
    [[0, 0], [1, 2], [-1, -1], [3, 3], [3, 3]]
    """
    begins, ends = np.asarray(begins, dtype=np.int64), np.asarray(ends, dtype=np.int64)
    wanted = np.asarray(characters, dtype=np.int64)
    out = np.full((*wanted.shape, 2), -1, dtype=np.int64)
    real = np.flatnonzero(begins >= 0)
    if not len(real):
        return out
    low, high = int(real[0]), int(real[-1]) + 1
    begins, ends = begins[low:high], ends[low:high]
    last = np.searchsorted(begins, wanted, side="right") - 1
    first = np.searchsorted(ends, wanted, side="right")  # the first that ends behind the character: it holds it, or begins behind it
    held = np.minimum(first, len(begins) - 1)
    found = (first < len(begins)) & (begins[held] <= wanted)
    out[found, 0] = low + np.searchsorted(begins, begins[held[found]], side="left")
    out[found, 1] = low + last[found]
    return out


def characters_to_tokens(begins: npt.ArrayLike, ends: npt.ArrayLike, num_characters: int) -> Int64s:
    """Says for each character of a document which token stands for it; -1 for none. Of several, the last, whose span holds it.

    Arguments as in `tokens_of_characters`; returns int64 [num_characters].

    >>> characters_to_tokens([0, 1, 1, 3], [1, 1, 2, 5], 5).tolist()
    [0, 2, -1, 3, 3]
    """
    return tokens_of_characters(begins, ends, np.arange(num_characters))[:, 1]


def characters_per_document(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Counts the characters in each document: its bytes, less those that continue a character.

    Args:
      text: uint8 [bytes] valid UTF-8, documents end to end.
      offsets: int64 [n + 1] their bounds.

    Returns:
      int64 [n].
    """
    continuation = np.flatnonzero((text & 0xC0) == 0x80)  # ASCII has none, so this is short
    bounds = np.searchsorted(continuation, offsets)
    return np.diff(offsets) - np.diff(bounds)
