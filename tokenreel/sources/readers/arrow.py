"""Arrow IPC: streams (what Hugging Face `datasets` keeps on disk) and files (Feather 2); a document's position is the number of its row.

A file is a stream between a magic word and a footer: both are read front to back, message by message, so that a file that is cut short
gives every batch before the cut, and a damaged batch costs no other. The footer is needed where a file's first message is not framed as one
(Polars). A file range begins and ends between messages. The layout is that of Arrow's columnar format specification, "Encapsulated message
format" and "IPC File Format".
"""

from __future__ import annotations

import dataclasses
import struct
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources import part_bounds
from tokenreel.sources.inputs import FileRange, InputFile
from tokenreel.sources.readers import columns
from tokenreel.sources.readers.rows import Rows, damaged
from tokenreel.sources.readers.unreadable import errors, first_line, reraise_reading
from tokenreel.storage import files
from tokenreel.storage.files import Readable

_MAGIC = b"ARROW1"
_FILE_HEAD = 8
_CONTINUATION = b"\xff\xff\xff\xff"
_END_MARK = _CONTINUATION + bytes(4)
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_MOST_METADATA = 1 << 28
_MOST_ROWS = 1 << 40
_MOST_PADDING = 64  # zeros between the end mark and the footer, or the end
_BLOCK = struct.Struct("<qi4xq")  # where a message lies, as the footer has it: first byte, bytes of its description and of its body


class _Message(NamedTuple):
    """One message of a file.

    Attributes:
      kind: schema, dictionary or batch.
      start: its first byte in the file.
      end: the byte behind its last.
      rows: how many a batch has.
      head: the prefix and the description: all but the body.
    """

    kind: int
    start: int
    end: int
    rows: int
    head: bytes


def cut_file(file: InputFile, block_bytes: int) -> list[FileRange]:
    """Cuts a local file between record batches into ranges of about `block_bytes`.

    Leaves a file whole that lies in a bucket, where looking at every batch would take a request each, and a file with dictionaries, which
    a reader needs from the start.
    """
    whole = [FileRange(file)]
    if files.is_remote(file.path):
        return whole
    import pyarrow as pa

    found = []
    start, first_row, row = 0, 0, 0
    with files.open_read(file.path, file.generation, file.size) as stream:
        try:
            pa.ipc.read_schema(pa.py_buffer(_schema(stream, file)))  # without one the file is a fault, and not each range of it
            for message in _messages(stream, FileRange(file)):
                if message.kind == _DICTIONARY:
                    return whole
                if message.kind == _BATCH:
                    if message.start > start > 0 and message.end - start > block_bytes:
                        found.append(FileRange(file, start, message.start, first_row))
                        start, first_row = message.start, row
                    start = start or message.start
                    row += message.rows
        except errors():  # the reader of the last range meets the damage and reports it
            if not start:
                return whole
    return [*found, FileRange(file, start, file.size, first_row)] if start else whole


def lacks_end_mark(file: InputFile) -> bool:
    """Tells of a stream that does not end with the mark of its end; a file has a footer instead, and four zeros may end a batch too.

    Raises:
      OSError: the file cannot be read.
    """
    with files.open_read(file.path, file.generation, file.size) as stream:
        head = stream.read(len(_CONTINUATION))
        stream.seek(max(0, file.size - len(_END_MARK)))
        return head == _CONTINUATION and stream.read() != _END_MARK


def count_rows(file: InputFile) -> int:
    """Counts the rows of a file from the descriptions of its batches, up to where they can be read.

    Raises:
      OSError: the file cannot be read.
    """
    rows = 0
    with files.open_read(file.path, file.generation, file.size) as stream:
        try:
            for message in _messages(stream, FileRange(file)):
                rows += message.rows
        except (ValueError, LookupError, struct.error):
            pass
    return rows


def owned_bytes(stream: Readable, file_range: FileRange) -> list[tuple[int, int]]:
    """Says which bytes of its file a range owns: its record batches, and what stands in front of all, which every range needs."""
    assert file_range.end is not None
    try:
        starts = (message.start for message in _messages(stream, FileRange(file_range.file)) if message.kind == _BATCH)
        return [(0, next(starts, 0)), (file_range.start, file_range.end)]
    except errors() as error:
        reraise_reading(error, file_range.file)
        return []


