"""CSV and TSV (RFC 4180, as Python's `csv` reads it): a document's position is the byte at which its row begins.

A value in quotes may hold line ends, so where a row begins is known only from all that comes before: a file is read as one stream, unless
the source says that no value holds a line end (`embedded_newlines: false`). Damage is contained: a row whose quoting is wrong is taken to
end with its first line, and reading begins afresh at the next line. A quote that is never closed takes the rest of the file with it, as
nothing in there can be told from a value; but no more than `_MOST_QUOTED`, behind which it was surely a stray one.
"""

from __future__ import annotations

import collections
import csv
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
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


def delimiter(source: SourceConfig) -> str:
    """What separates values."""
    return source.delimiter or ("\t" if source.format == "tsv" else ",")


class _Overlong(Exception):
    """A value in quotes does not end within reason."""


class _Lines:
    """The lines of a stream, decoded; those of the row at hand can be put back."""

    def __init__(self, chunks: Iterator[bytes | Exception], most: int, most_lines: int | None) -> None:
        self._fresh = self._split(chunks)
        self._again: collections.deque[bytes] = collections.deque()
        self._most, self._most_lines = most, most_lines
        self._row_bytes = 0
        self.row: list[bytes] = []
        self.ended = False
        self.broken: tuple[Exception, bytes] | None = None

    def _split(self, chunks: Iterator[bytes | Exception]) -> Iterator[bytes]:
        rest: list[bytes] = []
        for chunk in chunks:
            if isinstance(chunk, Exception):
                self.broken = chunk, b"".join(rest)
                return
            *lines, last = chunk.split(b"\n")
            if lines:
                yield b"".join([*rest, lines[0], b"\n"])
                for line in lines[1:]:
                    yield line + b"\n"
                rest = []
            if last:
                rest.append(last)
        if rest:
            yield b"".join(rest)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.row and (self._row_bytes > self._most or len(self.row) == self._most_lines):
            raise _Overlong
        try:
            line = self._again.popleft() if self._again else next(self._fresh)
        except StopIteration:
            self.ended = True
            raise
        self.row.append(line)
        self._row_bytes += len(line)
        return line.decode("utf-8", "surrogateescape")

    def take(self, count: int | None = None) -> bytes:
        """The bytes of the row at hand, or of its first lines; the others are read again."""
        taken = self.row[:count]
        self._again.extendleft(reversed(self.row[len(taken) :]))
        self.row, self._row_bytes = [], 0
        return b"".join(taken)


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
    lines = _Lines(chunks, _MOST_QUOTED, None if source.embedded_newlines else 1)
    parsed = csv.reader(lines, delimiter=delimiter(source), strict=True)
    kept = Collector(file, ids=source.id_field is not None, order=source.order_field is not None, metadata=bool(source.metadata_fields))
    names = tuple(header or source.columns)
    places = _places(names, source, file) if names else None
    handed_over = position
    while True:
        if position - handed_over >= part_bytes:
            yield kept.take()
            handed_over = position
        try:
            values = next(parsed)
        except StopIteration:
            break
        except (csv.Error, _Overlong) as error:
            if lines.ended and lines.broken:
                break
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
        message = f"the archive is cut short or broken in or after this row: {cause}. Fetch the file again."
        kept.fault(position, "broken_archive", message, lines.take() + rest)
    yield kept.take()


def header_of(chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig) -> Sequence[str] | None:
    """The names in a file's first row, for pieces that begin behind it; None where the source gives them."""
    if source.columns:
        return source.columns
    lines = _Lines(chunks, _MOST_QUOTED, 1)
    for values in csv.reader(lines, delimiter=delimiter(source)):
        data = lines.take()
        if data.startswith(_BOM):
            values = _without_bom(values, data[len(_BOM) :], source)
        if values:
            _places(tuple(values), source, file)
            return values
    return None


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
