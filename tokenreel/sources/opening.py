"""Opens files as what their first bytes say they are: unpacks what is compressed, and refuses what the source's format cannot be."""

from __future__ import annotations

import dataclasses
import itertools
import posixpath
from collections.abc import Callable, Iterator

from tokenreel.config.corpus import TEXT_FORMATS, SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources import encodings, kinds
from tokenreel.sources.inputs import FileRange, InputFile
from tokenreel.sources.json_stream import is_array
from tokenreel.sources.kinds import HEAD_BYTES, Kind
from tokenreel.sources.lines import READ_BYTES
from tokenreel.storage import files
from tokenreel.storage.decompression import TooLargeError, decompress
from tokenreel.storage.files import Readable

_MOST_LAYERS = 3  # of compression around one another

_TABLES = ("parquet", "arrow")
_RECORDS = ("tfrecord", "tfds", "warc")
_ARCHIVES = ("tar", "zip")  # of files, which are read one by one
_MOST_RATIO, _MOST_DOCUMENTS = 1100, 16  # of its size, of the longest document: a file may unpack to the larger (gzip's own limit is 1,032)
_MOST_BLANK, _LEAST_BLANK = 16 << 20, 1 << 20  # a megabyte of blank lines is no bomb, however short documents may be


@dataclasses.dataclass
class Contents:
    """What a file holds, unpacked.

    Attributes:
      chunks: its bytes from the first on; last an exception where they cannot be read to the end. It is not raised, because what
        came before it holds whole documents: only who cuts them can report the rest.
      streamed: whether the file must be read from its start: it is compressed, an archive, or an array of JSON.
      kind: what it is, unpacked; None for text and what nobody knows.
      archive: `tar` or `zip`; "" for a single file, a WARC file among them.
      array: whether JSON lines turn out to be an array of objects.
    """

    chunks: Iterator[bytes | Exception]
    streamed: bool
    kind: Kind | None = None
    archive: str = ""
    array: bool = False


def compression_of(head: bytes, name: str) -> Kind | None:
    """Tells how a file is compressed: as its first bytes say, or as its name does where those are neither an archive's nor text.

    So an archive with a damaged header is a broken archive, while text that is called `.gz` is text.
    """
    found = kinds.recognise(head)
    if found is not None:
        return found if found.group == "compression" else None
    return None if _holds(kinds.looks_like_text, head) else kinds.named(name)


def unpack(chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig, *, is_member: bool = False) -> Contents:
    """Unpacks the bytes of a file, but for archives of several files.

    Args:
      chunks: its bytes from the first on.
      file: the file.
      source: the settings of its source.
      is_member: whether the file lies in an archive, where no other archive is read.

    Raises:
      SourceError: the file, or what it holds, is nothing that the source's format can be; see `objection`.
    """
    head, chunks = _peek(chunks)
    layers = 0
    packed = compression_of(head, file.name)
    while packed is not None and layers < _MOST_LAYERS:
        layers += 1
        head, chunks = _peek(decompress(chunks, packed.name))
        packed = kinds.recognise(head)
        packed = packed if packed is not None and packed.group == "compression" else None
    told = objection(head, file, source, layers, is_member=is_member)
    if told:
        raise SourceError(told)
    if layers:
        chunks = _bounded(chunks, file, source)
    archive = "" if is_member or source.format in _TABLES else _archive_of(head, file.name)
    array = source.format == "jsonl" and is_array(head)
    return Contents(chunks, layers > 0 or _is_stream(head, file.name, source), kinds.recognise(head), archive, array)


def _archive_of(head: bytes, name: str) -> str:
    """Tells whether a file, unpacked, is an archive of files, as `compression_of` tells how it is compressed."""
    kind = kinds.recognise(head)
    if kind is not None:
        return kind.name if kind.name in _ARCHIVES else ""
    ending = posixpath.splitext(kinds.bare(name))[1].lower().removeprefix(".")
    return "" if ending not in _ARCHIVES or (head.strip(b"\0") and kinds.looks_like_text(head)) else ending


def most_bytes(file: InputFile, source: SourceConfig) -> int:
    """Gives the bytes that a file may unpack to: what no writer of text goes beyond, and bombs do."""
    return max(_MOST_RATIO * file.size, _MOST_DOCUMENTS * source.max_document_bytes)


def _bounded(chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig) -> Iterator[bytes | Exception]:
    """Passes on what a file unpacks to, and ends with an exception where that is a bomb: too much, or nothing but white space."""
    most, most_blank = most_bytes(file, source), max(_LEAST_BLANK, min(source.max_document_bytes, _MOST_BLANK))
    size = blank = 0
    for chunk in chunks:
        if not isinstance(chunk, Exception):
            size += len(chunk)
            blank = blank + len(chunk) if chunk.isspace() else 0
            if size > most:
                yield TooLargeError(f"the {file.size:,} bytes unpack to more than {most:,}, which sources.max_document_mb allows")
                return
            if blank > most_blank:
                yield TooLargeError(f"more than {most_blank:,} bytes of nothing but white space follow")
                return
        yield chunk


def _is_stream(head: bytes, name: str, source: SourceConfig) -> bool:
    """Tells whether an uncompressed file of a format that is split otherwise must be read from its start, as it is one whole."""
    return _archive_of(head, name) != "" or (source.format == "jsonl" and is_array(head))


