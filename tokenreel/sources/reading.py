"""Reads the documents and faults of a block, whatever its format."""

from __future__ import annotations

import dataclasses
import functools
import io
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, cast

from tokenreel import keys
from tokenreel.config.corpus import FIELDLESS_FORMATS, TEXT_FORMATS, SourceConfig
from tokenreel.errors import SourceError, StorageError
from tokenreel.sources import encodings, json_stream, part_bounds, tar_members, zip_members
from tokenreel.sources.document_builder import DocumentBuilder
from tokenreel.sources.documents import Documents
from tokenreel.sources.extents import UNREAD, Extent, MeasuredStream
from tokenreel.sources.inputs import Block, FileRange, InputFile
from tokenreel.sources.lines import TextRange, cut_stream, ends_in_returns, locate_documents, read_range, swap_line_ends
from tokenreel.sources.members import Member
from tokenreel.sources.opening import Contents, most_bytes, open_range, unpack
from tokenreel.sources.readers import arrow, delimited, parquet, tfrecords, warc
from tokenreel.sources.readers.rows import Problem, Rows, damaged
from tokenreel.sources.readers.unreadable import describe_break
from tokenreel.sources.row_documents import add_rows
from tokenreel.sources.stream_meter import StreamMeter
from tokenreel.sources.text_documents import add_text_range
from tokenreel.storage import files

_Bound = Callable[[Iterator[bytes | Exception]], Iterator[bytes | Exception]]

_WHOLE_BYTES = 64 << 20  # of a table of a bucket, read at once
_MEMBER_BYTES = 512  # of memory that a member of an archive takes beside its text: a part is bounded by them too
_HEAD_BYTES = 512  # of a file, to tell what it holds


def read_documents(block: Block, source: SourceConfig, part_bytes: int) -> Iterator[Documents]:
    """Reads a block in parts of about `part_bytes` of text: one part unless a compressed file holds more, or its documents are many.

    Every document is in exactly one part, and parts are in the order of the files and of the text in them. What decides where a part ends
    is the text alone, so that a block that is read again has the same parts. A part holds at most `part_bounds.MOST_DOCUMENTS` documents
    and faults.

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
    uncounted: list[TextRange | Rows] = []
    gathered_bytes = documents = 0
    most, bound = part_bounds.MOST_DOCUMENTS, 0
    extents: list[tuple[InputFile, Extent]] = []
    for file_range in block.file_ranges:
        found = _read_file_range(file_range, source, part_bytes, extents=extents)
        for read in (piece for whole in found for piece in part_bounds.cut(whole, source.format, most)):
            size = read.size if read.file is file_range.file else read.size + _MEMBER_BYTES
            number, full = None, bool(gathered) and gathered_bytes + size > part_bytes * 1.5
            if gathered and not full:  # documents are counted only where the part may take more of them: large reads stand alone
                documents += sum(part_bounds.count(other, source.format) for other in uncounted)
                number, uncounted = part_bounds.count(read, source.format), []
                if documents + number > most:
                    bound, full = most, True
            if full:
                yield _build(gathered, source, extents, bound)
                gathered, uncounted, gathered_bytes, documents = [], [], 0, 0
                extents.clear()
            gathered.append(read)
            if number is None:
                uncounted.append(read)
            else:
                documents += number
            gathered_bytes += size
        if file_range.file.generation is None:  # an object was read in the generation that was listed
            file_range.file.check_unchanged()
    yield _build(gathered, source, extents, bound)


def leave_out(block: Block, source: SourceConfig, why: str) -> Iterator[Documents]:
    """Makes a block's files faults without reading them: one part, with a fault for each."""
    found = []
    for item in block.file_ranges:
        # Ranges of a Parquet file count row groups; how large those are is not looked up in a file that is not trusted.
        size = item.file.size if item.end is None or source.format == "parquet" else item.end - item.start
        found.append(damaged(item.file, item.start, f"{item.file.name}: left out unread: {why}", unread_bytes=size))
    yield _build(found, source, [(item.file, UNREAD) for item in block.file_ranges])


@dataclasses.dataclass
class Beginning:
    """The first records of a file.

    Attributes:
      documents: documents and faults.
      head: the first bytes of the (decompressed) file; none of a table's.
      whole: whether that is all the file holds.
    """

    documents: Documents
    head: bytes
    whole: bool


