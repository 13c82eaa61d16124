"""Sorted tables of text hashes on disk, in which equal texts are found whatever worker read them.

Each part of a block writes one table. All tables are then compared range by range of the hash: a range of every table is one contiguous
read, because tables are sorted, and holds about the same share of each, because hashes are spread evenly. So memory stays within
`_RANGE_ENTRIES` whatever the size of the corpus.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.config.splits import key_range
from tokenreel.errors import BuildError
from tokenreel.storage import chunks, files
from tokenreel.storage.chunks import Covered

_COLUMNS = 4  # the hash, first and second half; rank; row
_ENTRY_BYTES = 8 * _COLUMNS
TABLE_SHIFT = 32  # in a merged table, the bits of a row; those above are the number of its table
_UNITS = ("documents", "paragraphs", "lines")
_RANGE_ENTRIES = 1 << 20  # looked through at once: about 150 MB
Rows = npt.NDArray[np.int64]  # [n] what texts are called within their part
Entries = npt.NDArray[np.uint64]  # [n, 4] the columns above


@dataclasses.dataclass(frozen=True, kw_only=True)
class HashTable:
    """Where a sorted table of hashes lies in a file.

    Attributes:
      path: the file.
      begin: byte at which the [entries, 4] uint64 begin: the hash in two halves, by which they are sorted; rank; row.
      entries: number of distinct texts.
      duplicates: number of rows (int64, behind the table) whose text is in the same part once more, with a better rank.
      duplicates_begin: byte at which those begin.
      covered_begin, covered_end: bounds of the bytes of the file that have CRCs.
      part: of a merged table (see `merged_tables`) the range of hashes that it holds,
      ranges: of how many; 0 for the table of one part of a block.
    """

    path: str
    begin: int
    entries: int
    duplicates: int
    duplicates_begin: int
    covered_begin: int
    covered_end: int
    part: int = 0
    ranges: int = 0

    @property
    def bounds(self) -> tuple[int, int]:
        """Between which bounds the first halves of its hashes lie: [low, high)."""
        return key_range(self.part, self.ranges)

    def between(self, low: int, high: int) -> Entries:
        """Reads the entries whose first half lies in [low, high), bounds up to 2**64.

        Reads no more than where they should be, and the whole table where they are not: texts that somebody made to collide.
        """
        begin, end = self.bounds
        low, high = max(low, begin), min(high, end)
        if low >= high or not self.entries:
            return np.zeros((0, _COLUMNS), dtype=np.uint64)
        # The number of hashes below a bound is binomial, with a standard deviation of at most sqrt(entries) / 2: this is 8 of them.
        spread = 4 * int(self.entries**0.5) + 8
        places = [self.entries * (bound - begin) // (end - begin) for bound in (low, high)]
        first, last = max(0, places[0] - spread), min(self.entries, places[1] + spread)
        entries = self._read(first, last)
        if (first and int(entries[0, 0]) >= low) or (last < self.entries and int(entries[-1, 0]) < high):
            entries = self._read(0, self.entries)
        halves = entries[:, 0]  # as 2**64 is no uint64, NumPy cannot search for it
        return entries[bisect.bisect_left(halves, low, key=int) : bisect.bisect_left(halves, high, key=int)]

    def _read(self, first: int, last: int) -> Entries:
        data = self._checked(self.begin + first * _ENTRY_BYTES, (last - first) * _ENTRY_BYTES)
        return np.frombuffer(data, dtype="<u8").reshape(-1, _COLUMNS)

    def _checked(self, at: int, size: int) -> memoryview:
        covered = Covered(self.covered_begin, self.covered_end)
        return covered.read(self.path, at, size, lambda begin, count: files.read_bytes(self.path, begin, count))

    def read_duplicates(self) -> Rows:
        """Reads the [duplicates] int64 rows whose text is in the same part once more, ascending."""
        return np.frombuffer(self._checked(self.duplicates_begin, 8 * self.duplicates), dtype="<i8")


def hash_texts(texts: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    """Hashes n texts to 128 bits each: [n, 2] uint64."""
    digests = b"".join(hashlib.blake2b(text, digest_size=16).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").reshape(-1, 2)


def ranks(names: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Ranks documents: of equal texts the one in the document with the lowest rank is kept.

    Args:
      names: [n] uint64 hashes of the documents' names.

    Returns:
      [n] uint64 ranks. Another hash of the name than the one that decides the split, so that held-out copies win no more often.
    """
    return keys.mix(names ^ np.uint64(keys.key("duplicates")))


