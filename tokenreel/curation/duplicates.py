"""Finds the documents, paragraphs and lines whose text is elsewhere in the corpus.

Texts are compared by 128 bits of BLAKE2b: among 10**12 different ones, two are taken for the same with a probability of 10**-15. Each part
of a block makes a *table* of the hashes of its distinct texts, sorted, 32 bytes each. Ranges of hashes are then looked through one by one,
each in memory that does not grow with the corpus. Of several copies the one stays whose document's name has the smallest hash (not the hash
that decides the split: copies in a held-out split win no more often than others); of copies in one document, or in documents of one name,
the first in the order of the text. So what stays depends on the corpus alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from tokenreel.config.corpus import DuplicateConfig
from tokenreel.curation.cleaned import CODES, Cleaned, replace_text
from tokenreel.curation.hash_tables import Entries, Rows, hash_texts, ranks, tabulate
from tokenreel.sources.documents import Documents

_SEPARATORS = {"lines": re.compile(rb"\n"), "paragraphs": re.compile(rb"\n[ \t\r\f\v]*\n\s*")}


def cut(text: bytes, unit: str) -> list[tuple[int, int]]:
    r"""Finds the paragraphs or lines of a document: their bounds, without what separates them.

    >>> cut(b"a\nb\n \nc", "paragraphs"), cut(b"a\nb\n", "lines")
    ([(0, 3), (6, 7)], [(0, 1), (2, 3), (4, 4)])
    """
    bounds, begin = [], 0
    for separator in _SEPARATORS[unit].finditer(text):
        bounds.append((begin, separator.start()))
        begin = separator.end()
    bounds.append((begin, len(text)))
    return bounds


def tabulate_parts(documents: Documents, config: DuplicateConfig) -> tuple[Entries, Rows]:
    """Makes the table of the paragraphs or lines of a part's documents.

    Args:
      documents: the documents of the part.
      config: the unit that is compared, and how short a text may be.

    Returns:
      What `hash_tables.tabulate` gives. Rows number the units through all documents of the part; blank and short ones are counted, so that
      `prune` finds a row without hashing anything.
    """
    texts: list[bytes] = []
    rows: list[int] = []
    owners: list[int] = []
    row = 0
    for owner, document in enumerate(_texts(documents)):
        for start, end in cut(document, config.remove):
            text = document[start:end].strip()
            if text and _is_long(text, config.min_characters):
                texts.append(text)
                rows.append(row)
                owners.append(owner)
            row += 1
    return tabulate(hash_texts(texts), ranks(documents.key)[np.array(owners, dtype=np.int64)], np.array(rows, dtype=np.int64))


def _texts(documents: Documents) -> Iterator[bytes]:
    """Yields the text of each document."""
    data = documents.text.tobytes()
    for start, end in zip(documents.offsets[:-1].tolist(), documents.offsets[1:].tolist(), strict=True):
        yield data[start:end]


def _is_long(text: bytes, characters: int) -> bool:
    """Tells whether a text has so many characters; a character has one to four bytes, so most texts need not be decoded."""
    return len(text) >= characters and (len(text) >= 4 * characters or len(text.decode()) >= characters)


def prune(documents: Documents, rows: Rows, unit: str) -> Cleaned:
    """Takes paragraphs or lines out of documents, each with the separator before it.

    Args:
      documents: as `tabulate_parts` saw them.
      rows: [k] int64 rows to take out, as `tabulate_parts` numbers them, ascending.
      unit: "paragraphs" or "lines".
    """
    cleaned = Cleaned.of(documents)
    if not len(rows):
        return cleaned
    gone = set(rows.tolist())
    texts = []
    row = removed = 0
    for i, document in enumerate(_texts(documents)):
        bounds = cut(document, unit)
        kept = [bounds[at] for at in range(len(bounds)) if row + at not in gone]
        row += len(bounds)
        if len(kept) < len(bounds):
            whole = len(document.decode())
            document = _join(document, bounds, kept)
            removed += whole - len(document.decode())
            cleaned.modified[i] = True
            if not document.strip():
                cleaned.reasons[i] = CODES["duplicate_text"]
        texts.append(document)
    lines = Counter({f"duplicate_{unit[:-1]}": len(rows)})
    return dataclasses.replace(cleaned, documents=replace_text(documents, texts), lines=lines, characters=removed)


def _join(document: bytes, bounds: Sequence[tuple[int, int]], kept: Sequence[tuple[int, int]]) -> bytes:
    """Joins the units that are kept, each but the first with the separator that stands before it in the document."""
    before = {start: end for (_, end), (start, _) in itertools.pairwise(bounds)}  # where the separator of each begins
    return b"".join(document[before[start] if i else start : end] for i, (start, end) in enumerate(kept))
