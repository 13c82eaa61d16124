"""Finds lines, paragraphs and whole files in a range of bytes, or in a stream that cannot be split."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.inputs import FileRange, InputFile
from tokenreel.sources.values import EXCERPT

READ_BYTES = 1 << 18

BOM = b"\xef\xbb\xbf"

NEWLINE = 0x0A

_BLANKS = np.frombuffer(b" \t\r\n\v\f", dtype=np.uint8)


@dataclasses.dataclass
class TextRange:
    """Some bytes of a file that hold whole documents, or the reason why there are none."""

    file: InputFile
    position: int
    data: bytes
    fault: tuple[str, str] | None = None
    lines: int = 0  # that a fault passed over

    @property
    def size(self) -> int:
        """Bytes of text."""
        return len(self.data)


def locate_documents(stream: IO[bytes], file_range: FileRange, *, paragraphs: bool) -> tuple[int, int]:
    """Where the documents that begin in [start, end) lie: from the first one on, and past the end to the end of the last one."""
    assert file_range.end is not None
    begins = _paragraph_begins if paragraphs else _line_begins
    return begins(stream, file_range.start, file_range.file.size), begins(stream, file_range.end, file_range.file.size)


def _line_begins(stream: IO[bytes], position: int, size: int) -> int:
    """The first byte at or after `position` that begins a line."""
    if position == 0:
        return 0
    stream.seek(position - 1)
    at = position - 1
    while chunk := stream.read(READ_BYTES):
        found = chunk.find(b"\n")
        if found >= 0:
            return at + found + 1
        at += len(chunk)
    return size


def _paragraph_begins(stream: IO[bytes], position: int, size: int) -> int:
    """The first byte at or after `position` that begins a line after a blank one."""
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


def _blank_before(stream: IO[bytes], at: int) -> bool:
    """Whether the line that ends just before byte `at` is blank; the start of the file counts as such."""
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


def read_range(stream: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    """Yields the bytes [start, end) of a file in chunks."""
    stream.seek(start)
    while start < end and (chunk := stream.read(min(READ_BYTES, end - start))):
        yield chunk
        start += len(chunk)


def cut_stream(
    chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig, part_bytes: int, position: int = 0
) -> Iterator[TextRange]:
    """Cuts a stream at ends of documents into text ranges of about `part_bytes`.

    Holds no more of an oversized document than shows that it is oversized.
    """
    kind, limit = source.format, source.max_document_bytes
    buffer = bytearray()
    searched = 0
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
            yield _oversized(file, position, bytes(buffer), source)
            return  # the rest of the file is the rest of the document
        if kind != "text" and len(buffer) >= part_bytes:
            cut = _last_boundary(buffer, kind, searched)
            searched = max(0, len(buffer) - 1)
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
                    yield _oversized(file, position, head, source, lines)
                else:
                    yield TextRange(file, position, b"\n" * lines)
                position, searched = position + skipped, 0
    yield TextRange(file, position, bytes(buffer))


def _broken(file: InputFile, position: int, data: bytes | bytearray, read: int, error: Exception) -> TextRange:
    message = f"the archive is cut short or broken after {read:,} bytes of text: {error}. Fetch the file again."
    return TextRange(file, position, bytes(data), fault=("broken_archive", message))


def _oversized(file: InputFile, position: int, head: bytes, source: SourceConfig, lines: int = 0) -> TextRange:
    if position == 0 and head.startswith(BOM):
        position, head = len(BOM), head[len(BOM) :]
    return TextRange(file, position, head[: 4 * EXCERPT], fault=("oversized", oversized_message(source)), lines=lines)


def oversized_message(source: SourceConfig) -> str:
    """Says why a document is too large to be read."""
    return f"longer than max_document_mb = {source.max_document_mb:g} of the source {source.name!r} allows"


def _skip_document(buffer: bytearray, chunks: Iterator[bytes | Exception], kind: str) -> tuple[int, int, bool, Exception | None]:
    """Reads on to the end of the document in `buffer`, and leaves there what follows.

    Returns:
      bytes and lines passed over, whether what was read on is blank, and the exception if the stream broke meanwhile.
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
    """Where the last document that may be incomplete begins; 0 if that is the only one. Bytes before `searched` hold no boundary."""
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
    """Finds where the documents of a text range begin and end, line ends left out.

    Blank lines hold no document, except that `lines` and `text` keep theirs.
    """
    if kind == "text":
        return np.zeros(1, dtype=np.int64), np.array([len(buffer)], dtype=np.int64)
    newlines = np.flatnonzero(buffer == NEWLINE)
    starts = np.concatenate([[0], newlines + 1])
    ends = np.concatenate([newlines, [len(buffer)]])
    if starts[-1] == len(buffer):  # a final newline ends the last line, it does not begin another
        starts, ends = starts[:-1], ends[:-1]
    ends = ends - ((ends > starts) & (buffer[np.maximum(ends, 1) - 1] == 0x0D))
    if kind == "lines":
        return starts, ends
    full = ~_blank(buffer, starts, ends)
    if kind == "paragraphs" and len(full):
        first = full & ~np.concatenate([[False], full[:-1]])
        last = full & ~np.concatenate([full[1:], [False]])
        return starts[first], ends[last]
    return starts[full], ends[full]


def _blank(buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which lines hold nothing but white space. Few lines begin with white space, so only those are read through."""
    blank: npt.NDArray[np.bool_] = starts == ends
    suspects = np.flatnonzero(~blank)
    suspects = suspects[np.isin(buffer[starts[suspects]], _BLANKS)]
    for i in suspects:
        blank[i] = not buffer[starts[i] : ends[i]].tobytes().strip()
    return blank


def gather(buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Copies some ranges end to end."""
    inside = np.zeros(len(buffer) + 1, dtype=np.int8)
    np.add.at(inside, starts, 1)
    np.add.at(inside, ends, -1)
    gathered: npt.NDArray[np.uint8] = buffer[np.cumsum(inside[:-1], dtype=np.int8).view(bool)]
    return gathered


class LineCounter:
    """Counts lines up to ever later bytes, each byte looked at once."""

    def __init__(self, data: bytes) -> None:
        self.data, self.lines, self._seen = data, 0, 0

    def advance(self, position: int) -> None:
        """Counts the line ends up to a position of the buffer."""
        self.lines += self.data.count(b"\n", self._seen, position)
        self._seen = position
