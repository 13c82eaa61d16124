"""CSV and TSV, in the dialects of `dialects`: a document's position is the byte at which its row begins.

A value in quotes may hold line ends, so where a row begins is known only from all that comes before: a file is read as one stream, unless
the source says that no value holds a line end (`embedded_newlines: false`), or none can. So a row whose quotes are wrong takes the rest of
the file with it, as nothing in there can be told from a value: the next line may be the middle of one, and would become a document that
nobody wrote. Only where every line is a row reading goes on with the next. Of a line that is longer than any document may be only the
beginning is held.
"""

from __future__ import annotations

import collections
import csv
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources import encodings, part_bounds
from tokenreel.sources.composed_text import compose
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.lines import MIXED_LINE_ENDS
from tokenreel.sources.readers import columns, dialects
from tokenreel.sources.readers.dialects import Values
from tokenreel.sources.readers.rows import BROKEN_FILE, Collector, Rows
from tokenreel.sources.readers.unreadable import describe_break

_BOM = b"\xef\xbb\xbf"
_MOST_QUOTED = 1 << 28
_LONGEST_LINE = 1 << 28
_LINES_AT_ONCE = 4096
_EXCERPT = 1000
_DIALECTS = (
    "Set sources.escape to the character that stands before quotes in values, often a backslash, or sources.quoting: none where a quote is "
    "a character like any other; otherwise mend the file."
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


class _Overlong(Exception):
    """A value in quotes does not end within reason."""


class _Cut(bytes):
    """The beginning of a line that is too long to be held; the whole line has `size` bytes, and `quotes` of them are quotes."""

    size: int
    quotes: int


class _Lines:
    """The lines of a stream, decoded one by one for the parser.

    The lines of the row at hand are kept until `take`, so that those behind its first can be read again where the row is damaged.
    """

    def __init__(self, chunks: Iterator[bytes | Exception], source: SourceConfig, most_lines: int | None, *, first: bool = True) -> None:
        self._chunks, self._first = chunks, first
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
                self._cut.quotes += line.count(b'"')
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
                line = b"".join(self._rest)
                self._cut = _Cut(line[:_EXCERPT])
                self._cut.size, self._cut.quotes, self._rest = len(line), line.count(b'"'), []
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
        text = line.removeprefix(_BOM) if self._first else line  # a quote behind the mark would be none to the parser
        self._first = False
        return text.decode("utf-8", "surrogateescape")

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

    def count_row(self) -> int:
        """The line ends in the row at hand."""
        return sum(line.endswith(b"\n") for line in self.row)

    def pass_rest(self) -> tuple[int, int]:
        """Ends the row at hand and reads on to the end, holding nothing: the bytes and lines passed over."""
        size = lines = 0
        self._ready.extendleft(reversed(self.row))
        self.row = []
        while self._pull():
            line = self._ready.popleft()
            size += line.size if isinstance(line, _Cut) else len(line)
            lines += 1
        self.ended = True
        return size, lines


def read(
    chunks: Iterator[bytes | Exception],
    file: InputFile,
    source: SourceConfig,
    part_bytes: int,
    *,
    position: int = 0,
    header: Sequence[str] | None = None,
    swapped: bool = False,
) -> Iterator[Rows]:
    """Reads rows out of a stream of bytes.

    Args:
      chunks: the file's bytes from `position` on; last an exception where they cannot be read to the end.
      file: the file that the bytes are from.
      source: names the fields.
      part_bytes: about so much is handed over at once.
      position: the first byte's place in the (decompressed) file.
      header: names of the columns; None where the first row has them.
      swapped: whether line feeds and carriage returns stand for one another, as `lines.swap_line_ends` has them.

    Yields:
      The rows and faults of about `part_bytes` each, in the order of the file.

    Raises:
      SourceError: the header lacks a column.
    """
    csv.field_size_limit(sys.maxsize)  # for the whole process; the default refuses values over 128 KiB
    yield from _Reader(chunks, file, source, position, tuple(header or source.columns), swapped).read(part_bytes)


class _Reader:
    """Reads a stream row by row into a collector."""

    def __init__(
        self,
        chunks: Iterator[bytes | Exception],
        file: InputFile,
        source: SourceConfig,
        position: int,
        names: tuple[str, ...],
        swapped: bool,
    ) -> None:
        self._swapped = swapped
        self._file, self._source = file, source
        self._lines = _Lines(chunks, source, 1 if source.rows_are_lines else None, first=position == 0)
        self._parsed = dialects.parse(self._lines, source)
        self._kept = Collector(file, source)
        self._position = position  # byte at which the next row begins
        self._names = names
        self._places = _places(names, source, file) if names else None  # None until the header was read

    def read(self, part_bytes: int) -> Iterator[Rows]:
        """Yields rows whenever about `part_bytes` were read, and the rest at the end."""
        handed_over = self._position
        while self._read_some():
            if self._position - handed_over >= part_bytes or len(self._kept) >= part_bounds.MOST_DOCUMENTS:
                yield self._kept.take()
                handed_over = self._position
        if self._lines.broken:
            cause, rest = self._lines.broken
            self._kept.fault(self._position, *describe_break(cause, "in or after this row"), self._lines.take() + rest)
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
            self._parsed = dialects.parse(self._lines, self._source)
        else:
            self._accept(values)
        return True

    def _add_ready(self, places: dict[str, int]) -> int:
        """Adds the whole rows among the lines that are ready, up to one that is damaged; returns their bytes.

        This is the quick way of what `_accept` does for a single row, and stops in front of whatever needs more care.
        """
        batch = self._lines.several()
        needed = [places[name] for name in self._source.text_fields]
        row = size = 0
        try:
            data = b"".join(batch)
            if b"\0" in data or (self._swapped and b"\r" in data):
                raise ValueError
            parsed = dialects.parse_text(data.decode(), self._source)
            for values in parsed:
                if values and len(values) != len(self._names):
                    if parsed.line_num - row > 1 or not batch[row].endswith(b"\n"):
                        break
                    values = _fit(values, len(self._names)) or []
                    if not values:
                        break
                if values:
                    if None in values and any(values[place] is None for place in needed):
                        break
                    self._keep(self._position + size, values, places)
                size += sum(map(len, batch[row : parsed.line_num]))
                self._kept.total_lines += parsed.line_num - row
                row = parsed.line_num
        except (csv.Error, ValueError):
            pass
        self._lines.put_back(batch[row:])
        return size

    def _accept(self, values: Values) -> None:
        """Takes a row that could be parsed: the header, a document, or an empty line."""
        if values and self._places is not None and self._is_askew(values):
            self._lose_rest(f"a row over several lines has {len(values)} values, but there are {len(self._names)} columns")
            return
        data = self._lines.take()
        if self._position == 0 and data.startswith(_BOM):
            data, self._position = data[len(_BOM) :], len(_BOM)
        if values and data:
            if self._places is None:
                self._take_header(tuple(value or "" for value in values), data)
            else:
                self._add(data, values, self._places)
        self._pass(data)

    def _is_askew(self, values: Values) -> bool:
        """Tells whether a row has taken line ends for parts of a value, and so many values that its quotes are surely wrong."""
        several = len(self._lines.row) > 1 and self._source.quoting != "none"
        return several and (len(values) < len(self._names) or _fit(values, len(self._names)) is None)

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

    def _add(self, data: bytes, values: Values, places: dict[str, int]) -> None:
        """Adds a row as a document, or as a fault where it is none."""
        count, columns_count = len(values), len(self._names)
        fitted = _fit(values, columns_count)
        if b"\0" in data:
            problem = "nul_byte", f"a byte 0 at byte {data.index(0)} of the row: this is no text"
        elif told := encodings.problem(data, self._source.text_encoding):
            problem = "invalid_utf8", told
        elif self._swapped and b"\r" in data:
            problem = MIXED_LINE_ENDS
        elif fitted is None:
            problem = "wrong_columns", f"the row has {count} values, but there are {columns_count} columns"
        elif count < columns_count and not data.endswith(b"\n"):
            problem = "wrong_columns", f"the file ends inside the row, behind {count} of {columns_count} values. Fetch it again"
        elif lacking := next((name for name in self._source.text_fields if fitted[places[name]] is None), None):
            problem = "no_text", f"no value for {lacking!r} among {count} values of {columns_count} columns, or a null"
        else:
            self._keep(self._position, fitted, places)
            return
        self._kept.fault(self._position, *problem, data)

    def _keep(self, position: int, values: Values, places: dict[str, int]) -> None:
        """Adds a row as a document."""
        source = self._source
        if self._swapped:
            values = [value and value.replace("\n", "\r") for value in values]
        sort_value: Any = None
        if source.order_field is not None:
            sort_value = values[places[source.order_field]]
            sort_value = float(sort_value) if sort_value is not None and _NUMBER.fullmatch(sort_value.strip()) else sort_value
        text = values[places[source.text_fields[0]]]
        if source.plain_text_field is None:
            text = compose(lambda name: values[places[name]], source)
        assert text is not None  # who has none is a fault
        self._kept.add(
            position,
            text.encode(),
            None if source.id_field is None else values[places[source.id_field]],
            sort_value,
            {name: values[places[name]] for name in source.metadata_fields},
        )

    def _reject(self, error: csv.Error | _Overlong) -> None:
        """Reports the row at hand as a fault, and all that it makes doubtful: its first line, or the rest of the file."""
        lines = self._lines
        first = lines.row[0]
        if isinstance(first, _Cut):
            most = self._source.max_document_mb
            message = f"a line of {first.size:,} bytes, more than max_document_mb = {most:g} of the source allows"
            if self._source.rows_are_lines or (first.quotes % 2 == 0 and (self._source.escape is None or not first.quotes)):
                self._kept.fault(self._position, "oversized", message, lines.take(1), size=first.size)
                lines.has_cut = False
                self._kept.total_lines += 1
                self._position += first.size
            else:
                self._lose_rest(f"{message}; it may end in quotes")
        elif self._source.rows_are_lines:
            data = lines.take(1)
            self._kept.fault(self._position, "invalid_csv", f"{self._describe(error)}. {_DIALECTS}", data)
            self._pass(data)
        else:
            self._lose_rest(self._describe(error))

    def _describe(self, error: csv.Error | _Overlong) -> str:
        """Says what is wrong with the quotes of the row at hand."""
        lines, source = self._lines, self._source
        if source.quoting == "none":
            cut = isinstance(error, csv.Error)
            return "the file ends with an escape" if cut else "a line end is escaped, which sources.embedded_newlines: true allows"
        if lines.ended and not source.rows_are_lines:
            return f"a quote opens and never closes: the file ends {lines.count_row():,} lines later"
        if isinstance(error, csv.Error) and not lines.ended:
            return f"broken quoting ({error})"
        if source.rows_are_lines:
            return "a quote is opened and not closed on the line; sources.embedded_newlines: true allows that"
        return f"a quote is opened and not closed within {_MOST_QUOTED >> 20:,} MB"

    def _lose_rest(self, problem: str) -> None:
        """Makes one fault of the row at hand and everything behind it."""
        excerpt = b"".join(self._lines.row[:3])
        size, lines = self._lines.pass_rest()
        message = f"{problem}; {size:,} bytes from here to the end of the file cannot be told from a value. {_DIALECTS}"
        excerpt = excerpt.removeprefix(_BOM) if self._position == 0 else excerpt
        self._kept.fault(self._position, "invalid_csv", message, excerpt, size=size)
        self._position += size
        self._kept.total_lines += lines


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
    parsed = dialects.parse(lines, source)
    while True:
        try:
            values = next(parsed)
        except StopIteration:
            return None
        except (csv.Error, _Overlong):  # `read` reports it and takes the next row, so the later ranges of the file do the same
            if lines.ended:
                return None
            lines.take(1)
            parsed = dialects.parse(lines, source)
            continue
        data = lines.take()
        if values and data != _BOM:
            names = [value or "" for value in values]
            _places(names, source, file)
            return names


def _fit(values: Values, count: int) -> Values | None:
    """Makes as many values as there are columns: missing ones at the end are null, empty ones too many are dropped; None for others."""
    if len(values) > count:
        return None if any(values[count:]) else values[:count]
    return values + [None] * (count - len(values))


def _places(names: Sequence[str], source: SourceConfig, file: InputFile) -> dict[str, int]:
    """Finds the column of each field that the source names."""
    for name in columns.wanted(source):
        if names.count(name) != 1:
            problem = f"has {names.count(name)} columns" if name in names else "has no column"
            separator = {"\t": "tabs"}.get(source.separator, f"{source.separator!r}")
            raise SourceError(
                f"{file.path}: {problem} {name!r} (source {source.name!r}); its columns, between {separator}, are "
                f"{', '.join(map(repr, names))[:500]}. Set text_field (or the other fields) to one of them, delimiter to what separates "
                "them, or columns to their names where the file has no row of names.",
                missing=None if name in names else name,
                fields=() if name in names else tuple(names),
            )
    return {name: names.index(name) for name in columns.wanted(source)}