def tabulate(hashes: npt.NDArray[np.uint64], rank: npt.NDArray[np.uint64], rows: Rows) -> tuple[Entries, Rows]:
    """Sorts the hashes of a part, and sets those aside that occur again in it.

    Args:
      hashes: [n, 2] uint64 hashes of texts, in the order of the text where ranks are equal.
      rank: [n] uint64 ranks of their documents.
      rows: [n] int64 what to call each text.

    Returns:
      [m, 4] uint64 entries of a table, and the [n - m] int64 rows of the others, ascending.
    """
    order = np.lexsort((rank, hashes[:, 1], hashes[:, 0]))  # stable: of equal ranks the first in the text comes first
    entries = np.column_stack([hashes, rank, rows.astype(np.uint64)])[order]
    again = same_as_before(entries)
    return entries[~again], np.sort(entries[again, 3].astype(np.int64))


def same_as_before(entries: Entries) -> npt.NDArray[np.bool_]:
    """Finds the entries of the text of the one before: [n] bool for [n, 4] sorted entries. The first of each sorted run is not marked."""
    same = np.zeros(len(entries), dtype=bool)
    same[1:] = (entries[1:, :2] == entries[:-1, :2]).all(axis=1)
    return same


def write_table(path: str, entries: Entries, duplicate_rows: Rows, part: int = 0, ranges: int = 0) -> HashTable:
    """Writes the [m, 4] entries and the [k] duplicate rows that `tabulate` gives, or a merged table, to a file of its own."""
    table = np.ascontiguousarray(entries, dtype="<u8").tobytes()
    data = table + np.ascontiguousarray(duplicate_rows, dtype="<i8").tobytes()
    files.write_bytes(path, chunks.covered(data))
    return own_table(path, len(entries), len(duplicate_rows), part, ranges)


def own_table(path: str, entries: int, duplicates: int = 0, part: int = 0, ranges: int = 0) -> HashTable:
    """Says where a table of so many entries and duplicate rows lies in the file of its own that `write_table` writes."""
    end = entries * _ENTRY_BYTES
    return HashTable(
        path=path,
        begin=0,
        entries=entries,
        duplicates=duplicates,
        duplicates_begin=end,
        covered_begin=0,
        covered_end=end + 8 * duplicates,
        part=part,
        ranges=ranges,
    )


