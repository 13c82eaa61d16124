"""Arrow IPC: streams (what Hugging Face `datasets` keeps on disk) and files (Feather 2); a document's position is the number of its row.

A file is a stream between a magic word and a footer that is not needed here: both are read front to back, so that a file that is cut short
gives every batch before the cut. A file range begins and ends between batches. The layout is that of Arrow's columnar format
specification, "Encapsulated message format".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO, Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.inputs import FileRange, InputFile
from tokenreel.sources.readers import columns
from tokenreel.sources.readers.rows import Rows, damaged
from tokenreel.sources.readers.unreadable import errors, first_line, reraise_reading
from tokenreel.storage import files

_MAGIC = b"ARROW1"
_FILE_HEAD = 8
_CONTINUATION = b"\xff\xff\xff\xff"
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_MOST_METADATA = 1 << 28


def cut_file(file: InputFile, block_bytes: int) -> list[FileRange]:
    """Cuts a local file between record batches into ranges of about `block_bytes`.

    Leaves a file whole that lies in a bucket, where looking at every batch would take a request each, and a file with dictionaries, which
    a reader needs from the start.
    """
    whole = [FileRange(file)]
    if files.is_remote(file.path):
        return whole
    found = []
    start, first_row, row = 0, 0, 0
    with files.open_read(file.path, file.generation) as stream:
        try:
            for kind, begin, end, rows in _messages(stream):
                if kind == _DICTIONARY:
                    return whole
                if kind == _BATCH:
                    if begin > start > 0 and end - start > block_bytes:
                        found.append(FileRange(file, start, begin, first_row))
                        start, first_row = begin, row
                    start = start or begin
                    row += rows
        except errors():  # the reader of the last range meets the damage and reports it
            if not start:
                return whole
    return [*found, FileRange(file, start, file.size, first_row)] if start else whole


def read(stream: IO[bytes], file_range: FileRange, source: SourceConfig, part_bytes: int) -> Iterator[Rows]:
    """Reads the record batches of a file range. A batch that cannot be read is one fault, and so is all that follows it.

    Raises:
      SourceError: a column is missing or of a wrong type.
    """
    import pyarrow as pa

    file, row = file_range.file, file_range.first_row
    spliced = _Spliced(stream, file_range)
    try:
        spliced.begin()
        schema = pa.ipc.open_stream(spliced).schema
    except errors() as error:
        reraise_reading(error, file)
        yield damaged(file, row, f"{file.name}: no Arrow stream or file ({first_line(error)}). Fetch the file again.")
        return
    columns.check(schema, source, file)
    roots = {schema.get_field_index(name) if name in schema.names else _root(schema, name) for name in columns.wanted(source)}
    try:
        spliced.begin()
        reader = pa.ipc.open_stream(spliced, options=pa.ipc.IpcReadOptions(included_fields=sorted(roots), use_threads=False))
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                break
            for start in range(0, batch.num_rows, _rows_at_once(batch, part_bytes)):
                part = batch.slice(start, _rows_at_once(batch, part_bytes))
                yield columns.rows(part, file, source, row + start, trusted=False)
            row += batch.num_rows
        problem = "" if spliced.ended_well else "the file ends where a batch or the end mark should follow"
    except errors() as error:
        reraise_reading(error, file)
        problem = first_line(error)
    if problem:
        yield damaged(file, row, f"{file.name}: row {row:,} and those after it cannot be read: {problem}. Fetch the file again.")


def _rows_at_once(batch: Any, part_bytes: int) -> int:
    rows = int(batch.num_rows)
    return max(1, min(rows, rows * part_bytes // max(1, int(batch.nbytes))))


def _root(schema: Any, path: str) -> int:
    parts = path.split(".")
    return next(int(i) for count in range(len(parts), 0, -1) if (i := schema.get_field_index(".".join(parts[:count]))) >= 0)


def _messages(stream: IO[bytes]) -> Iterator[tuple[int, int, int, int]]:
    """Yields (kind, first byte, end, rows) of each message from the start of a file on, without reading bodies.

    Raises:
      ValueError, struct.error: the bytes are no message, or the file ends inside one.
    """
    head = stream.read(_FILE_HEAD)
    at = _FILE_HEAD if head.startswith(_MAGIC) else 0
    size = stream.seek(0, 2)
    while at < size:
        stream.seek(at)
        prefix = stream.read(8)
        length = _metadata_length(prefix)
        if length == 0:
            return
        kind, body, rows = _describe(stream.read(length))
        end = at + 8 + length + body
        if end > size:
            raise ValueError("the file ends inside a message")
        yield kind, at, end, rows
        at = end


def _metadata_length(prefix: bytes) -> int:
    if len(prefix) < 8 or prefix[:4] != _CONTINUATION:
        raise ValueError("no message begins here")
    (length,) = struct.unpack("<i", prefix[4:])
    if not 0 <= length < _MOST_METADATA:
        raise ValueError(f"a message's description has an impossible length of {length:,} bytes")
    return int(length)


def _describe(data: bytes) -> tuple[int, int, int]:
    """Kind, bytes of the body, and rows of a message: three fields of two flatbuffers."""
    (message,) = struct.unpack_from("<I", data)
    kind_at, header_at, body_at = (_field(data, message, index) for index in (1, 2, 3))
    kind = data[kind_at] if kind_at else 0
    body = struct.unpack_from("<q", data, body_at)[0] if body_at else 0
    rows = 0
    if kind == _BATCH and header_at:
        rows_at = _field(data, header_at + struct.unpack_from("<I", data, header_at)[0], 0)
        rows = struct.unpack_from("<q", data, rows_at)[0] if rows_at else 0
    if body < 0 or rows < 0:
        raise ValueError("a message has a negative size")
    return kind, body, rows


def _field(data: bytes, table: int, index: int) -> int:
    """Where a field of a flatbuffer's table lies; 0 if it is left out."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    (vtable_bytes,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * index >= vtable_bytes:
        return 0
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * index)
    return table + int(offset) if offset else 0


class _Spliced:
    """Joins the schema and the batches of a file range to one stream that can only be read on."""

    def __init__(self, stream: IO[bytes], file_range: FileRange) -> None:
        self._stream, self._file_range = stream, file_range
        self.closed = False

    def begin(self) -> None:
        """Goes back to the schema."""
        stream, file_range = self._stream, self._file_range
        stream.seek(0)
        at = _FILE_HEAD if stream.read(_FILE_HEAD).startswith(_MAGIC) else 0
        self._schema = b""
        self._left = -1
        self.ended_well = file_range.end is not None and file_range.end < file_range.file.size  # only the last range has the end mark
        if file_range.start:
            stream.seek(at)
            prefix = stream.read(8)
            self._schema = prefix + stream.read(_metadata_length(prefix))
            at = file_range.start
        if file_range.end is not None:
            self._left = file_range.end - at
        stream.seek(at)

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes."""
        if self._schema:
            data, self._schema = self._schema[:size], self._schema[size:]
            return data
        if self._left >= 0:
            size = min(size, self._left)
            self._left -= size
        data = self._stream.read(size)
        if size == 4 and data == bytes(4):  # the end mark: nothing else is read in fours, but lengths and prefixes that are not 0
            self.ended_well = True
        return data

    def readable(self) -> bool:
        """Says that it can be read."""
        return True

    def close(self) -> None:
        """Leaves the file open: it is not this object's."""
