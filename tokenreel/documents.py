"""Documents out of blocks: reading, decompressing, cutting, parsing.

A block is read into a few large arrays: all its text end to end, and one number a document for everything else. What cannot be read becomes
a `Fault` with its place and reason, and the documents around it are kept.
"""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import itertools
import json
import re
import reprlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.readers import arrow, delimited, examples, parquet
from tokenreel.readers.rows import Rows
from tokenreel.sources import Block, InputFile, Piece
from tokenreel.storage import files
from tokenreel.storage.decompression import decompress

_READ_BYTES = 1 << 18
_EXCERPT = 200
_BOM = b"\xef\xbb\xbf"
_NEWLINE = 0x0A
_BLANKS = np.frombuffer(b" \t\r\n\v\f", dtype=np.uint8)

# Levels of JSON. Python reads and writes about a thousand, less what is on its stack, and that differs from runner to runner.
_NESTING = 200
_BRACKET_OR_STRING = re.compile(r'[\[\]{}]|"(?:[^"\\]++|\\.)*+"?', flags=re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Fault:
    """A document that could not be read.

    Attributes:
      file: its name in the source.
      position: byte in the (decompressed) file at which the document begins; of Parquet and Arrow files the number of its row, from 0.
      line: line in the file, counted from 1, relative to the first line of the part of the file that was read together; 0 is not known.
      reason: one word for counting.
      message: what is wrong.
      excerpt: the first characters of the document.
    """

    file: str
    position: int
    line: int
    reason: str
    message: str
    excerpt: str


@dataclasses.dataclass
class Documents:
    """The documents of a block or of a part of one.

    Attributes:
      files: names of the files they came from.
      text: [num_bytes] uint8, valid UTF-8, documents end to end.
      offsets: [n + 1] int64 bounds of the documents in `text`.
      file: [n] int32 index into `files`.
      position: [n] int64 byte in the (decompressed) file at which each begins, or the number of its row.
      key: [n] uint64 hash of (source, name of the document).
      ids: the names that an id field gave, or None where the name is `path#position`.
      metadata: JSON of the kept fields of each document, or None.
      order: [n] uint64 that sort as the values of the order field do, or None.
      faults: what could not be read.
      lines: lines read from each of `files`.
    """

    files: list[str]
    text: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    file: npt.NDArray[np.int32]
    position: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]
    ids: list[str] | None
    metadata: list[str] | None
    order: npt.NDArray[np.uint64] | None
    faults: list[Fault]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.position)

    def set_aside(self, problems: Mapping[int, tuple[str, str]]) -> None:
        """Adds documents that turn out to be unusable, by index with a word to count by and what is wrong, to the faults."""
        for i, (reason, message) in problems.items():
            data = self.text[self.offsets[i] : min(self.offsets[i + 1], self.offsets[i] + 4 * _EXCERPT)].tobytes()
            excerpt = data.decode("utf-8", "ignore")[:_EXCERPT]
            self.faults.append(Fault(self.files[self.file[i]], int(self.position[i]), 0, reason, message, excerpt))
        self.faults.sort(key=lambda fault: (self.files.index(fault.file), fault.position))


@dataclasses.dataclass
class _Span:
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


def read_documents(block: Block, source: SourceConfig, part_bytes: int) -> Iterator[Documents]:
    """Reads a block in parts of about `part_bytes` of text: one part unless a compressed file holds more.

    Raises:
      SourceError: a file vanished or changed since the listing, or cannot be opened.
    """
    gathered: list[_Span | Rows] = []
    gathered_bytes = 0
    for piece in block.pieces:
        for span in _spans(piece, source, part_bytes):
            if gathered and gathered_bytes + span.size > part_bytes * 1.5:
                yield _parse(gathered, source)
                gathered, gathered_bytes = [], 0
            gathered.append(span)
            gathered_bytes += span.size
        if piece.file.generation is None:  # an object was read in the generation that was listed
            piece.file.check_unchanged()
    yield _parse(gathered, source)


