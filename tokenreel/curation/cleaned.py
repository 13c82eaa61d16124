"""What rules leave of a block: the documents that stay, and why the others went."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.sources.documents import Documents

# Why a document is left out; arrays hold the place in this list, 0 for documents that stay. Files and statistics name reasons by these
# words. Of several rules that a document breaks, the first in this list counts.
REASONS = (
    "",
    "empty",
    "too_few_characters",
    "too_many_characters",
    "too_few_tokens",
    "too_many_tokens",
    "no_line_left",
    "duplicate_text",
    "pattern_missing",
    "pattern_found",
    "too_few_words",
    "too_many_words",
    "too_few_sentences",
    "phrase_found",
    "bad_word",
    "short_words",
    "long_words",
    "symbols",
    "digits",
    "bullet_lines",
    "ellipsis_lines",
    "words_without_letter",
    "too_few_stop_words",
    "repeated_lines",
    "repeated_paragraphs",
    "frequent_ngram",
    "repeated_ngrams",
)

CODES = {reason: code for code, reason in enumerate(REASONS)}


@dataclasses.dataclass
class Cleaned:
    """The documents of a part, with what was taken out of them and which of them are to be left out.

    Attributes:
      documents: [n] the same documents, their text as the rules left it.
      reasons: [n] int64 place in `REASONS`.
      modified: [n] bool, true for documents of which something was taken out.
      lines: number of lines and paragraphs taken out, by reason.
      characters: number of characters taken out with them.
    """

    documents: Documents
    reasons: npt.NDArray[np.int64]
    modified: npt.NDArray[np.bool_]
    lines: Counter[str]
    characters: int

    @classmethod
    def of(cls, documents: Documents) -> Cleaned:
        """Begins with documents as they were read: all stay, and nothing is taken out."""
        return cls(documents, np.zeros(len(documents), dtype=np.int64), np.zeros(len(documents), dtype=bool), Counter(), 0)

    def left_out(self) -> dict[str, int]:
        """Counts the documents that are left out, by reason."""
        counts = np.bincount(self.reasons, minlength=len(REASONS))
        return {name: int(count) for name, count in zip(REASONS[1:], counts[1:], strict=True) if count}


def replace_text(documents: Documents, texts: Sequence[bytes]) -> Documents:
    """Gives n documents other texts, UTF-8, and leaves everything else about them as it is."""
    sizes = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return dataclasses.replace(documents, text=np.frombuffer(b"".join(texts), dtype=np.uint8), offsets=ragged.offsets_of(sizes))


def summed(parts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """Adds counts by reason."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(sorted(total.items()))
