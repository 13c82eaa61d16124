"""CSV and TSV (RFC 4180, as Python's `csv` reads it): a document's position is the byte at which its row begins.

A value in quotes may hold line ends, so where a row begins is known only from all that comes before: a file is read as one stream, unless
the source says that no value holds a line end (`embedded_newlines: false`). Damage is contained: a row whose quoting is wrong is taken to
end with its first line, and reading begins afresh at the next line. A quote that is never closed takes the rest of the file with it, as
nothing in there can be told from a value; but no more than `_MOST_QUOTED`, behind which it was surely a stray one. Of a line that is
longer than any document may be only the beginning is held.
"""

from __future__ import annotations

import collections
import csv
import io
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.readers import columns
from tokenreel.sources.readers.rows import BROKEN_FILE, Collector, Rows

_BOM = b"\xef\xbb\xbf"
_MOST_QUOTED = 1 << 28
_LONGEST_LINE = 1 << 28
_LINES_AT_ONCE = 4096
_EXCERPT = 1000
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def delimiter(source: SourceConfig) -> str:
    """Gives the character that separates values: the source's, or the usual one of its format."""
    return source.delimiter or ("\t" if source.format == "tsv" else ",")


class _Overlong(Exception):
    """A value in quotes does not end within reason."""


class _Cut(bytes):
    """The beginning of a line that is too long to be held; the whole line has `size` bytes."""

    size: int


class _Lines:
    """The lines of a stream, decoded one by one for the parser.

    The lines of the row at hand are kept until `take`, so that those behind its first can be read again where the row is damaged.
    """

    def __init__(self, chunks: Iterator[bytes | Exception], source: SourceConfig, most_lines: int | None) -> None:
        self._chunks = chunks
        self._longest = max(_LONGEST_LINE, 2 * source.max_document_bytes)  # quotes in a value may all be doubled
        self._cut: _Cut | None = None  # a line that is passed over
        self.has_cut = False
        self._ready: collections.deque[bytes] = collections.deque()
        self._rest: list[bytes] = []  # of a line that has not ended yet
        self._rest_bytes = 0
        self._most, self._most_lines = max(_MOST_QUOTED, 2 * source.max_document_bytes), most_lines
        self._row_bytes = 0
        self.row: list[bytes] = []
        self.ended = False
        self.broken: tuple[Exception, bytes] | None = None

    def _pull(self) -> bool:
        """Makes at least one line ready; False at the end."""
        while not self._ready and self.broken is None:
            chunk = next(self._chunks, None)
            if isinstance(chunk, Exception):
                self.broken = chunk, self._cut or b"".join(self._rest)
            elif self._cut is not None:
                line, newline, rest = (b"", b"\n", b"") if chunk is None else chunk.partition(b"\n")
                self._cut.size += len(line) + (len(newline) if chunk is not None else 0)
                if newline:
                    self._ready.append(self._cut)
                    self._cut, self.has_cut = None, True
                    self._split(rest)
            elif chunk is None:
                if not self._rest:
                    return False
                self._ready.append(b"".join(self._rest))
                self._rest = []
            else:
                self._split(chunk)
        return bool(self._ready)

    def _split(self, chunk: bytes) -> None:
        lines = chunk.split(b"\n")
        if len(lines) > 1:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._ready.extend([line + b"\n" for line in lines[:-1]])
            self._rest, self._rest_bytes = [], 0
        if lines[-1]:
            self._rest.append(lines[-1])
            self._rest_bytes += len(lines[-1])
            if self._rest_bytes > self._longest:
                self._cut = _Cut(b"".join(self._rest)[:_EXCERPT])
                self._cut.size, self._rest = self._rest_bytes, []
                self._rest_bytes = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.row and (self._row_bytes > self._most or len(self.row) == self._most_lines):
            raise _Overlong
        if not self._pull():
            self.ended = True
            raise StopIteration
        line = self._ready.popleft()
        self.row.append(line)
        self._row_bytes += len(line)
        if isinstance(line, _Cut):
            raise _Overlong
        return line.decode("utf-8", "surrogateescape")

    def take(self, count: int | None = None) -> bytes:
        """Ends the row at hand after its first `count` lines, or after all, and gives their bytes; the others are read again."""
        taken = self.row[:count]
        self.put_back(self.row[len(taken) :])
        self.row, self._row_bytes = [], 0
        return b"".join(taken)

    def several(self) -> list[bytes]:
        """Takes some lines behind the row at hand, as many as are ready; none where one of them was cut."""
        self._pull()
        if self.has_cut:
            return []
        return [self._ready.popleft() for _ in range(min(len(self._ready), _LINES_AT_ONCE))]

    def put_back(self, lines: list[bytes]) -> None:
        """Has lines read again."""
        self._ready.extendleft(reversed(lines))