def _spans(piece: Piece, source: SourceConfig, part_bytes: int) -> Iterator[_Span | Rows]:
    kind, file = source.format, piece.file
    try:
        with files.open_read(file.path, file.generation) as stream:
            if kind in ("parquet", "arrow"):
                yield from (parquet if kind == "parquet" else arrow).read(stream, piece, source, part_bytes)
            elif kind in ("tfrecord", "tfds"):
                yield from examples.read(_chunks(stream, file), file, source, part_bytes)
            elif kind in ("csv", "tsv"):
                yield from _delimited_rows(stream, piece, source, part_bytes)
            elif file.compressed:
                yield from _stream_spans(_chunks(stream, file), file, source, part_bytes)
            else:
                first, after = (0, file.size) if piece.end is None else _range(stream, piece, paragraphs=kind == "paragraphs")
                if after - first > max(source.max_document_bytes, 2 * part_bytes):  # it may hold an oversized document
                    yield from _stream_spans(_read_range(stream, first, after), file, source, part_bytes, first)
                else:
                    stream.seek(first)
                    yield _Span(file, first, stream.read(max(0, after - first)))
    except FileNotFoundError:
        piece.file.check_unchanged()
        raise
    except OSError as error:
        raise SourceError(f"{piece.file.path}: {error.strerror or error}. Check its permissions, or leave it out of the source.") from error


def _chunks(stream: IO[bytes], file: InputFile) -> Iterator[bytes | Exception]:
    """The bytes of a file, decompressed if need be; last the exception if that fails."""
    if file.compressed:
        return decompress(stream, file.name[file.name.rindex(".") :])
    return iter(lambda: stream.read(_READ_BYTES), b"")


def _delimited_rows(stream: IO[bytes], piece: Piece, source: SourceConfig, part_bytes: int) -> Iterator[Rows]:
    if piece.end is None:
        yield from delimited.read(_chunks(stream, piece.file), piece.file, source, part_bytes)
        return
    header = delimited.header_of(_chunks(stream, piece.file), piece.file, source) if piece.start else None
    first, after = _range(stream, piece, paragraphs=False)
    if piece.start == 0 or header is not None:  # without a header every row is still to come, in a later piece
        yield from delimited.read(_read_range(stream, first, after), piece.file, source, part_bytes, position=first, header=header)


def _range(stream: IO[bytes], piece: Piece, *, paragraphs: bool) -> tuple[int, int]:
    """Where the documents that begin in [start, end) lie: from the first one on, and past the end to the end of the last one."""
    assert piece.end is not None
    begins = _paragraph_begins if paragraphs else _line_begins
    return begins(stream, piece.start, piece.file.size), begins(stream, piece.end, piece.file.size)


def _line_begins(stream: IO[bytes], position: int, size: int) -> int:
    """The first byte at or after `position` that begins a line."""
    if position == 0:
        return 0
    stream.seek(position - 1)
    at = position - 1
    while chunk := stream.read(_READ_BYTES):
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
        chunk = stream.read(_READ_BYTES)
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


def _read_range(stream: IO[bytes], start: int, end: int) -> Iterator[bytes]:
    """Yields the bytes [start, end) of a file in chunks."""
    stream.seek(start)
    while start < end and (chunk := stream.read(min(_READ_BYTES, end - start))):
        yield chunk
        start += len(chunk)


