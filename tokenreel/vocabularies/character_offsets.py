"""Finds which characters of a text each character of its normalised form was made from.

Unicode's normal forms work on clusters: a character that begins one, and marks and others that join it. A text is cut between clusters,
each is normalised by itself, and every character of the result has the span of its cluster.

Tested in tests/tokenreel/format/test_token_spans.py.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections.abc import Callable, Iterator

import numpy as np

from tokenreel.ragged import Ints

_VOWELS_AND_FINALS = range(0x1161, 0x1200)  # Hangul jamo that join a syllable before them


def locate(text: str, normalize: Callable[[str], str]) -> tuple[Ints, Ints]:
    """Finds the span of each character of `normalize(text)`.

    Args:
      text: of one document.
      normalize: a normal form, case folding, or both.

    Returns:
      int64 [characters of the normalised text] begin and end of each, in characters of the text.
    """
    whole = normalize(text)
    for cut in (_clusters, _stretches):
        bounds = [*cut(text), len(text)]
        parts = [normalize(text[a:b]) for a, b in itertools.pairwise(bounds)]
        # A letter's case may depend on those beside it (the final sigma), never its length.
        if sum(map(len, parts)) == len(whole):
            sizes = np.fromiter(map(len, parts), dtype=np.int64, count=len(parts))
            return np.repeat(np.array(bounds[:-1], dtype=np.int64), sizes), np.repeat(np.array(bounds[1:], dtype=np.int64), sizes)
    return np.zeros(len(whole), dtype=np.int64), np.full(len(whole), len(text), dtype=np.int64)


def _clusters(text: str) -> Iterator[int]:
    """Yields where clusters begin."""
    return (i for i, character in enumerate(text) if not i or begins_cluster(character))


def _stretches(text: str) -> Iterator[int]:
    """Yields fewer cuts, which are right in any version of Unicode: nothing joins an ASCII character to what stands before it."""
    return (i for i, character in enumerate(text) if not i or character < "\x80")


@functools.lru_cache(maxsize=1 << 14)
def begins_cluster(character: str) -> bool:
    """Tells whether no normal form joins a character, or what it becomes, to what stands before it."""
    if character < "\x80":
        return True
    forms = {character, unicodedata.normalize("NFKD", character), unicodedata.normalize("NFKD", character.casefold())}
    first = {form[0] for form in forms if form}
    return all(forms) and not any(unicodedata.combining(c) or c in _joining() for c in first)


@functools.cache
def _joining() -> frozenset[str]:
    """Collects the characters that are no marks and yet are the second half of a character that composition makes."""
    halves = (unicodedata.decomposition(chr(point)).split() for point in range(0x110000))
    found = {chr(int(half[1], 16)) for half in halves if len(half) == 2 and not half[0].startswith("<")}
    return frozenset(c for c in found if not unicodedata.combining(c)) | frozenset(map(chr, _VOWELS_AND_FINALS))
