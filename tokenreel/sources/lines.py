"""Finds lines, paragraphs and whole files in a range of bytes, or in a stream that cannot be split.

A *boundary* is where one document ends and the next may begin: behind a newline, and for paragraphs behind a blank line. A range of a
file owns the documents that begin in it, however far the last one reaches behind its end, so that each is read once whatever the ranges.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.inputs import FileRange, InputFile
from tokenreel.sources.readers.unreadable import describe_break
from tokenreel.sources.values import EXCERPT
from tokenreel.storage.files import Readable

READ_BYTES = 1 << 18  # read at once
BOM = b"\xef\xbb\xbf"  # a byte order mark before the first document is no text
NEWLINE, RETURN = 0x0A, 0x0D
_LOOKED_AT = 1 << 20  # bytes of a file that tell how its lines end
MIXED_LINE_ENDS = (
    "mixed_line_ends",
    "a line feed in a file whose lines end in carriage returns, as those of its first MiB do: write it with one kind of line end",
)
_SWAP = bytes.maketrans(b"\r\n", b"\n\r")
_BLANKS = np.frombuffer(b" \t\r\n\v\f", dtype=np.uint8)


@dataclasses.dataclass
class TextRange:
    """Some bytes of a file that hold whole documents, or the reason why there are none.

    Attributes:
      file: the file.
      position: the place of the first byte in the (decompressed) file.
      data: the bytes; of a fault the first of those that are lost.
      fault: reason and message where the bytes hold no document that can be read.
      lines: lines of the file that the fault passes over; of a text range with bounds, those that end between the one before and this one.
      swapped: whether line feeds and carriage returns of the data stand for one another, as `swap_line_ends` has them.
      bounds: [n] int64 first bytes of the documents in `data` and [n] int64 bytes behind their last; None where lines tell.
      fields: of a fault, the fields that there are in place of those that are missing.
      lost: bytes of the (decompressed) file that the fault passes over.
      scale: how many bytes of the file on disk stand for one of its text.
      unread_bytes: bytes of the file on disk behind the place where it could not be read any more.
      last: of a fault, whether nothing behind it is read.
    """

    file: InputFile
    position: int
    data: bytes
    fault: tuple[str, str] | None = None
    lines: int = 0
    swapped: bool = False
    bounds: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None = None
    fields: tuple[str, ...] = ()
    lost: int = 0
    scale: float = 1.0
    unread_bytes: int = 0
    last: bool = False

    @property
    def size(self) -> int:
        """The number of bytes of text."""
        return len(self.data)


def ends_in_returns(chunks: Iterator[bytes | Exception]) -> tuple[bool, Iterator[bytes | Exception]]:
    r"""Tells whether the lines of a file end in carriage returns alone: its first MiB has some, and no line feed.

    Args:
      chunks: the bytes of the file from the first on, with an exception where they cannot be read to the end.

    Returns:
      whether they do, and all chunks again. Of most files one chunk was read.

    >>> ends_in_returns(iter([b"one\rtwo\r"]))[0], ends_in_returns(iter([b"one\rtwo\n"]))[0]
    (True, False)
    """
    taken: list[bytes | Exception] = []
    size, found = 0, False
    for chunk in chunks:
        taken.append(chunk)
        if isinstance(chunk, Exception):
            break
        chunk = chunk[: _LOOKED_AT - size]
        if b"\n" in chunk:
            found = False
            break
        size, found = size + len(chunk), found or b"\r" in chunk
        if size == _LOOKED_AT:
            break
    return found, itertools.chain(taken, chunks)


def swap_line_ends(chunks: Iterator[bytes | Exception]) -> Iterator[bytes | Exception]:
    """Makes line feeds of the carriage returns that end lines, and carriage returns of the line feeds that should not be there."""
    return (chunk if isinstance(chunk, Exception) else chunk.translate(_SWAP) for chunk in chunks)


def locate_documents(stream: Readable, file_range: FileRange, *, paragraphs: bool) -> tuple[int, int]:
    """Finds the documents that begin in a range: the byte at which the first begins, and the byte behind the last.

    Both may lie behind the range's end: a document that reaches over it is read by the range in which it begins. Where one document fills
    the whole range, the two are the same.

    Args:
      stream: the file, uncompressed.
      file_range: the range, with an end.
      paragraphs: whether documents are paragraphs; otherwise they are lines.
    """
    assert file_range.end is not None
    begins = _paragraph_begins if paragraphs else _line_begins
    return begins(stream, file_range.start, file_range.file.size), begins(stream, file_range.end, file_range.file.size)


def _line_begins(stream: Readable, position: int, size: int) -> int:
    """Finds the first byte at or after `position` that begins a line; `size` where none does."""
    if position == 0:
        return 0
    stream.seek(position - 1)  # a newline just before `position` makes that the beginning of a line
    at = position - 1
    while chunk := stream.read(READ_BYTES):
        found = chunk.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(chunk)
    return size


def _paragraph_begins(stream: Readable, position: int, size: int) -> int:
    """Finds the first byte at or after `position` that begins a line after a blank one; `size` where none does."""
    if position == 0:
        return 0
    at = _line_begins(stream, position, size)
    blank = _blank_before(stream, at)
    stream.seek(at)
    rest = b""
    while not blank:
        chunk = stream.read(READ_BYTES)
        if not chunk:
            return size
        rest += chunk
        *lines, rest = rest.split(b"\n")
        for line in lines:
            at += len(line) + 1
            if not line.strip():
                blank = True
                break
    return at


def _blank_before(stream: Readable, at: int) -> bool:
    """Tells whether the line that ends just before byte `at` is blank; the start of the file counts as a blank line.

    Reads backwards, and only while there is nothing but white space: a line of text ends the search at its last byte.
    """
    end = at - 1  # its newline
    while end > 0:
        start = max(0, end - 4096)
        stream.seek(start)
        chunk = stream.read(end - start)
        kept = chunk.rstrip(b" \t\r\v\f")
        if kept:
            return kept.endswith(b"\n")
        end = start
    return True


def read_range(stream: Readable, start: int, end: int) -> Iterator[bytes]:
    """Yields the bytes [start, end) of a file in chunks."""
    stream.seek(start)
    while start < end and (chunk := stream.read(min(READ_BYTES, end - start))):
        yield chunk
        start += len(chunk)


def cut_stream(
    chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig, part_bytes: int, position: int = 0
) -> Iterator[TextRange]:
    """Cuts a stream at boundaries into text ranges of about `part_bytes`.

    Holds no more of an oversized document than shows that it is oversized.

    Args:
      chunks: the bytes of a file from `position` on; last an exception where they cannot be read to the end.
      file: the file that the bytes are from.
      source: the format, and how long a document may be.
      part_bytes: bytes in a text range, unless a document is longer.
      position: the place of the first byte in the (decompressed) file.

    Yields:
      Text ranges that join without a gap. A document that is lost is one with a fault.
    """
    kind, limit = source.format, source.max_document_bytes
    buffer = bytearray()
    searched = 0  # bytes of the buffer that hold no boundary: each is looked at once, or a long line would take quadratic time
    for chunk in chunks:
        if isinstance(chunk, Exception):
            # The last document may be cut anywhere, so it cannot be trusted; those before it were read whole.
            cut = 0 if kind == "text" else _last_boundary(buffer, kind, 0)
            if cut:
                yield TextRange(file, position, bytes(buffer[:cut]))
            yield _broken(file, position + cut, buffer[cut:], position + len(buffer), chunk)
            return
        buffer += chunk
        if kind == "text" and len(buffer) > limit + len(BOM):
            yield dataclasses.replace(_oversized(file, position, bytes(buffer), source, lost=len(buffer)), last=True)
            return  # the rest of the file is the rest of the document
        if kind != "text" and len(buffer) >= part_bytes:
            cut = _last_boundary(buffer, kind, searched)
            searched = max(0, len(buffer) - 1)  # the last may be half of a boundary
            if cut:
                yield TextRange(file, position, bytes(buffer[:cut]))
                del buffer[:cut]
                position, searched = position + cut, 0
            elif len(buffer) > limit + len(BOM) + 1:  # a line's carriage return is not part of it
                head, blank = bytes(buffer[: 4 * EXCERPT]), not buffer.strip()
                skipped, lines, still_blank, problem = _skip_document(buffer, chunks, kind)
                if problem is not None:
                    yield _broken(file, position, head, position + skipped, problem)
                    return
                if kind == "lines" or not (blank and still_blank):
                    yield _oversized(file, position, head, source, lines, skipped)
                else:
                    yield TextRange(file, position, b"\n" * lines)
                position, searched = position + skipped, 0
    yield TextRange(file, position, bytes(buffer))


def _broken(file: InputFile, position: int, data: bytes | bytearray, read: int, error: Exception) -> TextRange:
    """Makes the fault of a stream that broke after `read` bytes, inside the document that begins at `position`."""
    fault = describe_break(error, f"after {read:,} bytes of text")
    return TextRange(file, position, bytes(data[: 4 * EXCERPT]), fault=fault, lost=read - position, last=True)


def _oversized(file: InputFile, position: int, head: bytes, source: SourceConfig, lines: int = 0, lost: int = 0) -> TextRange:
    """Makes the fault of a document that is too long, from its first bytes and the lines and bytes it has."""
    if position == 0 and head.startswith(BOM):
        position, head = len(BOM), head[len(BOM) :]
    return TextRange(file, position, head[: 4 * EXCERPT], fault=("oversized", oversized_message(source)), lines=lines, lost=lost)


def oversized_message(source: SourceConfig) -> str:
    """Says why a document is too large to be read."""
    return f"longer than max_document_mb = {source.max_document_mb:g} of the source {source.name!r} allows"


def _skip_document(buffer: bytearray, chunks: Iterator[bytes | Exception], kind: str) -> tuple[int, int, bool, Exception | None]:
    """Reads on to the end of the document in `buffer`, and leaves there what follows.

    Returns:
      The bytes and the lines passed over, whether all that was read after `buffer` is blank, and the exception if the stream broke.
    """
    boundary = re.compile(rb"\n[ \t\r\v\f]*\n" if kind == "paragraphs" else rb"\n")
    skipped = lines = 0
    blank = True
    while (end := boundary.search(buffer)) is None:
        # What may begin a boundary stays: the last newline, if only blanks follow, of which one stands for all.
        last = buffer.rfind(b"\n")
        kept = b"\n " if kind == "paragraphs" and last >= 0 and not buffer[last:].strip() else b""
        skipped += len(buffer) - len(kept)
        lines += buffer.count(b"\n") - kept.count(b"\n")
        buffer[:] = kept
        chunk = next(chunks, b"")
        if isinstance(chunk, Exception):
            return skipped + len(buffer), lines, blank, chunk
        if not chunk:
            skipped, lines = skipped + len(buffer), lines + 1
            buffer.clear()
            return skipped, lines, blank, None
        blank = blank and not chunk.strip()
        buffer += chunk
    skipped, lines = skipped + end.end(), lines + buffer.count(b"\n", 0, end.end())
    del buffer[: end.end()]
    return skipped, lines, blank, None


def _last_boundary(buffer: bytearray, kind: str, searched: int) -> int:
    """Finds where the last document begins, which may be incomplete; 0 if it is the only one. Bytes before `searched` hold no boundary."""
    if kind != "paragraphs":
        return buffer.rfind(b"\n", searched) + 1
    end = buffer.rfind(b"\n")
    while end >= max(0, searched):  # a boundary ends with a newline that was not there before
        before = buffer.rfind(b"\n", 0, end)
        if not buffer[before + 1 : end].strip():
            return end + 1
        end = before
    return 0


def line_bounds(buffer: npt.NDArray[np.uint8], kind: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    r"""Finds the documents of a text range, line ends left out.

    Blank lines hold no document, except that `lines` and `text` keep theirs.

    Args:
      buffer: [num_bytes] uint8, the text range.
      kind: the source's format.

    Returns:
      [n] int64 first bytes of the documents, and [n] int64 bytes behind their last.

    >>> starts, ends = line_bounds(np.frombuffer(b"one\r\n \ntwo", np.uint8), "jsonl")
    >>> starts.tolist(), ends.tolist()
    ([0, 7], [3, 10])
    """
    if kind == "text":
        return np.zeros(1, dtype=np.int64), np.array([len(buffer)], dtype=np.int64)
    newlines = np.flatnonzero(buffer == NEWLINE)
    starts = np.concatenate([[0], newlines + 1])
    ends = np.concatenate([newlines, [len(buffer)]])
    if starts[-1] == len(buffer):  # a final newline ends the last line, it does not begin another
        starts, ends = starts[:-1], ends[:-1]
    ends = ends - ((ends > starts) & (buffer[np.maximum(ends, 1) - 1] == 0x0D))  # a carriage return belongs to the line end
    if kind == "lines":
        return starts, ends
    full = ~_blank(buffer, starts, ends)
    if kind == "paragraphs" and len(full):  # full lines in a row are one document
        first = full & ~np.concatenate([[False], full[:-1]])
        last = full & ~np.concatenate([full[1:], [False]])
        return starts[first], ends[last]
    return starts[full], ends[full]


def _blank(buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Finds the lines that hold nothing but white space: [n] bool, of [n] int64 bounds in a [num_bytes] uint8 buffer.

    Few lines begin with white space, so only those are read through.
    """
    blank: npt.NDArray[np.bool_] = starts == ends
    suspects = np.flatnonzero(~blank)
    suspects = suspects[np.isin(buffer[starts[suspects]], _BLANKS)]
    for i in suspects:
        blank[i] = not buffer[starts[i] : ends[i]].tobytes().strip()
    return blank


def gather(buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Copies ranges of a buffer end to end.

    Marks where ranges begin and end, and sums the marks up: a mask of the bytes inside, in one pass without a loop over the ranges.

    Args:
      buffer: [num_bytes] uint8.
      starts: [n] int64 first bytes, ascending.
      ends: [n] int64 bytes behind the last; no range overlaps the next.

    Returns:
      [sum(ends - starts)] uint8.
    """
    inside = np.zeros(len(buffer) + 1, dtype=np.int8)
    np.add.at(inside, starts, 1)
    np.add.at(inside, ends, -1)
    gathered: npt.NDArray[np.uint8] = buffer[np.cumsum(inside[:-1], dtype=np.int8).view(bool)]
    return gathered


class LineCounter:
    """Counts lines up to ever later bytes, each byte looked at once."""

    def __init__(self, data: bytes) -> None:
        self._data, self._lines, self._seen = data, 0, 0

    def count_to(self, position: int) -> int:
        """Counts the line ends before a byte, which must not lie before that of the last call."""
        self._lines += self._data.count(b"\n", self._seen, position)
        self._seen = position
        return self._lines
