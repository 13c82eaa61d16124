"""Reads the documents and faults of a block, whatever its format."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources.documents import Documents, Fault
from tokenreel.sources.inputs import Block, FileRange, InputFile
from tokenreel.sources.json_lines import lenient_json, parse_json, read_fields
from tokenreel.sources.lines import (
    BOM,
    NEWLINE,
    READ_BYTES,
    LineCounter,
    TextRange,
    cut_stream,
    gather,
    line_bounds,
    locate_documents,
    oversized_message,
    read_range,
)
from tokenreel.sources.readers import arrow, delimited, parquet, tfrecords
from tokenreel.sources.readers.rows import Rows
from tokenreel.sources.values import (
    EXCERPT,
    BadDocument,
    encode_text,
    is_utf8,
    position_keys,
    read_document_id,
    to_sort_value,
    utf8_problem,
)
from tokenreel.storage import files
from tokenreel.storage.decompression import decompress


def read_documents(block: Block, source: SourceConfig, part_bytes: int) -> Iterator[Documents]:
    """Reads a block in parts of about `part_bytes` of text: one part unless a compressed file holds more.

    Raises:
      SourceError: a file vanished or changed since the listing, or cannot be opened.
    """
    gathered: list[TextRange | Rows] = []
    gathered_bytes = 0
    for file_range in block.file_ranges:
        for read in _read_file_range(file_range, source, part_bytes):
            if gathered and gathered_bytes + read.size > part_bytes * 1.5:
                yield _parse(gathered, source)
                gathered, gathered_bytes = [], 0
            gathered.append(read)
            gathered_bytes += read.size
        if file_range.file.generation is None:  # an object was read in the generation that was listed
            file_range.file.check_unchanged()
    yield _parse(gathered, source)


def _read_file_range(file_range: FileRange, source: SourceConfig, part_bytes: int) -> Iterator[TextRange | Rows]:
    kind, file = source.format, file_range.file
    try:
        with files.open_read(file.path, file.generation) as stream:
            if kind in ("parquet", "arrow"):
                yield from (parquet if kind == "parquet" else arrow).read(stream, file_range, source, part_bytes)
            elif kind in ("tfrecord", "tfds"):
                yield from tfrecords.read(_chunks(stream, file), file, source, part_bytes)
            elif kind in ("csv", "tsv"):
                yield from _delimited_rows(stream, file_range, source, part_bytes)
            elif file.compressed:
                yield from cut_stream(_chunks(stream, file), file, source, part_bytes)
            else:
                first, after = (
                    (0, file.size) if file_range.end is None else locate_documents(stream, file_range, paragraphs=kind == "paragraphs")
                )
                if after - first > max(source.max_document_bytes, 2 * part_bytes):  # it may hold an oversized document
                    yield from cut_stream(read_range(stream, first, after), file, source, part_bytes, first)
                else:
                    stream.seek(first)
                    yield TextRange(file, first, stream.read(max(0, after - first)))
    except FileNotFoundError:
        file_range.file.check_unchanged()
        raise
    except OSError as error:
        raise SourceError(
            f"{file_range.file.path}: {error.strerror or error}. Check its permissions, or leave it out of the source."
        ) from error


def _chunks(stream: IO[bytes], file: InputFile) -> Iterator[bytes | Exception]:
    """The bytes of a file, decompressed if need be; last the exception if that fails."""
    if file.compressed:
        return decompress(stream, file.name[file.name.rindex(".") :])
    return iter(lambda: stream.read(READ_BYTES), b"")


def _delimited_rows(stream: IO[bytes], file_range: FileRange, source: SourceConfig, part_bytes: int) -> Iterator[Rows]:
    if file_range.end is None:
        yield from delimited.read(_chunks(stream, file_range.file), file_range.file, source, part_bytes)
        return
    header = delimited.header_of(_chunks(stream, file_range.file), file_range.file, source) if file_range.start else None
    first, after = locate_documents(stream, file_range, paragraphs=False)
    if file_range.start == 0 or header is not None:  # without a header every row is still to come, in a later range
        yield from delimited.read(read_range(stream, first, after), file_range.file, source, part_bytes, position=first, header=header)


def _parse(gathered: Sequence[TextRange | Rows], source: SourceConfig) -> Documents:
    parser = _Parser(source)
    for read in gathered:
        if isinstance(read, TextRange):
            parser.add(read)
        else:
            parser.add_rows(read)
    return parser.finish()


class _Parser:
    """Collects the documents of some text ranges and rows."""

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
        self.sort_value: list[int] = []
        self.faults: list[Fault] = []

    def enter(self, file: InputFile) -> None:
        if not self.files or self.files[-1] != file.name:
            self.files.append(file.name)
            self.lines.append(0)

    def add(self, text_range: TextRange) -> None:
        self.enter(text_range.file)
        if text_range.fault:
            self.fault(text_range.position, *text_range.fault, text_range.data)
            self.lines[-1] += text_range.lines
            return
        data, position = text_range.data, text_range.position
        if position == 0 and data.startswith(BOM):
            data, position = data[len(BOM) :], len(BOM)
        buffer = np.frombuffer(data, dtype=np.uint8)
        starts, ends = line_bounds(buffer, self.source.format)
        faults = len(self.faults)
        starts, ends = self.leave_out_oversized(data, starts, ends, position)
        if self.source.format == "jsonl":
            self.add_json(data, starts, ends, position)
        else:
            keep = self.check_utf8(data, starts, ends, position)
            starts, ends = starts[keep], ends[keep]
            self.append(gather(buffer, starts, ends), ends - starts, starts + position)
        self.faults[faults:] = sorted(self.faults[faults:], key=lambda fault: fault.position)
        self.lines[-1] += int(np.count_nonzero(buffer == NEWLINE)) + bool(len(buffer) and buffer[-1] != NEWLINE)

    def add_rows(self, rows: Rows) -> None:
        """Adds records that a reader of their format found; what is left to do is the same for all formats."""
        self.enter(rows.file)
        first_fault = len(self.faults)
        for found in rows.problems:
            self.fault(found.position, found.reason, found.message, found.excerpt, found.line)
        bad = self.unusable_rows(rows)
        text, offsets = rows.text, rows.offsets
        for i, problem in sorted(bad.items()):
            excerpt = text[offsets[i] : min(offsets[i + 1], offsets[i] + 4 * EXCERPT)].tobytes()
            self.fault(int(rows.positions[i]), problem.reason, problem.message, excerpt, int(rows.lines[i]))
        self.faults[first_fault:] = sorted(self.faults[first_fault:], key=lambda fault: fault.position)
        keep = np.delete(np.arange(len(rows)), list(bad))
        if bad:
            text, offsets = ragged.take(text, offsets, keep)
        self.append(text, np.diff(offsets), rows.positions[keep])
        if rows.ids is not None:
            self.ids += [str(rows.ids[i]) for i in keep.tolist()]
        if rows.sort_values is not None and self.source.order_field is not None:
            self.sort_value += [to_sort_value(rows.sort_values[i], self.source.order_field) for i in keep.tolist()]
        if rows.metadata is not None:
            self.metadata += [parse_json(rows.metadata[i]) for i in keep.tolist()]
        self.lines[-1] += rows.total_lines

    def unusable_rows(self, rows: Rows) -> dict[int, BadDocument]:
        """Which rows are no documents, and why."""
        bad: dict[int, BadDocument] = {}
        text, offsets = rows.text, rows.offsets
        starts = offsets[:-1][offsets[:-1] < offsets[1:]]
        # Halves of a character at the end of one document and the start of the next would look whole together.
        if not is_utf8(text.data) or bool(((text[starts] & 0xC0) == 0x80).any()):
            for i, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
                problem = utf8_problem(text[start:end].tobytes())
                if problem:
                    bad[i] = BadDocument("invalid_utf8", problem)
        for i in np.flatnonzero(np.diff(offsets) > self.source.max_document_bytes).tolist():
            bad[i] = BadDocument("oversized", oversized_message(self.source))
        for i in range(len(rows)) if rows.ids or rows.sort_values else ():
            try:
                if rows.ids and self.source.id_field is not None:
                    read_document_id(rows.ids[i], self.source.id_field)
                if rows.sort_values and self.source.order_field is not None:
                    to_sort_value(rows.sort_values[i], self.source.order_field)
            except BadDocument as problem:
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
        excerpt = data[: 4 * EXCERPT].decode("utf-8", "replace")[:EXCERPT]
        self.faults.append(Fault(self.files[-1], position, self.lines[-1] + line + 1, reason, message, excerpt))

    def leave_out_oversized(
        self, data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], position: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The bounds of the other documents."""
        long = ends - starts > self.source.max_document_bytes
        counter = LineCounter(data)
        for start in starts[long].tolist():
            counter.advance(start)
            self.fault(start + position, "oversized", oversized_message(self.source), data[start : start + 4 * EXCERPT], counter.lines)
        return starts[~long], ends[~long]

    def check_utf8(self, data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], position: int) -> npt.NDArray[np.bool_]:
        """Marks the documents that are UTF-8; the whole text range is tried at once first."""
        keep = np.ones(len(starts), dtype=bool)
        if is_utf8(data):
            return keep
        counter = LineCounter(data)
        for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            problem = utf8_problem(data[start:end])
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
        counter = LineCounter(data)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            line = data[start:end]
            try:
                try:
                    record = orjson.loads(line)
                except orjson.JSONDecodeError:
                    record = lenient_json(line)
                text, document_id = read_fields(record, source)
                encoded = encode_text(text)
                if source.metadata_fields:
                    metadata = parse_json({name: record[name] for name in source.metadata_fields if name in record})
                if source.order_field is not None:
                    self.sort_value.append(to_sort_value(record.get(source.order_field), source.order_field))
            except BadDocument as bad:
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
            sort_value=np.array(self.sort_value, dtype=np.uint64) if self.source.order_field is not None else None,
            faults=self.faults,
            lines=self.lines,
        )


def _concatenate(parts: list[Any], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)