def read(
    chunks: Iterator[bytes | Exception],
    file: InputFile,
    source: SourceConfig,
    part_bytes: int,
    *,
    position: int = 0,
    header: Sequence[str] | None = None,
) -> Iterator[Rows]:
    """Reads rows out of a stream of bytes.

    Args:
      chunks: the file's bytes from `position` on; last an exception where they cannot be read to the end.
      file: the file that the bytes are from.
      source: names the fields.
      part_bytes: about so much is handed over at once.
      position: the first byte's place in the (decompressed) file.
      header: names of the columns; None where the first row has them.

    Yields:
      The rows and faults of about `part_bytes` each, in the order of the file.

    Raises:
      SourceError: the header lacks a column.
    """
    csv.field_size_limit(sys.maxsize)  # for the whole process; the default refuses values over 128 KiB
    yield from _Reader(chunks, file, source, position, tuple(header or source.columns)).read(part_bytes)


class _Reader:
    """Reads a stream row by row into a collector."""

    def __init__(
        self, chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig, position: int, names: tuple[str, ...]
    ) -> None:
        self._file, self._source = file, source
        self._lines = _Lines(chunks, source, None if source.embedded_newlines else 1)
        self._parsed = self._parse()
        self._kept = Collector(
            file, ids=source.id_field is not None, sort_values=source.order_field is not None, metadata=bool(source.metadata_fields)
        )
        self._position = position  # byte at which the next row begins
        self._names = names
        self._places = _places(names, source, file) if names else None  # None until the header was read

    def _parse(self) -> Iterator[list[str]]:
        return csv.reader(self._lines, delimiter=delimiter(self._source), strict=True)

    def read(self, part_bytes: int) -> Iterator[Rows]:
        """Yields rows whenever about `part_bytes` were read, and the rest at the end."""
        handed_over = self._position
        while self._read_some():
            if self._position - handed_over >= part_bytes:
                yield self._kept.take()
                handed_over = self._position
        if self._lines.broken:
            cause, rest = self._lines.broken
            message = f"the file is cut short or broken in or after this row: {cause}. Fetch it again."
            self._kept.fault(self._position, "broken_archive", message, self._lines.take() + rest)
        yield self._kept.take()

    def _read_some(self) -> bool:
        """Reads the sound rows that are ready, else one row, sound or not; False at the end."""
        # Not the file's first row, which may have a byte order mark; nor where every line is a row, for then an open quote ends with it.
        if self._places is not None and self._position and self._source.embedded_newlines:
            size = self._add_ready(self._places)
            self._position += size
            if size:
                return True
        try:
            values = next(self._parsed)
        except StopIteration:
            return False
        except (csv.Error, _Overlong) as error:
            if self._lines.ended and self._lines.broken:
                return False
            self._reject(error)
            self._parsed = self._parse()
        else:
            self._accept(values)
        return True

    def _add_ready(self, places: dict[str, int]) -> int:
        """Adds the whole rows among the lines that are ready, up to one that is damaged; returns their bytes.

        This is the quick way of what `_accept` does for a single row, and stops in front of whatever needs more care.
        """
        batch = self._lines.several()
        row = size = 0
        try:
            data = b"".join(batch)
            if b"\0" in data:
                raise ValueError
            parsed = csv.reader(io.StringIO(data.decode(), newline="\n"), delimiter=delimiter(self._source), strict=True)
            for values in parsed:
                if values and len(values) != len(self._names):
                    break
                if values:
                    _keep(self._kept, self._position + size, values, places, self._source)
                size += sum(map(len, batch[row : parsed.line_num]))
                self._kept.total_lines += parsed.line_num - row
                row = parsed.line_num
        except (csv.Error, ValueError):
            pass
        self._lines.put_back(batch[row:])
        return size

    def _accept(self, values: list[str]) -> None:
        """Takes a row that could be parsed: the header, a document, or an empty line."""
        data = self._lines.take()
        if self._position == 0 and data.startswith(_BOM):
            data, self._position = data[len(_BOM) :], len(_BOM)
            values = _without_bom(values, data, self._source)
        if data.strip(b"\r\n"):
            if self._places is None:
                self._take_header(tuple(values), data)
            else:
                self._add(data, values, self._places)
        self._pass(data)

    def _pass(self, data: bytes) -> None:
        """Moves on behind the bytes of a row."""
        self._position += len(data)
        self._kept.total_lines += data.count(b"\n") + (not data.endswith(b"\n"))

    def _take_header(self, names: tuple[str, ...], data: bytes) -> None:
        cut_short = not data.endswith(b"\n")
        if cut_short and not set(columns.wanted(self._source)) <= set(names):
            self._kept.fault(self._position, BROKEN_FILE, f"{self._file.name}: ends inside its header. Fetch the file again.", data)
        else:
            self._places = _places(names, self._source, self._file)
        self._names = names

    def _add(self, data: bytes, values: list[str], places: dict[str, int]) -> None:
        """Adds a row as a document, or as a fault where it is none."""
        if b"\0" in data:
            problem = "nul_byte", f"a byte 0 at byte {data.index(0)} of the row: this is no text"
        elif error := _decoding_error(data):
            problem = "invalid_utf8", f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start} of the row ({error.reason})"
        elif len(values) != len(self._names):
            problem = "wrong_columns", f"the row has {len(values)} values, but there are {len(self._names)} columns"
        else:
            _keep(self._kept, self._position, values, places, self._source)
            return
        self._kept.fault(self._position, *problem, data)

    def _reject(self, error: csv.Error | _Overlong) -> None:
        """Reports the row at hand as a fault and passes over its first line; over the whole file where it ends in quotes."""
        lines = self._lines
        if lines.row and isinstance(lines.row[0], _Cut):
            size = lines.row[0].size
            most = self._source.max_document_mb
            message = f"a line of {size:,} bytes, more than max_document_mb = {most:g} of the source allows"
            self._kept.fault(self._position, "oversized", message, lines.take(1))
            lines.has_cut = False
            self._kept.total_lines += 1
            self._position += size
            return
        data = lines.take(None if lines.ended else 1)
        self._kept.fault(self._position, "invalid_csv", self._describe_quoting(error, data), data)
        self._pass(data)

    def _describe_quoting(self, error: csv.Error | _Overlong, data: bytes) -> str:
        if self._lines.ended:
            return f"a quote opens and never closes: the file ends {data.count(10):,} lines later. Close it, or fetch the file again"
        if isinstance(error, csv.Error):
            return f"broken quoting ({error})"
        if self._source.embedded_newlines:
            return f"a quote is opened and not closed within {_MOST_QUOTED >> 20:,} MB"
        return "a quote is opened and not closed on the line; sources.embedded_newlines: true allows that"


