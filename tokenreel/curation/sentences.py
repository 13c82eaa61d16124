"""Finds where sentences end: in text, by lines or by a few rules, and in tokens.

The rules are for running text in languages that end sentences with `.`, `!`, `?` or their full-width forms. They need no model, give the
same answer everywhere, and err on the side of not splitting: a stop too many on the list of abbreviations makes a sentence longer, which
costs a packer nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.ragged import Ints

RULES = ("newline", "rules")

_WORDS_WITH_STOP = """
mr mrs ms dr prof sr jr st mt rev hon gen col sgt capt lt gov sen rep pres vs etc e.g i.e cf al approx ca no nos vol vols fig figs eq eqs
sec ch pp ed eds trans univ dept inc ltd co corp bros jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun u.s u.k
u.n a.m p.m ph.d b.a m.a d.c
"""

_ABBREVIATIONS = frozenset(_WORDS_WITH_STOP.split())

_END = re.compile(
    r"""
    (?P<stop>[.!?…]+)                 # what may end a sentence
    (?P<close>["'”’»)\]]*)            # quotes and brackets that close behind it
    (?P<space>\s+)
    (?=["'“‘«(\[¿¡]*[^\W\d_a-zß-öø-ÿ]|["'“‘«(\[¿¡]*\d)   # then a letter that is not small, or a digit
    | [。！？｡]+["'”’»）」』\]]*\s*        # full-width stops need no space
    | \s*\n\s*\n\s*                   # an empty line always ends one
    """,
    re.VERBOSE,
)

_WORD = re.compile(r"[\w.]+$")


def split(text: str, rule: str = "rules") -> list[str]:
    """Cuts text into sentences, each with the white space behind it: joined, they are the text.

    Args:
      text: the text of one document.
      rule: "newline", one sentence per line, or "rules".

    Raises:
      ConfigError: there is no such rule.

    >>> split('Dr. Low paid $3.50. "Too much!" he said. Why? 3 men laughed.')
    ['Dr. Low paid $3.50. ', '"Too much!" he said. ', 'Why? ', '3 men laughed.']
    """
    if rule == "newline":
        return text.splitlines(keepends=True)
    if rule != "rules":
        raise ConfigError(f"packing.sentences must be one of {', '.join(RULES)}, got {rule!r}")
    found, begin = [], 0
    for match in _END.finditer(text):
        if match["stop"] == "." and not match["close"] and _is_abbreviation(text, match.start()):
            continue
        if match.end() > begin:
            found.append(text[begin : match.end()])
            begin = match.end()
    if begin < len(text):
        found.append(text[begin:])
    return found


def _is_abbreviation(text: str, stop: int) -> bool:
    """Tells whether the stop at a place of the text ends an abbreviation or an initial. Looks at 16 characters before it at most."""
    word = _WORD.search(text, max(0, stop - 16), stop)
    if word is None:
        return False
    low = word[0].lower()
    return low in _ABBREVIATIONS or (len(low) == 1 and word[0].isupper() and low != "i")


def end_ids(pieces: Sequence[str], rule: str = "rules") -> Ints:
    """Finds the pieces of a vocabulary that can end a sentence, for `lengths_in_tokens`.

    Args:
      pieces: the piece of each id, as the vocabulary writes them (U+010A and <0x0A> are a newline, too).
      rule: "newline", pieces that hold one; "rules", pieces that end with a stop, closing quotes and brackets aside.

    Returns:
      int64 ids, ascending.

    Raises:
      ConfigError: there is no such rule, or no such piece.

    >>> end_ids(["\u2581the", ".", '."', "\u2581U.S", "?!"]).tolist()
    [1, 2, 4]
    """
    if rule not in RULES:
        raise ConfigError(f"packing.sentences must be one of {', '.join(RULES)}, got {rule!r}")
    if rule == "newline":
        found = [i for i, piece in enumerate(pieces) if "\n" in piece or "\u010a" in piece or piece == "<0x0A>"]
    else:
        found = [i for i, piece in enumerate(pieces) if piece.rstrip("\"'”’»)]」』").endswith(tuple(".!?…。！？｡"))]
    if not found:
        raise ConfigError(
            f"packing.sentences: {rule} finds no piece of the vocabulary that ends a sentence: use another rule, or mode wrap"
        )
    return np.array(found, np.int64)


def lengths_in_tokens(
    tokens: npt.NDArray[np.integer], offsets: npt.ArrayLike, end_ids: npt.ArrayLike, word_starts: npt.NDArray[np.bool_] | None = None
) -> tuple[Ints, Ints]:
    """Finds sentences in tokens: each ends with one of some ids (a newline's, a stop's), or with its document.

    Args:
      tokens: [num_tokens] token ids, documents end to end.
      offsets: [n + 1] int64 bounds of the documents in `tokens`.
      end_ids: [k] integers, the ids that end a sentence and belong to it.
      word_starts: bool [vocab_size]; if given, a sentence ends only where the next token begins a word, so not inside 3.14.

    Returns:
      int64 [num_sentences] lengths, and int64 [n] sentences of each document, as `full_sentences` and `segment_pairs.plan` take them.

    >>> lengths, counts = lengths_in_tokens(np.array([5, 6, 1, 7, 1, 8, 9]), [0, 5, 7], [1])
    >>> lengths.tolist(), counts.tolist()
    ([3, 2, 2], [2, 1])
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    ends = np.isin(tokens, np.asarray(end_ids))
    if word_starts is not None and len(tokens):
        ends[:-1] &= word_starts[tokens[1:]]
    ends[offsets[1:][np.diff(offsets) > 0] - 1] = True
    at = np.flatnonzero(ends) + 1
    return np.diff(at, prepend=0), np.diff(np.searchsorted(at, offsets, side="right"))
