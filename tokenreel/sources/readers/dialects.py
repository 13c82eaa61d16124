r"""Parsers of lines into rows of values: the quotes of RFC 4180, escape characters, and values without quotes.

What Python's `csv` can read exactly it reads, as it is quick: quotes that are doubled inside of quotes, and no escape character. Where a
dialect has an escape character, two families of writers disagree about it, and `csv` reads neither as it was written:

- Values in quotes (Spark, PostgreSQL's CSV, DuckDB): the escape stands before a quote or another escape inside of quotes, and means
  nothing anywhere else: `"a\b"` and `a\\b` hold what they show. Python's own writer escapes outside of quotes too (`escape_unquoted`).
- Values without quotes (PostgreSQL's text format, MySQL, ClickHouse): the escape stands before a delimiter, a line end or another escape,
  `\n`, `\t` and their kin are the characters that C means by them, and a value `\N` is null.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from tokenreel.config.corpus import SourceConfig

Values = list[str | None]

# Stands for a carriage return that ends no line while `csv` parses, which refuses one: decoded text never holds half of a surrogate pair of
# this value, as bytes that are no UTF-8 become others.
_RETURN = "\ud80d"
_LONE_RETURN = re.compile(r"\r(?!\n|\Z)")
_ENDS = ("", "\n", "\r\n", "\r")  # of a line; a carriage return alone where the file ends
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_NULL = "\\N"


class Parser(Protocol):
    """Parses lines into rows: an empty list for an empty line, None for a null. `csv.reader` is one.

    Attributes:
      line_num: lines read so far.
    """

    @property
    def line_num(self) -> int: ...  # noqa: D102

    def __iter__(self) -> Iterator[Values]: ...

    def __next__(self) -> Values:
        """Gives the values of the next row.

        Raises:
          StopIteration: there is no further line.
          csv.Error: the quotes of the row are wrong.
        """


def parse(lines: Iterable[str], source: SourceConfig) -> Parser:
    r"""Parses lines, which keep their line feeds, by the dialect of a source.

    >>> settings = SourceConfig(files=("a",), format="csv", escape="\\")
    >>> list(parse(['"say \\"hi\\"",a\\b\n'], settings))
    [['say "hi"', 'a\\b']]
    """
    return _Escaped(iter(lines), source) if _is_foreign(source) else _Shown(map(_hide_returns, lines), source)


def parse_text(text: str, source: SourceConfig) -> Parser:
    """Parses many lines at once: as `parse`, and as quick as `csv` where it can be."""
    if _is_foreign(source):
        return _Escaped(io.StringIO(text, newline="\n"), source)
    hidden = _hide_returns(text)
    lines = io.StringIO(hidden, newline="\n")
    return _reader(lines, source) if hidden is text else _Shown(lines, source)


def _is_foreign(source: SourceConfig) -> bool:
    """Tells whether a dialect is none that `csv` reads exactly."""
    return source.quoting == "none" or source.escape is not None


def _reader(lines: Iterable[str], source: SourceConfig) -> Any:
    return csv.reader(lines, delimiter=source.separator, strict=True)


def _hide_returns(text: str) -> str:
    """Puts stand-ins for the carriage returns that end no line."""
    return _LONE_RETURN.sub(_RETURN, text) if "\r" in text and _LONE_RETURN.search(text) else text


class _Shown:
    """A reader of `csv` whose values get back the carriage returns that `_hide_returns` took."""

    def __init__(self, lines: Iterable[str], source: SourceConfig) -> None:
        self._reader = _reader(lines, source)

    @property
    def line_num(self) -> int:
        return int(self._reader.line_num)

    def __iter__(self) -> Iterator[Values]:
        return self

    def __next__(self) -> Values:
        return [value.replace(_RETURN, "\r") for value in next(self._reader)]


class _Escaped:
    """Dialects with an escape character, or without quotes."""

    def __init__(self, lines: Iterator[str], source: SourceConfig) -> None:
        self.line_num = 0
        self._lines, self._separator = lines, source.separator
        self._quotes = source.quoting != "none"
        escape = source.escape
        outside = escape if not self._quotes or source.escape_unquoted else None
        separator, any_escape = re.escape(self._separator), rf"|{re.escape(escape or '')}." if escape else ""
        escapes = re.escape(escape) if escape else ""
        self._inside = re.compile(rf'(?:[^"{escapes}]++|""{any_escape})*+', re.DOTALL)
        stops = rf"{separator}\r\n{escapes if outside else ''}"
        # The end of a line is its line feed and a carriage return before it; another carriage return is a character.
        self._outside = re.compile(rf"(?:[^{stops}]++|\r(?!\n|\Z){any_escape if outside else ''})*+", re.DOTALL)
        self._foreign = f'{escape}"' if escape and self._quotes and not outside else None
        self._in_quotes = re.compile(rf'""|{escapes}(["{escapes}])' if escape else '""')
        self._escaped = re.compile(rf"{escapes}(.)", re.DOTALL) if outside else None
        self._letters = _LETTERS if not self._quotes and escape == "\\" else {}
        self._escape = escape

    def __iter__(self) -> Iterator[Values]:
        return self

    def __next__(self) -> Values:
        line, at = self._next_line(), 0
        values: Values = []
        if line in _ENDS:
            return values
        while True:
            if self._quotes and line.startswith('"', at):
                value, line, at = self._quoted(line, at + 1)
            else:
                value, line, at = self._unquoted(line, at)
            values.append(value)
            if len(line) - at <= 2 and line[at:] in _ENDS:
                return values
            if line[at] != self._separator:
                raise csv.Error(f"{self._separator!r} expected after '\"'")
            at += 1

    def _next_line(self) -> str:
        line = next(self._lines)
        self.line_num += 1
        return line

    def _further_line(self) -> str:
        try:
            return self._next_line()
        except StopIteration:
            raise csv.Error("unexpected end of data") from None

    def _quoted(self, line: str, at: int) -> tuple[str | None, str, int]:
        """Reads a value behind its first quote: the value, and where in which line reading goes on."""
        pieces = []
        while True:
            found = self._inside.match(line, at)
            assert found is not None  # it matches nothing, too
            pieces.append(found[0])
            at = found.end()
            if line.startswith('"', at):
                return self._in_quotes.sub(lambda pair: pair[0][1], "".join(pieces)), line, at + 1
            line, at = self._further_line(), 0

    def _unquoted(self, line: str, at: int) -> tuple[str | None, str, int]:
        """Reads a value without quotes, as `_quoted` does; None where it is a null."""
        pieces = []
        while True:
            found = self._outside.match(line, at)
            assert found is not None
            pieces.append(found[0])
            at = found.end()
            if at < len(line) or not line.endswith("\n"):
                break
            line, at = self._further_line(), 0  # the line feed was escaped
        if self._escape is not None and self._escaped is not None and line.startswith(self._escape, at):
            raise csv.Error("unexpected end of data")  # an escape that ends the file
        value = "".join(pieces)
        if self._foreign is not None and self._foreign in value:
            raise csv.Error(f"{self._foreign} outside of quotes, as sources.escape_unquoted: true reads it")
        if self._letters and value == _NULL:
            return None, line, at
        if self._escaped is not None:
            value = self._escaped.sub(lambda pair: self._letters.get(pair[1], pair[1]), value)
        return value, line, at