def read(stream: Readable, file_range: FileRange, source: SourceConfig, part_bytes: int) -> Iterator[Rows]:
    """Reads the record batches of a file range. A batch that cannot be read is one fault, and so is all behind a message that is none.

    Raises:
      SourceError: a column is missing or of a wrong type.
    """
    import pyarrow as pa

    file, row = file_range.file, file_range.first_row
    end, behind = file.size if file_range.end is None else file_range.end, file_range.start  # of the range, and of what was read of it
    try:
        first = _schema(stream, file)
        schema = pa.ipc.read_schema(pa.py_buffer(first))
        columns.check(schema, source, file)
    except errors() as error:
        reraise_reading(error, file)
        told = f"{file.name}: no Arrow stream or file ({first_line(error)}). Fetch the file again."
        yield damaged(file, row, told, unread_bytes=end - file_range.start)
        return
    roots = {schema.get_field_index(name) if name in schema.names else _root(schema, name) for name in columns.wanted(source)}
    batches = _Batches(first, sorted(roots))
    try:
        for message in _messages(stream, file_range):
            if message.kind == _DICTIONARY:
                batches.add_dictionary(message.head + _body(stream, message))
            if message.kind != _BATCH:
                continue
            try:
                batch = batches.read(message.head, _body(stream, message))
                columns.validate(batch, source)
            except errors() as error:
                reraise_reading(error, file)
                told = f"{file.name}: {columns.unreadable(row, message.rows, error)}"
                yield damaged(file, row, told, message.rows, unread_bytes=message.end - message.start)
            else:
                at_once = _rows_at_once(batch, part_bytes)
                for start in range(0, batch.num_rows, at_once):
                    found = columns.rows(batch.slice(start, at_once), file, source, row + start)
                    yield dataclasses.replace(found, scale=(message.end - message.start) / batch.num_rows)
            row, behind = row + message.rows, message.end
    except errors() as error:
        reraise_reading(error, file)
        problem = f"{file.name}: row {row:,} and those after it cannot be read: {first_line(error)}. Fetch the file again."
        yield damaged(file, row, problem, unread_bytes=max(0, end - behind))


class _Batches:
    """Decodes record batches, each by itself: after one that is damaged, the decoder is made anew.

    Args:
      schema: the schema's message.
      fields: numbers of the fields to read.
    """

    def __init__(self, schema: bytes, fields: list[int]) -> None:
        self._before = [schema]  # what a new decoder has to read first
        self._fields = fields
        self._reader: Any = None

    def add_dictionary(self, message: bytes) -> None:
        """Takes a dictionary, which the batches behind it need."""
        self._before.append(message)
        if self._reader is not None:
            self._fed.append(message)

    def read(self, *message: bytes) -> Any:
        """Decodes the message of a batch, given in pieces, to a `pyarrow.RecordBatch`. Its buffers are not checked.

        Raises:
          Exception: one of `errors()`.
        """
        import pyarrow as pa

        try:
            if self._reader is None:
                self._fed = _Fed([*self._before, *message])
                options = pa.ipc.IpcReadOptions(included_fields=self._fields, use_threads=False)
                self._reader = pa.ipc.open_stream(self._fed, options=options)
            else:
                self._fed.extend(message)
            return self._reader.read_next_batch()
        except StopIteration:
            self._reader = None
            raise ValueError("the message ends early") from None
        except BaseException:
            self._reader = None
            raise