def _stream_spans(
    chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig, part_bytes: int, position: int = 0
) -> Iterator[_Span]:
    """Cuts a stream at ends of documents into spans of about `part_bytes`; holds no more of an oversized document than shows that it is."""
    kind, limit = source.format, source.max_document_bytes
    buffer = bytearray()
    searched = 0
    for chunk in chunks:
        if isinstance(chunk, Exception):
            # The last document may be cut anywhere, so it cannot be trusted; those before it were read whole.
            cut = 0 if kind == "text" else _last_boundary(buffer, kind, 0)
            if cut:
                yield _Span(file, position, bytes(buffer[:cut]))
            yield _broken(file, position + cut, buffer[cut:], position + len(buffer), chunk)
            return
        buffer += chunk
        if kind == "text" and len(buffer) > limit + len(_BOM):
            yield _oversized(file, position, bytes(buffer), source)
            return  # the rest of the file is the rest of the document
        if kind != "text" and len(buffer) >= part_bytes:
            cut = _last_boundary(buffer, kind, searched)
            searched = max(0, len(buffer) - 1)
            if cut:
                yield _Span(file, position, bytes(buffer[:cut]))
                del buffer[:cut]
                position, searched = position + cut, 0
            elif len(buffer) > limit + len(_BOM) + 1:  # a line's carriage return is not part of it
                head, blank = bytes(buffer[: 4 * _EXCERPT]), not buffer.strip()
                skipped, lines, still_blank, problem = _skip_document(buffer, chunks, kind)
                if problem is not None:
                    yield _broken(file, position, head, position + skipped, problem)
                    return
                if kind == "lines" or not (blank and still_blank):
                    yield _oversized(file, position, head, source, lines)
                else:
                    yield _Span(file, position, b"\n" * lines)
                position, searched = position + skipped, 0
    yield _Span(file, position, bytes(buffer))


def _broken(file: InputFile, position: int, data: bytes | bytearray, read: int, error: Exception) -> _Span:
    message = f"the archive is cut short or broken after {read:,} bytes of text: {error}. Fetch the file again."
    return _Span(file, position, bytes(data), fault=("broken_archive", message))


def _oversized(file: InputFile, position: int, head: bytes, source: SourceConfig, lines: int = 0) -> _Span:
    if position == 0 and head.startswith(_BOM):
        position, head = len(_BOM), head[len(_BOM) :]
    return _Span(file, position, head[: 4 * _EXCERPT], fault=("oversized", _oversized_message(source)), lines=lines)


def _oversized_message(source: SourceConfig) -> str:
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


def _parse(spans: Sequence[_Span | Rows], source: SourceConfig) -> Documents:
    parser = _Parser(source)
    for span in spans:
        if isinstance(span, _Span):
            parser.add(span)
        else:
            parser.add_rows(span)
    return parser.finish()


