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

from tokenreel.config import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.readers import columns
from tokenreel.readers.rows import BROKEN_FILE, Collector, Rows
from tokenreel.sources import InputFile

_BOM = b"\xef\xbb\xbf"
_MOST_QUOTED = 1 << 28
_LONGEST_LINE = 1 << 28
_LINES_AT_ONCE = 4096
_EXCERPT = 1000
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def delimiter(source: SourceConfig) -> str:
    """What separates values."""
    return source.delimiter or ("\t" if source.format == "tsv" else ",")


class _Overlong(Exception):
    """A value in quotes does not end within reason."""


class _Cut(bytes):
    """The beginning of a line that is too long to be held, of `size` bytes in all."""

    size: int


class _Lines:
    """The lines of a stream, decoded; those of the row at hand can be put back."""

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
        """The bytes of the row at hand, or of its first lines; the others are read again."""
        taken = self.row[:count]
        self.put_back(self.row[len(taken) :])
        self.row, self._row_bytes = [], 0
        return b"".join(taken)

    def several(self) -> list[bytes]:
        """Some lines behind the row at hand, those that are ready."""
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
      file: where they come from.
      source: names the fields.
      part_bytes: about so much is handed over at once.
      position: of the first byte in the (decompressed) file.
      header: names of the columns; None where the first row has them.

    Raises:
      SourceError: the header lacks a column.
    """
    csv.field_size_limit(sys.maxsize)  # for the whole process; the default refuses values over 128 KiB
    lines = _Lines(chunks, source, None if source.embedded_newlines else 1)
    parsed = csv.reader(lines, delimiter=delimiter(source), strict=True)
    kept = Collector(file, ids=source.id_field is not None, order=source.order_field is not None, metadata=bool(source.metadata_fields))
    names = tuple(header or source.columns)
    places = _places(names, source, file) if names else None
    handed_over = position
    while True:
        if position - handed_over >= part_bytes:
            yield kept.take()
            handed_over = position
        if places is not None and position and source.embedded_newlines:
            size = _add_several(kept, position, lines, len(names), places, source)
            position += size
            if size:
                continue
        try:
            values = next(parsed)
        except StopIteration:
            break
        except (csv.Error, _Overlong) as error:
            if lines.ended and lines.broken:
                break
            if lines.row and isinstance(lines.row[0], _Cut):
                size = lines.row[0].size
                message = f"a line of {size:,} bytes, more than max_document_mb = {source.max_document_mb:g} of the source allows"
                kept.fault(position, "oversized", message, lines.take(1))
                lines.has_cut = False
                kept.total_lines += 1
                position += size
                parsed = csv.reader(lines, delimiter=delimiter(source), strict=True)
                continue
            data = lines.take(None if lines.ended else 1)
            if lines.ended:
                message = f"a quote opens and never closes: the file ends {data.count(10):,} lines later. Close it, or fetch the file again"
            elif isinstance(error, csv.Error):
                message = f"broken quoting ({error})"
            elif source.embedded_newlines:
                message = f"a quote is opened and not closed within {_MOST_QUOTED >> 20:,} MB"
            else:
                message = "a quote is opened and not closed on the line; sources.embedded_newlines: true allows that"
            kept.fault(position, "invalid_csv", message, data)
            parsed = csv.reader(lines, delimiter=delimiter(source), strict=True)
        else:
            data = lines.take()
            begin = position
            if position == 0 and data.startswith(_BOM):
                data, begin = data[len(_BOM) :], len(_BOM)
                values = _without_bom(values, data, source)
            if not data.strip(b"\r\n"):
                pass
            elif places is None:
                names = tuple(values)
                cut_short = not data.endswith(b"\n")
                if cut_short and not set(columns.wanted(source)) <= set(names):
                    kept.fault(begin, BROKEN_FILE, f"{file.name}: ends inside its header. Fetch the file again.", data)
                else:
                    places = _places(names, source, file)
            else:
                _add(kept, begin, data, values, names, places, source)
            position += begin - position
        position += len(data)
        kept.total_lines += data.count(b"\n") + (not data.endswith(b"\n"))
    if lines.broken:
        cause, rest = lines.broken
        message = f"the file is cut short or broken in or after this row: {cause}. Fetch it again."
        kept.fault(position, "broken_archive", message, lines.take() + rest)
    yield kept.take()


def header_of(chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig) -> Sequence[str] | None:
    """The names in a file's first row, for pieces that begin behind it; None where the source gives them."""
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
        except (csv.Error, _Overlong):  # `read` reports it and takes the next row, so the pieces behind do the same
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
    for name in columns.wanted(source):
        if names.count(name) != 1:
            problem = f"has {names.count(name)} columns" if name in names else "has no column"
            separator = {"\t": "tabs"}.get(delimiter(source), f"{delimiter(source)!r}")
            raise SourceError(
                f"{file.path}: {problem} {name!r} (source {source.name!r}); its columns, between {separator}, are "
                f"{', '.join(map(repr, names))[:500]}. Set text_field (or the other fields) to one of them, delimiter to what separates "
                "them, or columns to their names where the file has no row of names."
            )
    return {name: names.index(name) for name in columns.wanted(source)}


def _add(
    kept: Collector, position: int, data: bytes, values: list[str], names: tuple[str, ...], places: dict[str, int], source: SourceConfig
) -> None:
    if b"\0" in data:
        kept.fault(position, "nul_byte", f"a byte 0 at byte {data.index(0)} of the row: this is no text", data)
        return
    try:
        data.decode()
    except UnicodeDecodeError as error:
        message = f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start} of the row ({error.reason})"
        kept.fault(position, "invalid_utf8", message, data)
        return
    if len(values) != len(names):
        kept.fault(position, "wrong_columns", f"the row has {len(values)} values, but there are {len(names)} columns", data)
        return
    _keep(kept, position, values, places, source)


def _add_several(kept: Collector, position: int, lines: _Lines, width: int, places: dict[str, int], source: SourceConfig) -> int:
    """Adds the whole rows among the lines that are ready, up to one that is damaged; returns their bytes.

    This is the quick way of what `read` does for a single row, and stops in front of whatever needs more care.
    """
    batch = lines.several()
    row = size = 0
    try:
        data = b"".join(batch)
        if b"\0" in data:
            raise ValueError
        parsed = csv.reader(io.StringIO(data.decode(), newline="\n"), delimiter=delimiter(source), strict=True)
        for values in parsed:
            if values and len(values) != width:
                break
            if values:
                _keep(kept, position + size, values, places, source)
            size += sum(map(len, batch[row : parsed.line_num]))
            kept.total_lines += parsed.line_num - row
            row = parsed.line_num
    except (csv.Error, ValueError):
        pass
    lines.put_back(batch[row:])
    return size


def _keep(kept: Collector, position: int, values: list[str], places: dict[str, int], source: SourceConfig) -> None:
    order: Any = None
    if source.order_field is not None:
        order = values[places[source.order_field]]
        order = float(order) if _NUMBER.fullmatch(order.strip()) else order
    kept.add(
        position,
        values[places[source.text_field]].encode(),
        None if source.id_field is None else values[places[source.id_field]],
        order,
        {name: values[places[name]] for name in source.metadata_fields},
    )