def open_range(stream: Readable, file_range: FileRange, source: SourceConfig) -> Contents:
    """Unpacks the file of a range, as far as a reader of the range needs it.

    A range that begins inside a file that is compressed, an archive or an array is empty, as the one that begins at its first byte holds
    all: what cuts a bucket's objects knows their names alone.

    Args:
      stream: the file, at its first byte; of an uncompressed file it is left anywhere.
      file_range: the range.
      source: the settings of the file's source.

    Raises:
      SourceError: as `unpack`.
    """
    file = file_range.file
    if file_range.start == 0:
        return unpack(read_on(stream), file, source)
    if source.format in _TABLES:  # which were cut by what they hold
        return Contents(iter(()), streamed=False)
    head = files.read_bytes(file.path, 0, HEAD_BYTES, file.generation, file.size) if files.is_remote(file.path) else stream.read(HEAD_BYTES)
    streamed = compression_of(head, file.name) is not None or _is_stream(head, file.name, source)
    stream.seek(len(head))
    return Contents(iter(()) if streamed else itertools.chain([head], read_on(stream, len(head))), streamed)


def is_streamed(file: InputFile, source: SourceConfig) -> bool:
    """Looks whether a local file must be read from its start; of an object the name tells, as a look would be a request for each.

    Raises:
      SourceError: the file cannot be read.
    """
    if files.is_remote(file.path):
        return file.compressed
    head = read_head(file)
    return compression_of(head, file.name) is not None or _is_stream(head, file.name, source)


def read_head(file: InputFile) -> bytes:
    """Reads the first `HEAD_BYTES` bytes of a file.

    Raises:
      SourceError: the file cannot be read, or vanished.
    """
    try:
        return files.read_bytes(file.path, 0, HEAD_BYTES, file.generation, file.size)
    except FileNotFoundError:
        file.check_unchanged()  # says in our words that it vanished
        raise
    except OSError as error:
        raise SourceError(f"{file.path}: {error.strerror or error}. Check its permissions, or leave it out of the source.") from error


def objection(head: bytes, file: InputFile, source: SourceConfig, layers: int = 0, *, is_member: bool = False) -> str | None:
    """Says why a file is nothing that the format of its source can be; None where it may be.

    Args:
      head: the first bytes of the file, unpacked.
      file: the file.
      source: the settings of its source.
      layers: of compression that the file was taken out of.
      is_member: whether the file lies in an archive.
    """
    kind, inside = kinds.recognise(head), "holds" if layers else "is"
    told = f"source {source.name!r} has format: {source.format}"
    if kind is None:
        if source.format not in (*_TABLES, *_RECORDS) or not _holds(kinds.is_text, head):
            return _wrong_encoding(head, file, source, inside)  # of text; a damaged file its reader reports
        return f"{file.path}: {inside} text, but {told}. Set the source's format to that of the text, or leave the file out."
    if kind.group == "compression":
        return f"{file.path}: is compressed more than {_MOST_LAYERS} times. Decompress it."
    if kind.name in _ARCHIVES and source.format not in _TABLES and (is_member or (layers and kind.name == "zip")):
        where = "in another archive" if is_member else "that is compressed as a whole"
        return f"{file.path}: {inside} {kind.title} {where}, which is not read. {kind.way_out}, or leave the file out."
    if fits(kind, source.format):
        if layers and source.format in _TABLES:
            return (
                f"{file.path}: a compressed {source.format} file cannot be read from its middle (source {source.name!r}). Decompress it; "
                "tables are compressed inside."
            )
        return None
    why = f" (source {source.name!r})" if kind.group == "stand-in" else f", but {told}"
    return f"{file.path}: {inside} {kind.title}{why}. {kind.way_out}, or leave the file out."


def _wrong_encoding(head: bytes, file: InputFile, source: SourceConfig, inside: str) -> str | None:
    """Says which encoding a file has instead of its source's, where that would make characters of it that nobody wrote."""
    if source.format not in TEXT_FORMATS:
        return None
    told, found = source.text_encoding, encodings.wide(head)
    wide = told.startswith(("utf-16", "utf-32"))
    # Python takes text without a byte order mark for little-endian.
    if found is not None and (not wide or found not in (told, f"{told}-le", "utf-16", "utf-32")):
        likely = found
    elif found is None and wide and len(head) >= 16 and kinds.is_text(head):
        likely = "utf-8"
    else:
        return None
    shown = {"utf-8": "UTF-8"}.get(likely, likely.upper())
    return (
        f"{file.path}: {inside} {shown}, but source {source.name!r} has encoding: {told}. Set sources.encoding: {likely}, in a source of "
        "its own if other files have another, or leave the file out."
    )


def _holds(told: Callable[[bytes], bool], head: bytes) -> bool:
    """Tells whether a file holds text for certain: a few characters may be the beginning of a magic number."""
    return len(head) >= kinds.SHORTEST and told(head)


def fits(kind: Kind, wanted: str) -> bool:
    """Tells whether a kind of file, unpacked, is what a format is kept in."""
    if wanted in _TABLES:
        return kind.name in (wanted, f"{wanted}-stream")
    own = {"tfrecord": "tfrecord", "tfds": "tfrecord", "warc": "warc"}.get(wanted)
    return kind.name == own or kind.name in _ARCHIVES


def read_on(stream: Readable, position: int = 0) -> Iterator[bytes]:
    """Yields the bytes of a stream from where it is, the first few of them alone: a look costs no more."""
    if position == 0 and (head := stream.read(HEAD_BYTES)):
        yield head
    while chunk := stream.read(READ_BYTES):
        yield chunk


def _peek(chunks: Iterator[bytes | Exception]) -> tuple[bytes, Iterator[bytes | Exception]]:
    """Takes chunks until `HEAD_BYTES` are known: those, and all chunks again."""
    taken: list[bytes | Exception] = []
    size = 0
    for chunk in chunks:
        taken.append(chunk)
        if isinstance(chunk, Exception):
            break
        size += len(chunk)
        if size >= HEAD_BYTES:
            break
    head = b"".join(chunk for chunk in taken if isinstance(chunk, bytes))[:HEAD_BYTES]
    return head, itertools.chain(taken, chunks)