def header_of(chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig) -> Sequence[str] | None:
    """Gives the names of the columns, for ranges of a file that begin behind the first row; None where the file has no sound row.

    Reads them from the file unless the source gives them. Damage is passed over without a word: `read` reports it.

    Raises:
      SourceError: the header lacks a column.
    """
    if source.columns:
        return source.columns
    csv.field_size_limit(sys.maxsize)
    lines = _Lines(chunks, source, 1)
    parsed = csv.reader(lines, delimiter=delimiter(source), strict=True)
    while True:
        try:
            values = next(parsed)
        except StopIteration:
            return None
        except (csv.Error, _Overlong):  # `read` reports it and takes the next row, so the later ranges of the file do the same
            if lines.ended:
                return None
            lines.take(1)
            parsed = csv.reader(lines, delimiter=delimiter(source), strict=True)
            continue
        data = lines.take()
        if data.startswith(_BOM):
            data = data[len(_BOM) :]
            values = _without_bom(values, data, source)
        if data.strip(b"\r\n"):
            _places(tuple(values), source, file)
            return values


def _without_bom(values: list[str], data: bytes, source: SourceConfig) -> list[str]:
    """Parses the first row again: a quote behind the mark is no quote to the parser."""
    return next(csv.reader(data.decode("utf-8", "surrogateescape").splitlines(keepends=True), delimiter=delimiter(source)), values)


def _places(names: tuple[str, ...], source: SourceConfig, file: InputFile) -> dict[str, int]:
    """Finds the column of each field that the source names."""
    for name in columns.wanted(source):
        if names.count(name) != 1:
            problem = f"has {names.count(name)} columns" if name in names else "has no column"
            separator = {"\t": "tabs"}.get(delimiter(source), f"{delimiter(source)!r}")
            raise SourceError(
                f"{file.path}: {problem} {name!r} (source {source.name!r}); its columns, between {separator}, are "
                f"{', '.join(map(repr, names))[:500]}. Set text_field (or the other fields) to one of them, delimiter to what separates "
                "them, or columns to their names where the file has no row of names.",
                missing=None if name in names else name,
                fields=() if name in names else names,
            )
    return {name: names.index(name) for name in columns.wanted(source)}


def _decoding_error(data: bytes) -> UnicodeDecodeError | None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error
    return None


def _keep(kept: Collector, position: int, values: list[str], places: dict[str, int], source: SourceConfig) -> None:
    sort_value: Any = None
    if source.order_field is not None:
        sort_value = values[places[source.order_field]]
        sort_value = float(sort_value) if _NUMBER.fullmatch(sort_value.strip()) else sort_value
    kept.add(
        position,
        values[places[source.text_field]].encode(),
        None if source.id_field is None else values[places[source.id_field]],
        sort_value,
        {name: values[places[name]] for name in source.metadata_fields},
    )
