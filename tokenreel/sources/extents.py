"""Extents: which stored bytes of a file a block has read, with their CRC32C, so that a whole file is known by what its blocks read.

The extents of all blocks lie end to end and cover each file from its first to its last byte, whatever its format:

- Of uncompressed lines and paragraphs, the extent of a range holds exactly the documents that begin in it. What is read twice to find where
  they begin and end is in one extent, that of the document it belongs to.
- Of whole files it is all bytes as they are stored, compressed or not, also those behind damage that ends the reading.
- Of an Arrow file it is the record batches of the range, and the schema in front of them, which all ranges share.
- Of a Parquet file, row groups i to k of n have the bytes from i/n to k/n of the file: what a row group holds beside the columns that are
  read counts too, and where it begins is in a footer that nobody has checked yet.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any, NamedTuple

from tokenreel.storage import crc32c
from tokenreel.storage.files import Readable

_CHUNK_BYTES = 4 << 20


class Extent(NamedTuple):
    """Some stored bytes of a file.

    Attributes:
      start: the first byte.
      bytes: how many.
      crc32c: of them.
    """

    start: int
    bytes: int
    crc32c: int


UNREAD = Extent(-1, 0, 0)  # of a file range that was left out


class MeasuredStream:
    """A file of which the bytes that a block owns are measured while they are read.

    Args:
      stream: the file.
      size: its bytes, which are all owned unless `own` says otherwise.
    """

    def __init__(self, stream: Readable, size: int) -> None:
        import google_crc32c

        self._stream, self._extend = stream, google_crc32c.extend
        self._at = 0
        self._owned = [(0, size)]
        self._read = [(0, 0)]  # of each that is owned: bytes measured so far, and their CRC

    def __getattr__(self, name: str) -> Any:
        """Gives whatever else somebody wants of a file, such as Arrow: where it stands, and whether it is closed."""
        return getattr(self._stream, name)

    def own(self, bounds: Iterable[tuple[int, int]]) -> None:
        """Says which bytes are owned: [start, end) each. What was read before is not measured."""
        self._owned = list(bounds)
        self._read = [(0, 0)] * len(self._owned)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a byte."""
        self._at = self._stream.seek(offset, whence)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Reads `size` bytes, or all that are left. Bytes are measured the first time, as far as they are read without a gap."""
        data = self._stream.read(size)
        for i, (start, end) in enumerate(self._owned):
            done, crc = self._read[i]
            if start + done == self._at < end:
                new = data if len(data) <= end - self._at else data[: end - self._at]
                self._read[i] = done + len(new), self._extend(crc, new)
        self._at += len(data)
        return data

    def extents(self) -> list[Extent]:
        """Gives what is owned, and reads what of it nobody has read."""
        for i, (start, end) in enumerate(self._owned):
            if start + self._read[i][0] < end:
                self.seek(start + self._read[i][0])
                while self._at < end and self.read(min(_CHUNK_BYTES, end - self._at)):
                    pass
        return [Extent(start, *read) for (start, _), read in zip(self._owned, self._read, strict=True)]


def join(extents: Iterable[Extent]) -> Extent | None:
    """Joins the extents of a file, in any order; an extent that several blocks have counts once.

    Returns:
      The extent that they cover; None where they leave a gap, overlap, or differ about the same bytes.
    """
    start = end = crc = 0
    for index, extent in enumerate(sorted({extent for extent in extents if extent.bytes})):
        if index == 0:
            start = end = extent.start
        if extent.start != end:
            return None
        crc = crc32c.combine(crc, extent.crc32c, extent.bytes)
        end += extent.bytes
    return Extent(start, end - start, crc)