def reopen(path: str, part: int, ranges: int) -> HashTable | None:
    """Finds a merged table that an earlier build finished; None if there is none, or its bytes are not what was written."""
    size = files.size(path)
    if not size:  # what holds nothing is soon made again, and may have held something
        return None
    chunk = chunks.CHUNK_BYTES + 4  # each has a CRC
    data, end = files.read_bytes(path), size - 4 * -(-size // chunk)
    if end < 0 or end % _ENTRY_BYTES or len(data) != size or chunks.covered(data[:end]) != data:
        return None
    return own_table(path, end // _ENTRY_BYTES, 0, part, ranges)


def ranges(tables: Sequence[HashTable]) -> list[tuple[int, int]]:
    """Cuts all hashes into ranges [low, high) of their first half, so that the entries of a range in all tables fit in memory."""
    return ranges_of(sum(table.entries for table in tables))


def ranges_of(entries: int) -> list[tuple[int, int]]:
    """Cuts all hashes into ranges as `ranges` does, for tables of so many entries in all."""
    count = count_ranges(entries)
    return [key_range(part, count) for part in range(count)]


def count_ranges(entries: int) -> int:
    """Says into how many ranges hashes are cut, for tables of so many entries in all."""
    return max(1, -(-entries // _RANGE_ENTRIES))


def reads(tables: int, entries: int, fan_in: int, level: int) -> int:
    """Counts the reads that the search takes, where so many tables of so many entries are merged so often, so many at a time.

    >>> reads(100_000, 2_800_000_000, 64, 0), reads(100_000, 2_800_000_000, 64, 1)
    (267100000, 4177444)
    """
    count = count_ranges(entries)
    return count * -(-tables // int(fan_in**level)) + (count if level else 0)


def levels(tables: int, entries: int, fan_in: int, limit: int) -> int:
    """Says how often tables are merged so that the search takes no more reads than the limit, if that can be."""
    level = 0
    while reads(tables, entries, fan_in, level) > limit and tables > int(fan_in**level):
        level += 1
    return level


def find(tables: Sequence[HashTable], low: int, high: int) -> Iterator[tuple[int, Rows]]:
    """Finds the texts that are in several tables.

    Args:
      tables: the tables of all parts, in the order of the text; or the merged tables that hold them.
      low: looks through hashes whose first half is at least this,
      high: and below this.

    Yields:
      The index of a table that loses something, and the int64 rows in it that do not stay, ascending.
    """
    parts = [table.between(low, high) for table in tables]
    entries = np.concatenate(parts) if parts else np.zeros((0, _COLUMNS), dtype=np.uint64)
    table = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    rows_of = entries[:, 3]
    if tables and tables[0].ranges:  # entries say which table each is of
        table, rows_of = (entries[:, 3] >> TABLE_SHIFT).astype(np.int64), entries[:, 3] & np.uint64((1 << TABLE_SHIFT) - 1)
    order = np.lexsort((entries[:, 2], entries[:, 1], entries[:, 0]))  # stable: of equal ranks the first in the text comes first
    lost = order[same_as_before(entries[order])]
    lost = lost[np.argsort(table[lost], kind="stable")]
    for rows in np.split(lost, np.flatnonzero(np.diff(table[lost])) + 1):
        if len(rows):
            yield int(table[rows[0]]), np.sort(rows_of[rows].astype(np.int64))


def write_rows(directory: str, unit: str, rows: npt.NDArray[np.int64]) -> str:
    """Writes [n] int64 ascending rows under a name that tells their content, and returns the path.

    A block's name is made of these names, so that text from which other lines were taken out is never found in the token cache.

    Args:
      directory: where the file lies.
      unit: what is numbered, of `_UNITS`.
      rows: the rows.
    """
    data = np.ascontiguousarray(rows, dtype="<i8").tobytes()
    path = files.join(directory, f"{keys.digest(unit, data)}.rows")
    files.write_bytes(path, data)
    return path


@functools.lru_cache(maxsize=256)
def read_rows(path: str) -> npt.NDArray[np.int64]:
    """Reads the [n] int64 rows that `write_rows` wrote; keeps the last files in memory, because every shard asks for most of them.

    Raises:
      BuildError: they are not those that were written, which the file's name tells.
    """
    data = files.read_bytes(path)
    if not any(path.endswith(f"{keys.digest(unit, data)}.rows") for unit in _UNITS):
        raise BuildError(f"{path}: is not what was written. {chunks.AGAIN}")
    return np.frombuffer(data, dtype="<i8")


def rows_between(path: str | None, first: int, last: int) -> npt.NDArray[np.int64]:
    """Gives those of the rows in a file that lie in [first, last), ascending: int64, counted from `first`. No file holds no rows."""
    if path is None:
        return np.zeros(0, dtype=np.int64)
    rows = read_rows(path)
    return rows[np.searchsorted(rows, first) : np.searchsorted(rows, last)] - first
