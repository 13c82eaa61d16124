"""Documents, paragraphs and lines whose text is elsewhere in the corpus.

Texts are compared by 128 bits of BLAKE2b: among 10**12 different ones, two are taken for the same with a probability of 10**-15. Each part
of a block makes a *table* of the hashes of its distinct texts, sorted, 32 bytes each. Ranges of hashes are then looked through one by one,
each in memory that does not grow with the corpus. Of several copies the one stays whose document's name has the smallest hash (not the hash
that decides the split: copies in a held-out split win no more often than others); of copies in one document, or in documents of one name,
the first in the order of the text. So what stays depends on the corpus alone.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.config.corpus import DuplicateConfig
from tokenreel.filters import CODES, Cleaned, replace_text
from tokenreel.sources.documents import Documents
from tokenreel.storage import files

_KEYS = 1 << 64
_COLUMNS = 4  # the hash, first and second half; rank; row
_ENTRY_BYTES = 8 * _COLUMNS
_RANGE_ENTRIES = 1 << 20  # looked through at once: about 150 MB
_SEPARATORS = {"lines": re.compile(rb"\n"), "paragraphs": re.compile(rb"\n[ \t\r\f\v]*\n\s*")}

Rows = npt.NDArray[np.int64]
Entries = npt.NDArray[np.uint64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashTable:
    """Where a sorted table of hashes lies in a file.

    Attributes:
      path: of the file.
      begin: byte at which the [entries, 4] uint64 begin: the hash in two halves, by which they are sorted; rank; row.
      entries: distinct texts.
      repeats: rows behind the table (int64) whose text is in the same part once more, with a better rank.
      repeats_begin: byte at which those begin.
    """

    path: str
    begin: int
    entries: int
    repeats: int
    repeats_begin: int

    def between(self, low: int, high: int) -> Entries:
        """The entries whose first half lies in [low, high)."""
        spread = 4 * int(self.entries**0.5) + 8  # hashes are spread evenly: a bound is where it should be, to 8 standard deviations
        first, last = max(0, self.entries * low // _KEYS - spread), min(self.entries, self.entries * high // _KEYS + spread)
        entries = self._read(first, last)
        if (first and int(entries[0, 0]) >= low) or (last < self.entries and int(entries[-1, 0]) < high):
            entries = self._read(0, self.entries)
        halves = entries[:, 0]
        return entries[bisect.bisect_left(halves, low, key=int) : bisect.bisect_left(halves, high, key=int)]

    def _read(self, first: int, last: int) -> Entries:
        data = files.read_bytes(self.path, self.begin + first * _ENTRY_BYTES, (last - first) * _ENTRY_BYTES)
        return np.frombuffer(data, dtype="<u8").reshape(-1, _COLUMNS)

    def read_repeats(self) -> Rows:
        """The rows whose text is in the same part once more."""
        return np.frombuffer(files.read_bytes(self.path, self.repeats_begin, 8 * self.repeats), dtype="<i8")


def hash_texts(texts: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    """Hashes texts: [n, 2] uint64."""
    digests = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)


def ranks(names: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """What decides between copies, given the hashes of their documents' names: the smallest stays."""
    return keys.mix(names ^ np.uint64(keys.key("duplicates")))


def tabulate(hashes: npt.NDArray[np.uint64], rank: npt.NDArray[np.uint64], rows: Rows) -> tuple[Entries, Rows]:
    """Sorts hashes, and sets those aside that occur again in the same part.

    Args:
      hashes: [n, 2] of texts, in the order of the text where ranks are equal.
      rank: [n] of their documents.
      rows: [n] what to call each.

    Returns:
      [m, 4] entries of a table, and the [n - m] rows of the others, sorted.
    """
    order = np.lexsort((rank, hashes[:, 1], hashes[:, 0]))  # stable
    entries = np.column_stack([hashes, rank, rows.astype(np.uint64)])[order]
    again = _same_as_before(entries)
    return entries[~again], np.sort(entries[again, 3].astype(np.int64))


def _same_as_before(entries: Entries) -> npt.NDArray[np.bool_]:
    same = np.zeros(len(entries), dtype=bool)
    same[1:] = (entries[1:, :2] == entries[:-1, :2]).all(axis=1)
    return same


def write_table(path: str, entries: Entries, repeats: Rows) -> HashTable:
    """Writes a table to a file of its own."""
    files.write_bytes(path, np.ascontiguousarray(entries, dtype="<u8").tobytes() + np.ascontiguousarray(repeats, dtype="<i8").tobytes())
    return HashTable(path=path, begin=0, entries=len(entries), repeats=len(repeats), repeats_begin=len(entries) * _ENTRY_BYTES)


def ranges(tables: Sequence[HashTable]) -> list[tuple[int, int]]:
    """Cuts the hashes into ranges that fit in memory."""
    count = max(1, -(-sum(table.entries for table in tables) // _RANGE_ENTRIES))
    bounds = [_KEYS * i // count for i in range(count + 1)]
    return list(itertools.pairwise(bounds))


def find(tables: Sequence[HashTable], low: int, high: int) -> Iterator[tuple[int, Rows]]:
    """Finds the texts that are in several tables.

    Args:
      tables: of all parts, sorted as the text lies.
      low: first half of the hashes to look through, and
      high: where they end.

    Yields:
      index of a table, and the rows in it that do not stay.
    """
    parts = [table.between(low, high) for table in tables]
    entries = np.concatenate(parts) if parts else np.zeros((0, _COLUMNS), dtype=np.uint64)
    table = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = np.lexsort((entries[:, 2], entries[:, 1], entries[:, 0]))  # stable: of equal ranks the first in the text
    lost = order[_same_as_before(entries[order])]
    lost = lost[np.argsort(table[lost], kind="stable")]
    for rows in np.split(lost, np.flatnonzero(np.diff(table[lost])) + 1):
        if len(rows):
            yield int(table[rows[0]]), np.sort(entries[rows, 3].astype(np.int64))


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


def _texts(documents: Documents) -> Iterator[bytes]:
    data = documents.text.tobytes()
    for start, end in zip(documents.offsets[:-1].tolist(), documents.offsets[1:].tolist(), strict=True):
        yield data[start:end]


def tabulate_parts(documents: Documents, config: DuplicateConfig) -> tuple[Entries, Rows]:
    """Makes the table of the paragraphs or lines of the documents; their rows number them through all documents, blank ones counted."""
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


def _is_long(text: bytes, characters: int) -> bool:
    """Whether a text has so many characters; a character has one to four bytes, so most texts need not be decoded."""
    return len(text) >= characters and (len(text) >= 4 * characters or len(text.decode()) >= characters)


def prune(documents: Documents, rows: Rows, unit: str) -> Cleaned:
    """Takes paragraphs or lines out of documents, each with the separator before it.

    Args:
      documents: as `tabulate_parts` saw them.
      rows: [k] which to take out, sorted.
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
    before = {start: end for (_, end), (start, _) in itertools.pairwise(bounds)}  # where the separator of each begins
    return b"".join(document[before[start] if i else start : end] for i, (start, end) in enumerate(kept))