def read_beginning(file: InputFile, source: SourceConfig, records: int, most_bytes: int) -> Beginning:
    """Reads the first records of a file as `read_documents` does, at the price of a look.

    Args:
      file: what to read.
      source: the settings of the file's source.
      records: documents and faults that are enough; there may be some more.
      most_bytes: of (decompressed) text to read. A record that does not end within them is not among the documents. Of a table a batch is
        read, however large.

    Raises:
      SourceError: as `read_documents`.
    """
    gathered: list[TextRange | Rows] = []
    built = _build(gathered, source)
    head = bytearray()
    whole = False
    try:
        for read in _read_file_range(FileRange(file), source, most_bytes // 16, lambda chunks: _bounded(chunks, head, most_bytes)):
            gathered.append(read)
            built = _build(gathered, source)
            if len(built) + built.num_dead_letters >= records:
                break
        else:
            whole = True
    except _EnoughError:
        pass
    return Beginning(built, bytes(head), whole)


def read_sample(file: InputFile, source: SourceConfig, pieces: int, piece_bytes: int, most_bytes: int) -> Iterator[tuple[Documents, float]]:
    """Reads parts of a file that cannot be read but from its start, drawn from all that is unpacked of it; the others are not parsed.

    Args:
      file: what to read.
      source: the settings of the file's source.
      pieces: how many parts to draw.
      piece_bytes: of (decompressed) text in each, about.
      most_bytes: of text to unpack: what is behind it is told by what is before.

    Yields:
      for each piece its documents and faults, and the bytes of the file, as it is stored, that they stand for.

    Raises:
      SourceError: as `read_documents`.
    """
    drawn: list[tuple[int, TextRange | Rows]] = []  # a reservoir (Vitter, 1985): of n parts each is in it with probability pieces / n
    meters: list[StreamMeter] = []
    stored, text, count = float(file.size), 0, 0
    try:
        bound = functools.partial(_bounded, head=bytearray(), most_bytes=most_bytes)
        for read in _read_file_range(FileRange(file), source, piece_bytes, bound, meters=meters):
            place = count if count < pieces else int(keys.key("piece", file.name, count)) % (count + 1)
            if place < pieces:
                drawn[place : place + 1] = [(count, read)]
            count, text = count + 1, text + read.size
    except _EnoughError:
        stored = meters[0].about
    for _, read in sorted(drawn, key=lambda item: item[0]):
        yield _build([read], source), stored * read.size / max(1, text)


class _EnoughError(Exception):
    """So many bytes were read as a look may cost; raised through the reader, which hands over whole records only."""


def _bounded(chunks: Iterator[bytes | Exception], head: bytearray, most_bytes: int) -> Iterator[bytes | Exception]:
    """Passes chunks on until they are more than `most_bytes`, and keeps the first bytes in `head`.

    Raises:
      _EnoughError: there is more.
    """
    size = 0
    for chunk in chunks:
        if size >= most_bytes:
            raise _EnoughError
        if not isinstance(chunk, Exception):
            size += len(chunk)
            head += chunk[: max(0, _HEAD_BYTES - len(head))]
        yield chunk


def _read_file_range(
    file_range: FileRange,
    source: SourceConfig,
    part_bytes: int,
    bound: _Bound | None = None,
    extents: list[tuple[InputFile, Extent]] | None = None,
    meters: list[StreamMeter] | None = None,
) -> Iterator[TextRange | Rows]:
    """Reads a range of a file by the format of its source: text ranges of lines, paragraphs and whole files, rows of everything else.

    Args:
      file_range: what to read.
      source: the settings of the file's source.
      part_bytes: text to hold at once.
      bound: stands between the bytes of a file without an index and who reads them, for a look at its beginning.
      extents: gets the extents of the range, once it was read.
      meters: gets what says how far the file was read.

    Raises:
      SourceError: the file is gone or cannot be read, or lacks a column that the source names.
    """
    kind, file = source.format, file_range.file
    source = _needed(file, source)
    try:
        with files.open_read(file.path, file.generation, file.size) as opened:
            stream = MeasuredStream(opened, file.size)
            meter = StreamMeter(stream, file, closely=meters is not None)
            if meters is not None:
                meters.append(meter)
            contents = open_range(stream if file_range.start else cast("MeasuredStream", meter), file_range, source)
            contents.chunks = meter.count(contents.chunks)
            if kind in ("parquet", "arrow"):
                table = parquet if kind == "parquet" else arrow
                if file_range.end is not None:
                    stream.own(table.owned_bytes(stream, file_range))
                checkable = _checkable(stream, file_range) if kind == "parquet" and extents is not None else stream
                yield from _within(table.read(checkable, file_range, source, part_bytes), file, most_bytes(file, source))
            elif contents.archive == "tar":
                found = tar_members.read(contents.chunks if bound is None else bound(contents.chunks))
                yield from meter.weigh(_read_members(found, file, source, part_bytes))
            elif contents.archive == "zip":
                found = zip_members.read(_checkable(stream, file_range) if extents is not None else stream)
                yield from _read_members(found, file, source, part_bytes, bound)
            elif not (yield from _read_single(stream, meter, file_range, contents, source, part_bytes, bound)):
                return  # what cut the file did not know; the range that begins at its first byte holds all
            if extents is not None:
                extents += [(file, extent) for extent in stream.extents()]
    except FileNotFoundError:
        file.check_unchanged()  # says in our words that it vanished
        raise
    except OSError as error:
        raise SourceError(f"{file.path}: {error.strerror or error}. Check its permissions, or leave it out of the source.") from error


def _needed(file: InputFile, source: SourceConfig) -> SourceConfig:
    """Leaves out of the kept fields what the folders of a file tell, which its records need not have."""
    partitions = file.partitions(source.metadata_fields)
    kept = tuple(name for name in source.metadata_fields if name not in partitions)
    return dataclasses.replace(source, metadata_fields=kept) if partitions else source


def _lay_open(contents: Contents, source: SourceConfig) -> tuple[bool, bool]:
    """Turns the chunks of a file of text into UTF-8 lines that end in line feeds.

    Returns:
      whether its line feeds and carriage returns stand for one another now, and whether it must be read from its start, through its chunks.
    """
    if source.format not in TEXT_FORMATS:
        return False, contents.streamed
    decoded = source.text_encoding != "utf-8"
    if decoded:
        contents.chunks = encodings.decode(contents.chunks, source.text_encoding)
    swapped = False
    if source.format not in ("text", "json") and not contents.array:
        swapped, contents.chunks = ends_in_returns(contents.chunks)
    if swapped:
        contents.chunks = swap_line_ends(contents.chunks)
    return swapped, contents.streamed or decoded or swapped


def _read_single(
    stream: MeasuredStream,
    meter: StreamMeter,
    file_range: FileRange,
    contents: Contents,
    source: SourceConfig,
    part_bytes: int,
    bound: _Bound | None,
) -> Generator[TextRange | Rows, None, bool]:
    """Reads a range of a file that is neither a table nor an archive of several files: False where the file cannot be read from there."""
    swapped, streamed = _lay_open(contents, source)
    if file_range.start and streamed:
        return False
    if source.format in ("csv", "tsv") and file_range.end is not None and not streamed:
        yield from _delimited_rows(stream, file_range, contents, source, part_bytes)
    elif source.format in ("jsonl", *FIELDLESS_FORMATS) and bound is None and not streamed:
        yield from _plain_text(stream, file_range, source, part_bytes)
    else:
        yield from meter.weigh(_read_stream(contents, file_range.file, source, part_bytes, bound, swapped=swapped))
    return True


def _within(found: Iterator[Rows], file: InputFile, most: int) -> Iterator[Rows]:
    """Passes on the rows of a table until they hold more than `most` bytes: few bytes can say that one text stands in a billion rows."""
    size = 0
    for rows in found:
        size += rows.size
        if size > most:
            position = int(rows.positions[0]) if len(rows) else 0
            message = f"its {file.size:,} bytes decode to more than {most:,} of text, which sources.max_document_mb allows"
            yield dataclasses.replace(damaged(file, position, message), problems=[Problem(position, 0, "oversized", message)])
            return
        yield rows


def _read_stream(
    contents: Contents, file: InputFile, source: SourceConfig, part_bytes: int, bound: _Bound | None, *, swapped: bool
) -> Iterator[TextRange | Rows]:
    """Reads a file, or a member of an archive, from its first byte to its last, as `_lay_open` left it."""
    chunks = contents.chunks if bound is None else bound(contents.chunks)
    if source.format == "json" or contents.array:
        yield from json_stream.cut_records(chunks, file, source, part_bytes)
    elif source.format in ("tfrecord", "tfds"):
        yield from tfrecords.read(chunks, file, source, part_bytes)
    elif source.format in ("csv", "tsv"):
        yield from delimited.read(chunks, file, source, part_bytes, swapped=swapped)
    elif source.format == "warc":
        yield from warc.read(chunks, file, source, part_bytes)
    else:
        for text_range in cut_stream(chunks, file, source, part_bytes):
            text_range.swapped = swapped
            yield text_range


def _read_members(
    members: Iterator[Member | Exception], file: InputFile, source: SourceConfig, part_bytes: int, bound: _Bound | None = None
) -> Iterator[TextRange | Rows]:
    """Reads the members of an archive as files of the source's format, whose names are `archive.tar#member`; hidden ones are left out."""
    for member in members:
        if isinstance(member, Exception):
            yield TextRange(file, 0, b"", fault=describe_break(member, "among its members"), last=True)
        elif not member.hidden:
            inside = dataclasses.replace(file, path=f"{file.path}#{member.path}", name=f"{file.name}#{member.path}", size=member.size)
            try:
                if member.problem:
                    raise SourceError(f"the member {member.name!r} {member.problem}, and is not read.")
                contents = unpack(member.chunks, inside, source, is_member=True)
            except SourceError as error:
                yield TextRange(inside, 0, b"", fault=("refused_member", str(error)), lost=member.size)
            else:
                swapped, _ = _lay_open(contents, source)
                yield from _read_stream(contents, inside, _needed(inside, source), part_bytes, bound, swapped=swapped)


def _plain_text(stream: MeasuredStream, file_range: FileRange, source: SourceConfig, part_bytes: int) -> Iterator[TextRange]:
    """Reads the documents that begin in a range of an uncompressed file of text."""
    file = file_range.file
    if file_range.end is None:
        first, after = 0, file.size
    else:
        first, after = locate_documents(stream, file_range, paragraphs=source.format == "paragraphs")
        stream.own([(first, after)])
    if after - first > max(source.max_document_bytes, 2 * part_bytes):  # the last document may be oversized: it is not held as a whole
        for read in cut_stream(read_range(stream, first, after), file, source, part_bytes, first):
            yield dataclasses.replace(read, lost=after - first) if read.fault and source.format == "text" else read
    else:
        stream.seek(first)
        yield TextRange(file, first, stream.read(max(0, after - first)))


def _delimited_rows(
    stream: MeasuredStream, file_range: FileRange, contents: Contents, source: SourceConfig, part_bytes: int
) -> Iterator[Rows]:
    """Reads the rows that begin in a range of a CSV or TSV file. The names of the columns stand in the file's first row, if anywhere."""
    header = _header(file_range, contents, source) if file_range.start else None
    first, after = locate_documents(stream, file_range, paragraphs=False)
    stream.own([(first, after)])
    if file_range.start == 0 or header is not None:  # without a header every row is still to come, in a later range
        yield from delimited.read(read_range(stream, first, after), file_range.file, source, part_bytes, position=first, header=header)


def _header(file_range: FileRange, contents: Contents, source: SourceConfig) -> Sequence[str] | None:
    """Reads the first row of a file for one of its later ranges; twice where no extent of the range tells of a flip."""
    file = file_range.file
    header = delimited.header_of(contents.chunks, file, source)
    if file.generation is not None:
        with files.open_read(file.path, file.generation, file.size) as again:
            _compare(header, delimited.header_of(open_range(again, file_range, source).chunks, file, source), file)
    return header


def _checkable(stream: MeasuredStream, file_range: FileRange) -> Any:
    """Gives a Parquet file of a bucket as one of which all that is read is measured, or read twice: its decoder reads here and there.

    A file that is not cut is part of a block, and is read whole.
    """
    file = file_range.file
    if file.generation is None:
        return stream
    if file_range.end is None and file.size <= _WHOLE_BYTES:
        stream.seek(0)
        return io.BytesIO(stream.read(file.size))
    return _ReadTwice(stream, file)


class _ReadTwice:
    """An object of which every read is made twice, and compared."""

    def __init__(self, stream: MeasuredStream, file: InputFile) -> None:
        self._stream, self._file = stream, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def read(self, size: int = -1) -> bytes:
        """Reads `size` bytes, or all that are left."""
        file, at = self._file, self._stream.tell()
        data = self._stream.read(size)
        _compare(data, files.read_bytes(file.path, at, len(data), file.generation, file.size), file)
        return data


def _compare(first: object, second: object, file: InputFile) -> None:
    if first != second:
        raise StorageError(f"{file.path}: two readings of the same bytes differ. Run the same command again.")


def _build(
    gathered: Sequence[TextRange | Rows], source: SourceConfig, extents: Sequence[tuple[InputFile, Extent]] = (), bound: int = 0
) -> Documents:
    """Joins the documents of what was read, in its order, and the extents of the file ranges that were read to their end."""
    builder = DocumentBuilder(source)
    for read in gathered:
        if isinstance(read, TextRange):
            add_text_range(builder, read)
        else:
            add_rows(builder, read)
    builder.add_extents(extents)
    return dataclasses.replace(builder.build(), bound=bound)