class _Fed(deque[bytes]):
    """Pieces of messages as a stream that can only be read on; a piece that is asked for as a whole is handed over without a copy."""

    closed = False

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes, of one piece."""
        while self and not self[0]:
            self.popleft()
        if not self or size == 0:
            return b""
        piece = self.popleft()
        if 0 <= size < len(piece):
            self.appendleft(piece[size:])
            piece = piece[:size]
        return piece

    def readable(self) -> bool:
        """Says that it can be read."""
        return True

    def close(self) -> None:
        """Does nothing."""


def _rows_at_once(batch: Any, part_bytes: int) -> int:
    rows = int(batch.num_rows)
    return max(1, min(rows, part_bounds.MOST_DOCUMENTS, rows * part_bytes // max(1, int(batch.nbytes))))


def _root(schema: Any, path: str) -> int:
    parts = path.split(".")
    return next(int(i) for count in range(len(parts), 0, -1) if (i := schema.get_field_index(".".join(parts[:count]))) >= 0)


def _schema(stream: Readable, file: InputFile) -> bytes:
    """Reads the message of the schema, which is the first one, or of the footer.

    Raises:
      Exception: one of `errors()`.
    """
    import pyarrow as pa

    if _is_indexed(stream):
        schema = pa.ipc.open_file(stream).schema
        stream.seek(0)
        return bytes(schema.serialize())
    first = next(_messages(stream, FileRange(file)), None)
    if first is None or first.kind != _SCHEMA:
        raise ValueError("no schema begins it")
    return first.head


def _is_indexed(stream: Readable) -> bool:
    """Tells of a file whose messages only the footer can find: its first one is not framed as the others are."""
    stream.seek(0)
    head = stream.read(_FILE_HEAD + 4)
    return head.startswith(_MAGIC) and head[_FILE_HEAD:] != _CONTINUATION


def _messages(stream: Readable, file_range: FileRange) -> Iterator[_Message]:
    """Yields the messages of a file range without reading their bodies; the stream then stands where the body begins.

    Raises:
      ValueError, struct.error: the bytes are no message, the file ends inside one, or not as it should.
    """
    size = file_range.file.size
    last = size if file_range.end is None else file_range.end
    stream.seek(0)
    is_file = stream.read(_FILE_HEAD).startswith(_MAGIC)
    footer = _footer(stream, size) if is_file else None
    if is_file and footer and _is_indexed(stream):
        for place in _indexed(stream, *footer):
            if file_range.start <= place < last:
                yield _message(stream, place, footer[0])
        return
    at = file_range.start or (_FILE_HEAD if is_file else 0)
    end = size if footer is None else footer[0]  # where messages must end
    while at < last:
        stream.seek(at)
        prefix = stream.read(8)
        if prefix[:4] == bytes(4) or prefix == _END_MARK:  # the mark of the end: in its old form, and as it is now
            at += 8 if prefix[:4] == _CONTINUATION else 4
            break
        if is_file and at == end:
            break
        message = _message(stream, at, end)
        yield message
        at = message.end
    if last == size:
        _check_end(stream, at, end, is_file=is_file, has_footer=footer is not None)


def _check_end(stream: Readable, at: int, end: int, *, is_file: bool, has_footer: bool) -> None:
    """Checks what follows the last message of a file.

    Raises:
      ValueError: a file has no footer, or other bytes follow.
    """
    if is_file and not has_footer:
        raise ValueError("the file ends without its footer, where a batch or the end mark should follow")
    stream.seek(min(at, end))
    left = end - at
    if left > 0 and (left > _MOST_PADDING or any(stream.read(left))):
        raise ValueError(f"{left:,} bytes follow the end mark, of another file or a damaged batch; part files that were joined")


def _message(stream: Readable, at: int, end: int) -> _Message:
    """Reads the description of the message at a byte.

    Raises:
      ValueError, struct.error: there is none, or it goes on behind `end`.
    """
    stream.seek(at)
    prefix = stream.read(4)
    if prefix == _CONTINUATION:
        prefix += stream.read(4)
    if len(prefix) < 4:
        raise ValueError("the file ends where a batch or the end mark should follow")
    (length,) = struct.unpack("<i", prefix[-4:])
    if not 0 < length < _MOST_METADATA:
        raise ValueError(f"no message begins at byte {at:,}: its description has an impossible length of {length:,} bytes")
    head = prefix + stream.read(length)
    kind, body, rows = _describe(head[len(prefix) :])
    if at + len(prefix) + length + body > end:
        raise ValueError("the file ends inside a message")
    return _Message(kind, at, at + len(prefix) + length + body, rows, head)


def _body(stream: Readable, message: _Message) -> bytes:
    """Reads the body of the message whose description was read last.

    Raises:
      ValueError: the file ends inside it.
    """
    size = message.end - message.start - len(message.head)
    body = stream.read(size)
    if len(body) != size:
        raise ValueError("the file ends inside a message")
    return body


def _footer(stream: Readable, size: int) -> tuple[int, bytes] | None:
    """Finds the footer of a file: its first byte and its content; None where there is none."""
    tail = 4 + len(_MAGIC)
    if size < _FILE_HEAD + tail:
        return None
    stream.seek(size - tail)
    length_and_magic = stream.read(tail)
    (length,) = struct.unpack_from("<i", length_and_magic)
    start = size - tail - length
    if length_and_magic[4:] != _MAGIC or length <= 0 or start < _FILE_HEAD:
        return None
    stream.seek(start)
    return start, stream.read(length)


def _indexed(stream: Readable, start: int, footer: bytes) -> list[int]:
    """Lists the first bytes of the messages that a footer names: dictionaries, which may lie anywhere, then batches in their order.

    Raises:
      ValueError, struct.error: the footer is damaged.
    """
    (table,) = struct.unpack_from("<I", footer)
    places = []
    for index in (2, 3):  # dictionaries, batches
        if at := _field(footer, table, index):
            vector = at + struct.unpack_from("<I", footer, at)[0]
            (count,) = struct.unpack_from("<I", footer, vector)
            places += [_BLOCK.unpack_from(footer, vector + 4 + _BLOCK.size * i)[0] for i in range(min(count, len(footer)))]
    if any(not _FILE_HEAD <= place < start for place in places) or len(set(places)) < len(places):
        raise ValueError("the footer names messages that do not lie in the file")
    return places


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
    if body < 0 or not 0 <= rows < _MOST_ROWS:
        raise ValueError(f"a message claims {rows:,} rows in {body:,} bytes")
    return kind, body, rows


def _field(data: bytes, table: int, index: int) -> int:
    """Where a field of a flatbuffer's table lies; 0 if it is left out."""
    vtable = table - int(struct.unpack_from("<i", data, table)[0])
    (vtable_bytes,) = struct.unpack_from("<H", data, vtable)
    if 4 + 2 * index >= vtable_bytes:
        return 0
    (offset,) = struct.unpack_from("<H", data, vtable + 4 + 2 * index)
    return table + int(offset) if offset else 0