class _Parser:
    """Collects the documents of some spans."""

    def __init__(self, source: SourceConfig) -> None:
        self.source = source
        self.files: list[str] = []
        self.lines: list[int] = []
        self.texts: list[npt.NDArray[np.uint8]] = []
        self.lengths: list[npt.NDArray[np.int64]] = []
        self.file: list[npt.NDArray[np.int32]] = []
        self.position: list[npt.NDArray[np.int64]] = []
        self.key: list[npt.NDArray[np.uint64]] = []
        self.ids: list[str] = []
        self.metadata: list[str] = []
        self.order: list[int] = []
        self.faults: list[Fault] = []

    def enter(self, file: InputFile) -> None:
        if not self.files or self.files[-1] != file.name:
            self.files.append(file.name)
            self.lines.append(0)

    def add(self, span: _Span) -> None:
        self.enter(span.file)
        if span.fault:
            self.fault(span.position, *span.fault, span.data)
            self.lines[-1] += span.lines
            return
        data, position = span.data, span.position
        if position == 0 and data.startswith(_BOM):
            data, position = data[len(_BOM) :], len(_BOM)
        buffer = np.frombuffer(data, dtype=np.uint8)
        starts, ends = _bounds(buffer, self.source.format)
        faults = len(self.faults)
        starts, ends = self.leave_out_oversized(data, starts, ends, position)
        if self.source.format == "jsonl":
            self.add_json(data, starts, ends, position)
        else:
            keep = self.check_utf8(data, starts, ends, position)
            starts, ends = starts[keep], ends[keep]
            self.append(_gather(buffer, starts, ends), ends - starts, starts + position)
        self.faults[faults:] = sorted(self.faults[faults:], key=lambda fault: fault.position)
        self.lines[-1] += int(np.count_nonzero(buffer == _NEWLINE)) + bool(len(buffer) and buffer[-1] != _NEWLINE)

    def add_rows(self, rows: Rows) -> None:
        """Adds records that a reader of their format found; what is left to do is the same for all formats."""
        self.enter(rows.file)
        first_fault = len(self.faults)
        for found in rows.problems:
            self.fault(found.position, found.reason, found.message, found.excerpt, found.line)
        bad = self.unusable_rows(rows)
        text, offsets = rows.text, rows.offsets
        for i, problem in sorted(bad.items()):
            excerpt = text[offsets[i] : min(offsets[i + 1], offsets[i] + 4 * _EXCERPT)].tobytes()
            self.fault(int(rows.positions[i]), problem.reason, problem.message, excerpt, int(rows.lines[i]))
        self.faults[first_fault:] = sorted(self.faults[first_fault:], key=lambda fault: fault.position)
        keep = np.delete(np.arange(len(rows)), list(bad))
        if bad:
            text, offsets = ragged.take(text, offsets, keep)
        self.append(text, np.diff(offsets), rows.positions[keep])
        if rows.ids is not None:
            self.ids += [str(rows.ids[i]) for i in keep.tolist()]
        if rows.order is not None and self.source.order_field is not None:
            self.order += [order_key(rows.order[i], self.source.order_field) for i in keep.tolist()]
        if rows.metadata is not None:
            self.metadata += [_json(rows.metadata[i]) for i in keep.tolist()]
        self.lines[-1] += rows.total_lines

    def unusable_rows(self, rows: Rows) -> dict[int, _BadDocument]:
        """Which rows are no documents, and why."""
        bad: dict[int, _BadDocument] = {}
        text, offsets = rows.text, rows.offsets
        starts = offsets[:-1][offsets[:-1] < offsets[1:]]
        # Halves of a character at the end of one document and the start of the next would look whole together.
        if not _is_utf8(text.data) or bool(((text[starts] & 0xC0) == 0x80).any()):
            for i, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
                problem = _utf8_problem(text[start:end].tobytes())
                if problem:
                    bad[i] = _BadDocument("invalid_utf8", problem)
        for i in np.flatnonzero(np.diff(offsets) > self.source.max_document_bytes).tolist():
            bad[i] = _BadDocument("oversized", _oversized_message(self.source))
        for i in range(len(rows)) if rows.ids or rows.order else ():
            try:
                if rows.ids and self.source.id_field is not None:
                    _document_id(rows.ids[i], self.source.id_field)
                if rows.order and self.source.order_field is not None:
                    order_key(rows.order[i], self.source.order_field)
            except _BadDocument as problem:
                bad.setdefault(i, problem)
        return bad

    def append(self, text: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> None:
        self.texts.append(text)
        self.lengths.append(lengths)
        self.position.append(positions)
        self.file.append(np.full(len(lengths), len(self.files) - 1, dtype=np.int32))
        if self.source.id_field is None:
            self.key.append(position_keys(self.source.name, self.files[-1], positions))

    def fault(self, position: int, reason: str, message: str, data: bytes, line: int = 0) -> None:
        excerpt = data[: 4 * _EXCERPT].decode("utf-8", "replace")[:_EXCERPT]
        self.faults.append(Fault(self.files[-1], position, self.lines[-1] + line + 1, reason, message, excerpt))

    def leave_out_oversized(
        self, data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], position: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The bounds of the other documents."""
        long = ends - starts > self.source.max_document_bytes
        counter = _LineCounter(data)
        for start in starts[long].tolist():
            counter.advance(start)
            self.fault(start + position, "oversized", _oversized_message(self.source), data[start : start + 4 * _EXCERPT], counter.lines)
        return starts[~long], ends[~long]

    def check_utf8(self, data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], position: int) -> npt.NDArray[np.bool_]:
        """Marks the documents that are UTF-8; the whole span is tried at once first."""
        keep = np.ones(len(starts), dtype=bool)
        if _is_utf8(data):
            return keep
        counter = _LineCounter(data)
        for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            problem = _utf8_problem(data[start:end])
            if problem:
                keep[i] = False
                counter.advance(start)
                self.fault(start + position, "invalid_utf8", problem, data[start:end], counter.lines)
        return keep

    def add_json(self, data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], position: int) -> None:
        import orjson

        source = self.source
        texts: list[bytes] = []
        positions: list[int] = []
        counter = _LineCounter(data)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            line = data[start:end]
            try:
                try:
                    record = orjson.loads(line)
                except orjson.JSONDecodeError:
                    record = _lenient_json(line)
                text, document_id = _fields(record, source)
                encoded = _encode(text)
                if source.metadata_fields:
                    metadata = _json({name: record[name] for name in source.metadata_fields if name in record})
                if source.order_field is not None:
                    self.order.append(order_key(record.get(source.order_field), source.order_field))
            except _BadDocument as bad:
                counter.advance(start)
                self.fault(start + position, bad.reason, bad.message, line, counter.lines)
                continue
            texts.append(encoded)
            positions.append(start + position)
            if document_id is not None:
                self.ids.append(document_id)
            if source.metadata_fields:
                self.metadata.append(metadata)
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        self.append(np.frombuffer(b"".join(texts), dtype=np.uint8), lengths, np.array(positions, dtype=np.int64))

    def finish(self) -> Documents:
        if self.source.id_field is not None:
            name = self.source.name
            self.key = [np.array([keys.key("document", name, document_id) for document_id in self.ids], dtype=np.uint64)]
        lengths = _concatenate(self.lengths, np.int64)
        offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return Documents(
            files=self.files,
            text=_concatenate(self.texts, np.uint8),
            offsets=offsets,
            file=_concatenate(self.file, np.int32),
            position=_concatenate(self.position, np.int64),
            key=_concatenate(self.key, np.uint64),
            ids=self.ids if self.source.id_field is not None else None,
            metadata=self.metadata if self.source.metadata_fields else None,
            order=np.array(self.order, dtype=np.uint64) if self.source.order_field is not None else None,
            faults=self.faults,
            lines=self.lines,
        )


def order_key(value: Any, field: str) -> int:
    """An unsigned 64-bit integer that sorts as a number does, or as the first 8 bytes of a text.

    >>> order_key(-1.5, "n") < order_key(0, "n") < order_key(2, "n"), order_key("a", "n") < order_key("b", "n")
    (True, True)
    """
    if isinstance(value, str):
        return int.from_bytes(_encode(value)[:8].ljust(8, b"\0"), "big")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise _BadDocument("no_order", f"the field {field!r} must hold a number or some text, got {reprlib.repr(value)}")
    try:
        (bits,) = struct.unpack(">Q", struct.pack(">d", float(value)))  # `pack` itself has another error for a whole number too large
    except OverflowError:
        raise _BadDocument("no_order", f"the field {field!r} holds a number beyond all range") from None
    return int(bits) ^ (0xFFFFFFFFFFFFFFFF if bits >> 63 else 1 << 63)


def position_keys(source: str, file: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """The keys of documents that are named by their place: [n] uint64."""
    return keys.mix(keys.mix(positions.astype(np.uint64)) ^ np.uint64(keys.key("document", source, file)))


def _concatenate(parts: list[Any], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)


def _bounds(buffer: npt.NDArray[np.uint8], kind: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where documents begin and end in a span, without the line ends; blank lines hold none, except that `lines` and `text` keep theirs."""
    if kind == "text":
        return np.zeros(1, dtype=np.int64), np.array([len(buffer)], dtype=np.int64)
    newlines = np.flatnonzero(buffer == _NEWLINE)
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


def _gather(buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Copies some ranges end to end."""
    inside = np.zeros(len(buffer) + 1, dtype=np.int8)
    np.add.at(inside, starts, 1)
    np.add.at(inside, ends, -1)
    gathered: npt.NDArray[np.uint8] = buffer[np.cumsum(inside[:-1], dtype=np.int8).view(bool)]
    return gathered


class _LineCounter:
    """Counts lines up to ever later bytes, each byte looked at once."""

    def __init__(self, data: bytes) -> None:
        self.data, self.lines, self._seen = data, 0, 0

    def advance(self, position: int) -> None:
        """Counts the line ends up to a position of the buffer."""
        self.lines += self.data.count(b"\n", self._seen, position)
        self._seen = position


class _BadDocument(Exception):
    """A document that becomes a dead letter, with the reason and what is wrong with it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


def _lenient_json(line: bytes) -> Any:
    """What the strict parser refuses: bad UTF-8 gets its own reason, and NaN, which Python writes, is accepted."""
    problem = _utf8_problem(line)
    if problem:
        raise _BadDocument("invalid_utf8", problem)
    text = line.decode("utf-8-sig")  # of bytes the parser would guess the encoding, and take some for UTF-16
    if _is_deep(text):
        raise _BadDocument("invalid_json", f"nested more than {_NESTING} levels deep")
    try:
        return json.loads(text)
    except ValueError as error:
        raise _BadDocument("invalid_json", str(error)) from None


def _fields(record: Any, source: SourceConfig) -> tuple[str, str | None]:
    """Takes text and document id out of a record.

    Raises:
      BadDocument: one is missing, or no string.
    """
    if not isinstance(record, dict):
        raise _BadDocument(
            "not_an_object", f"the line holds a JSON {type(record).__name__}, not an object with a field {source.text_field!r}"
        )
    if source.text_field not in record:
        raise _BadDocument("no_text", f"no field {source.text_field!r}; the fields are {', '.join(map(repr, record))}"[: 2 * _EXCERPT])
    text = record[source.text_field]
    if not isinstance(text, str):
        raise _BadDocument("text_not_a_string", f"the field {source.text_field!r} holds a {type(text).__name__}, not a string")
    if source.id_field is None:
        return text, None
    return text, _document_id(record.get(source.id_field), source.id_field)


def _document_id(value: Any, field: str) -> str:
    """Turns the value of an id field into a document id.

    Raises:
      BadDocument: it is neither a string nor a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _BadDocument("no_id", f"the field {field!r} must hold a string or a whole number, got {reprlib.repr(value)}")
    _encode(str(value))
    return str(value)


def _json(fields: Mapping[str, Any]) -> str:
    """Kept fields as JSON; what JSON does not know (bytes, times inside of lists) as text."""
    with contextlib.suppress(RecursionError):
        text = json.dumps(fields, sort_keys=True, ensure_ascii=True, default=_as_text)
        if not _is_deep(text):
            return text
    raise _BadDocument("bad_metadata", f"a field of {', '.join(map(repr, fields))} is nested more than {_NESTING} levels deep")


def _is_deep(text: str) -> bool:
    """Whether the brackets of a JSON text lie more than `_NESTING` deep in each other."""
    if text.count("[") + text.count("{") <= _NESTING:
        return False
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(text):
        depth += (match[0] in "[{") - (match[0] in "]}")
        if depth > _NESTING:
            return True
    return False


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _encode(text: str) -> bytes:
    """Turns text into UTF-8; half of a surrogate pair is no text."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _BadDocument("lone_surrogate", f"half of a surrogate pair at character {error.start}: this is no Unicode text") from None


def _is_utf8(data: bytes | memoryview) -> bool:
    """Tells whether bytes are valid UTF-8."""
    try:
        codecs.utf_8_decode(data, "strict", True)
    except UnicodeDecodeError:
        return False
    return True


def _utf8_problem(data: bytes) -> str | None:
    """Says where bytes stop being UTF-8; None where they do not."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start} of the document ({error.reason})"
    return None
