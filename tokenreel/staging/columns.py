"""The columns of a stage file: what each holds, how it is stored, and how many elements it has.

`COLUMNS` is the one table of them. Writing follows it from the first row to the last, and where a column lies follows from the lengths of
those before it, so a file needs no directory: the counts in its header (`StageInfo`) are enough.

Tested in tests/tokenreel/staging/test_stage_file.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.config.splits import key_range
from tokenreel.storage.chunks import Covered
from tokenreel.storage.column_file import align


@dataclasses.dataclass(kw_only=True)
class Columns:
    """The columns of the n documents of one part of a block, in the order of their keys.

    Attributes:
      key: [n] uint64 hashes of the documents' names, ascending.
      token_offset: [n + 1] int64 bounds of the documents in `tokens`.
      position: [n] int64 byte in the decompressed file at which each document begins, or the number of its row. Merged files have neither
        this nor the next three: all that is asked of them beside tokens is what documents are called.
      characters: [n] int64 characters of each.
      bytes: [n] int64 bytes of each.
      file: [n] int32 index into the header's `files`.
      tokens: [num_tokens] ids of the documents, end to end, without bos, eos or separators.
      faults: [fault_bytes] uint8 JSON of the dead letters, one a line.
      id_offset: [n + 1] int64 bounds of the documents' names in `id`; None, like `id`, where names are `path#position`.
      id: [id_bytes] uint8 names end to end.
      metadata_offset: [n + 1] int64 bounds of the documents in `metadata`; None, like `metadata`, where no fields are kept.
      metadata: [metadata_bytes] uint8 JSON of the kept fields, end to end.
      sort_value: [n] uint64 that sort as the values of the order field do; None where the source has no such field.
      sentence_offset: [n + 1] int64 bounds of the documents in `sentence_length`; None, like that, where documents are not cut.
      sentence_length: [num_sentences] integers, the tokens of each sentence.
      hash: [4 * num_hashes] uint64 rows of a `curation.hash_tables.HashTable`; None, like `duplicate_row`, where texts are not hashed.
      duplicate_row: [num_duplicates] int64 documents whose text another document of the part has, too.
      token_spans: [num_tokens] int64 where each token lies in the text (`format.token_spans.pack`); None where nobody asked.
    """

    key: npt.NDArray[np.uint64]
    token_offset: npt.NDArray[np.int64]
    position: npt.NDArray[np.int64]
    characters: npt.NDArray[np.int64]
    bytes: npt.NDArray[np.int64]
    file: npt.NDArray[np.int32]
    tokens: npt.NDArray[np.integer]
    faults: npt.NDArray[np.uint8]
    id_offset: npt.NDArray[np.int64] | None = None
    id: npt.NDArray[np.uint8] | None = None
    metadata_offset: npt.NDArray[np.int64] | None = None
    metadata: npt.NDArray[np.uint8] | None = None
    sort_value: npt.NDArray[np.uint64] | None = None
    sentence_offset: npt.NDArray[np.int64] | None = None
    sentence_length: npt.NDArray[np.integer] | None = None
    hash: npt.NDArray[np.uint64] | None = None
    duplicate_row: npt.NDArray[np.int64] | None = None
    token_spans: npt.NDArray[np.int64] | None = None

    def counts(self) -> dict[str, Any]:
        """Counts what the lengths of the columns in `COLUMNS` are computed from, by the attributes of `StageInfo`."""

        def length(column: npt.NDArray[Any] | None) -> int:
            return 0 if column is None else len(column)

        return {
            "documents": len(self.key),
            "tokens": len(self.tokens),
            "ordered": self.sort_value is not None,
            "sentences": length(self.sentence_length),
            "id_bytes": length(self.id),
            "metadata_bytes": length(self.metadata),
            "fault_bytes": len(self.faults),
            "hashes": length(self.hash) // 4,
            "repeats": length(self.duplicate_row),
            "offsets": self.token_spans is not None,
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageInfo:
    """What the plan needs to know of a stage file; its size does not depend on the number of documents.

    The header of a file holds these attributes by their names, in this order, but for those that say where the file lies.

    Attributes:
      path: the file.
      source: index of the source in the config.
      block: index of the block in the source.
      part: index of the part in the block.
      last: whether this is the block's last part.
      body: byte at which the columns begin.
      documents: number of documents kept.
      tokens: number of their tokens.
      token_dtype: how tokens are stored.
      ordered: whether the documents have a value to sort by.
      sentences: number of sentences, 0 where documents were not cut into sentences.
      id_bytes: bytes of the documents' names, 0 where the names are `path#position`.
      metadata_bytes: bytes of their kept metadata.
      fault_bytes: bytes of the dead letters.
      dead_letters: number of documents that could not be read.
      filtered: number of documents left out, by reason.
      lines_removed: number of lines and paragraphs taken out of documents, by reason.
      characters_removed: number of characters taken out with them.
      modified: number of documents kept of which something was taken out.
      hashes: number of distinct texts, where those of documents were hashed; see `tokenreel.curation.duplicates`.
      repeats: number of documents whose text another document of the file has, too.
      offsets: whether the file says where each token lies in the text.
      ranges: into how many ranges of keys the strand of a merged file is cut; `block` is then the strand, `part` the range that this file
        holds. 0 for what a block gives.
      bound: as in `Documents`: of one block, parts that were cut by different bounds do not belong together. Headers leave out 0.
      outer_files: what `file_counts.outer` makes of the header, which tells more and leaves this out.
    """

    path: str
    source: int
    block: int
    part: int
    last: bool
    body: int
    documents: int
    tokens: int
    token_dtype: str
    ordered: bool
    sentences: int
    id_bytes: int
    metadata_bytes: int
    fault_bytes: int
    dead_letters: int
    filtered: Mapping[str, int]
    lines_removed: Mapping[str, int]
    characters_removed: int
    modified: int
    hashes: int
    repeats: int
    offsets: bool = False
    ranges: int = 0
    bound: int = 0
    outer_files: str = ""

    @property
    def key_range(self) -> tuple[int, int]:
        """Which keys the documents of the file have: [low, high)."""
        return key_range(self.part, self.ranges)

    @property
    def index_range(self) -> tuple[int, int]:
        """Which bytes of the file are its index: the columns in `INDEX`."""
        return self.body, self.place(INDEX[-1])[0] + 8 * (self.documents + 1)

    @property
    def sort_key(self) -> tuple[int, int, int]:
        """Sorts stage files as the sources, their files and the text in them lie."""
        return self.source, self.block, self.part

    @property
    def covered(self) -> Covered:
        """Which bytes of the file have CRCs: all columns."""
        ends = (place + dtype.itemsize * length for _, place, dtype, length in self._places() if length)
        return Covered(self.body, max(ends, default=self.body))

    @property
    def end(self) -> int:
        """The number of bytes in the file."""
        return self.covered.file_bytes

    def place(self, name: str) -> tuple[int, np.dtype[Any], int]:
        """Finds a column in the file: the byte at which it begins, its dtype and its length.

        Raises:
          KeyError: stage files have no such column.
        """
        for column, place, dtype, length in self._places():
            if column == name:
                return place, dtype, length
        raise KeyError(name)

    def _places(self) -> Iterator[tuple[str, int, np.dtype[Any], int]]:
        """Yields (name, first byte, dtype, length) of every column, also of the empty ones."""
        place = self.body
        for column in COLUMNS:
            dtype, length = column.stored_as(self), column.length(self)
            yield column.name, place, dtype, length
            place = align(place + dtype.itemsize * length)


@dataclasses.dataclass(frozen=True)
class Column:
    """A row of the table of columns.

    Attributes:
      name: the attribute of `Columns`.
      dtype: how it is stored, little-endian; None stores it as the file stores tokens.
      length: counts its elements in a file; 0 where the file does not have the column.
    """

    name: str
    dtype: str | None
    length: Callable[[StageInfo], int]

    def stored_as(self, info: StageInfo) -> np.dtype[Any]:
        """Gives the dtype of the column in a file."""
        return np.dtype(self.dtype or info.token_dtype).newbyteorder("<")


# The order is that of the files, and files are found again by builds to come: whoever changes it raises `identity.VERSION`. What a group
# reads of every file (`key`, `token_offset`) comes first, so that one request to a bucket fetches it; see `range_cache.indexes`.
COLUMNS = (
    Column("key", "uint64", lambda info: info.documents),
    Column("token_offset", "int64", lambda info: info.documents + 1),
    Column("position", "int64", lambda info: 0 if info.ranges else info.documents),
    Column("characters", "int64", lambda info: 0 if info.ranges else info.documents),
    Column("bytes", "int64", lambda info: 0 if info.ranges else info.documents),
    Column("file", "int32", lambda info: 0 if info.ranges else info.documents),
    Column("id_offset", "int64", lambda info: info.documents + 1 if info.id_bytes else 0),
    Column("id", "uint8", lambda info: info.id_bytes),
    Column("metadata_offset", "int64", lambda info: info.documents + 1 if info.metadata_bytes else 0),
    Column("metadata", "uint8", lambda info: info.metadata_bytes),
    Column("sort_value", "uint64", lambda info: info.documents if info.ordered else 0),
    Column("sentence_offset", "int64", lambda info: info.documents + 1 if info.sentences else 0),
    Column("sentence_length", "int32", lambda info: info.sentences),
    Column("hash", "uint64", lambda info: 4 * info.hashes),
    Column("duplicate_row", "int64", lambda info: info.repeats),
    Column("faults", "uint8", lambda info: info.fault_bytes),
    Column("tokens", None, lambda info: info.tokens),
    Column("token_spans", "int64", lambda info: info.tokens if info.offsets else 0),
)

# The first columns of a file: they tell where the documents of a group lie.
INDEX = ("key", "token_offset")


def lay_out(columns: Columns, info: StageInfo) -> Iterator[memoryview | bytes]:
    """Lays the columns end to end as a file holds them behind its header.

    Args:
      columns: the columns of the file.
      info: their counts and the dtype of tokens.

    Yields:
      The bytes, beginning with the first column. Gaps are zeros, and nothing follows the last element.
    """
    end = 0
    for column in COLUMNS:
        length = column.length(info)
        if length:
            values = getattr(columns, column.name)
            assert len(values) == length, (column.name, len(values), length)
            yield bytes(align(end) - end)
            stored = np.ascontiguousarray(values, dtype=column.stored_as(info))
            yield stored.view(np.uint8).data
            end = align(end) + stored.nbytes
