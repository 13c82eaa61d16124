"""Reads the documents and faults of a block, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources.document_builder import DocumentBuilder
from tokenreel.sources.documents import Documents
from tokenreel.sources.inputs import Block, FileRange, InputFile
from tokenreel.sources.lines import READ_BYTES, TextRange, cut_stream, locate_documents, read_range
from tokenreel.sources.readers import arrow, delimited, parquet, tfrecords
from tokenreel.sources.readers.rows import Rows
from tokenreel.sources.row_documents import add_rows
from tokenreel.sources.text_documents import add_text_range
from tokenreel.storage import files
from tokenreel.storage.decompression import decompress


def read_documents(block: Block, source: SourceConfig, part_bytes: int) -> Iterator[Documents]:
    """Reads a block in parts of about `part_bytes` of text: one part unless a compressed file holds more.

    Every document is in exactly one part, and parts are in the order of the files and of the text in them. What decides where a part ends
    is the text alone, so that a block that is read again has the same parts.

    Args:
      block: what to read.
      source: the settings of the block's source.
      part_bytes: text to hold at once.

    Yields:
      The documents and faults of a part; the last part may be empty.

    Raises:
      SourceError: a file vanished or changed since the listing, or cannot be opened.
    """
    gathered: list[TextRange | Rows] = []
    gathered_bytes = 0
    for file_range in block.file_ranges:
        for read in _read_file_range(file_range, source, part_bytes):
            if gathered and gathered_bytes + read.size > part_bytes * 1.5:
                yield _build(gathered, source)
                gathered, gathered_bytes = [], 0
            gathered.append(read)
            gathered_bytes += read.size
        if file_range.file.generation is None:  # an object was read in the generation that was listed
            file_range.file.check_unchanged()
    yield _build(gathered, source)


def _read_file_range(file_range: FileRange, source: SourceConfig, part_bytes: int) -> Iterator[TextRange | Rows]:
    """Reads a range of a file by the format of its source: text ranges of lines, paragraphs and whole files, rows of everything else.

    Raises:
      SourceError: the file is gone or cannot be read, or lacks a column that the source names.
    """
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
                yield from _plain_text(stream, file_range, source, part_bytes)
    except FileNotFoundError:
        file.check_unchanged()  # says in our words that it vanished
        raise
    except OSError as error:
        raise SourceError(f"{file.path}: {error.strerror or error}. Check its permissions, or leave it out of the source.") from error


def _chunks(stream: IO[bytes], file: InputFile) -> Iterator[bytes | Exception]:
    """Yields the bytes of a file, decompressed if need be, and last the exception if that fails.

    The exception is not raised, because what was decompressed before it holds whole documents: only who cuts them can report the rest.
    """
    if file.compressed:
        return decompress(stream, file.name[file.name.rindex(".") :])
    return iter(lambda: stream.read(READ_BYTES), b"")


def _plain_text(stream: IO[bytes], file_range: FileRange, source: SourceConfig, part_bytes: int) -> Iterator[TextRange]:
    """Reads the documents that begin in a range of an uncompressed file of text."""
    file = file_range.file
    if file_range.end is None:
        first, after = 0, file.size
    else:
        first, after = locate_documents(stream, file_range, paragraphs=source.format == "paragraphs")
    if after - first > max(source.max_document_bytes, 2 * part_bytes):  # the last document may be oversized: it is not held as a whole
        yield from cut_stream(read_range(stream, first, after), file, source, part_bytes, first)
    else:
        stream.seek(first)
        yield TextRange(file, first, stream.read(max(0, after - first)))


def _delimited_rows(stream: IO[bytes], file_range: FileRange, source: SourceConfig, part_bytes: int) -> Iterator[Rows]:
    """Reads the rows that begin in a range of a CSV or TSV file. The names of the columns stand in the file's first row, if anywhere."""
    if file_range.end is None:
        yield from delimited.read(_chunks(stream, file_range.file), file_range.file, source, part_bytes)
        return
    header = delimited.header_of(_chunks(stream, file_range.file), file_range.file, source) if file_range.start else None
    first, after = locate_documents(stream, file_range, paragraphs=False)
    if file_range.start == 0 or header is not None:  # without a header every row is still to come, in a later range
        yield from delimited.read(read_range(stream, first, after), file_range.file, source, part_bytes, position=first, header=header)


def _build(gathered: Sequence[TextRange | Rows], source: SourceConfig) -> Documents:
    """Joins the documents of what was read, in its order."""
    builder = DocumentBuilder(source)
    for read in gathered:
        if isinstance(read, TextRange):
            add_text_range(builder, read)
        else:
            add_rows(builder, read)
    return builder.build()
