"""Finds the records of JSON that is not one object on each line: arrays, objects over several lines, arrays inside of an object.

Where a record begins and ends is told by brackets and quotes alone, as far as a record is sound; what it holds is read as a line of JSON
is. So a record that is no JSON costs itself alone as long as its brackets and quotes pair up. Where they do not, nothing tells a record
from the text of another, and the rest of the file is one fault. No more of a file is held than a record, and of one that is longer than any
document may be only its beginning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import numpy as np

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources import part_bounds
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.lines import BOM, TextRange, oversized_message
from tokenreel.sources.readers.rows import BROKEN_FILE
from tokenreel.sources.readers.unreadable import describe_break
from tokenreel.sources.values import EXCERPT

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_FLAT = re.compile(rb'\{[^"{}\[\]]*+(?:' + _STRING + rb'[^"{}\[\]]*+)*+\}', re.DOTALL)  # a whole object without others inside
_TO_BRACKET = re.compile(rb'[^"{}\[\]]*+(?:' + _STRING + rb'[^"{}\[\]]*+)*+', re.DOTALL)
_TO_OPEN_STRING = re.compile(rb'[^"]*+(?:' + _STRING + rb'[^"]*+)*+', re.DOTALL)
_STRINGS = re.compile(_STRING, re.DOTALL)
_REST_OF_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+("?)', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_SCALAR = re.compile(rb'[^ \t\r\n"\[\]{},:]*+')
_BEGINS_SCALAR = re.compile(rb"[-+0-9tfnNI]")
_ARRAY = re.compile(rb"[ \t\r\n]*+\[[ \t\r\n]*+(?:\{|\][ \t\r\n]*+\Z|\Z)")
_LONGEST_NAME = 1 << 16  # of a field that is passed over, or of a scalar
_LARGE, _FURTHEST = 1 << 12, 1 << 20  # bytes of a value behind which, and at most at once, brackets are counted as arrays
_LEVEL = np.zeros(256, dtype=np.int8)
_LEVEL[list(b"[{")], _LEVEL[list(b"]}")] = 1, -1


def is_array(head: bytes) -> bool:
    r"""Tells from the first bytes of a file whether it holds an array of objects.

    >>> is_array(b'\xef\xbb\xbf [\n{"text"'), is_array(b'["a", 1]\n'), is_array(b"[2026-11-29] a log")
    (True, False, False)
    """
    return _ARRAY.match(head.removeprefix(BOM)) is not None


def cut_records(chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig, part_bytes: int) -> Iterator[TextRange]:
    """Cuts a stream of JSON into text ranges of about `part_bytes` that know where their records are.

    A record is an element of an array, or an object that lies in none. With `records` of the source set, records are those of the array
    below that name alone.

    Args:
      chunks: the bytes of a file; last an exception where they cannot be read to the end.
      file: the file that the bytes are from.
      source: `records`, and how long a document may be.
      part_bytes: bytes in a text range, unless a record is longer.

    Yields:
      Text ranges with bounds, in the order of the file. What is lost is one with a fault.
    """
    return _Records(chunks, file, source, part_bytes).read()


class _LostError(Exception):
    """Nothing more can be read: the fault of the rest of the file, from `position` on."""

    def __init__(self, position: int, reason: str, message: str, excerpt: bytes) -> None:
        super().__init__(message)
        self.position, self.reason, self.message, self.excerpt = position, reason, message, excerpt


class _Records:
    """Walks through a stream. The buffer begins with the first byte of the range at hand; `_at` is the next byte in it."""

    def __init__(self, chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig, part_bytes: int) -> None:
        self._chunks, self._file, self._source, self._part_bytes = chunks, file, source, part_bytes
        self._buffer = bytearray()
        self._base = self._at = 0  # of the buffer in the file, of the next byte in the buffer
        self._lines = 0  # ended in what was let go before the range
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._ready: list[TextRange] = []
        self._broken: Exception | None = None
        self._flat = True  # whether records hold no brackets of their own, as far as is known

    def read(self) -> Iterator[TextRange]:
        """Yields the ranges of the whole stream."""
        try:
            while len(self._buffer) < len(BOM) and self._pull():
                pass
            if self._buffer.startswith(BOM):
                self._at = len(BOM)
            while self._next() is not None:
                self._expect_value("", b"")
                yield from self._below(self._source.records or "", in_array=False)
        except _LostError as lost:
            self._at = max(0, lost.position - self._base)
            self._fault(lost.position, (lost.reason, lost.message), lost.excerpt, last=True)
        self._close()
        self._pass_lines()
        yield from self._take()

    # The stream.

    def _pull(self) -> bool:
        """Reads one chunk more; False where there is none."""
        chunk = next(self._chunks, b"") if self._broken is None else b""
        if isinstance(chunk, Exception):
            self._broken, chunk = chunk, b""
        self._buffer += chunk
        return bool(chunk)

    def _next(self) -> int | None:
        """Passes over white space; gives the byte behind it, or None at the end of a whole file."""
        while True:
            self._at = _SPACE.match(self._buffer, self._at).end()  # type: ignore[union-attr]  # matches the empty string too
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if self._at >= self._part_bytes:
                self._close()
            if not self._pull():
                if self._broken is not None:
                    raise self._ended(self._base + self._at, "")
                return None

    def _expect(self, wanted: bytes, where: str) -> int:
        """Gives the next byte that is no white space, which must be one of some.

        Raises:
          _LostError: it is another, or the file ends.
        """
        found = self._next()
        if found is None:
            raise self._ended(self._base + self._at, where)
        if found not in wanted:
            raise self._misplaced(" or ".join(f"`{chr(byte)}`" for byte in wanted), where)
        return found

    def _misplaced(self, wanted: str, where: str) -> _LostError:
        position = self._base + self._at
        self._fill(EXCERPT)
        excerpt = bytes(self._buffer[self._at : self._at + EXCERPT])
        found = excerpt[:20].decode("utf-8", "replace")
        message = (
            f"byte {position:,}: {wanted} is missing{where}, where the file goes on with {found!r}. Nothing behind it can be told apart"
        )
        return _LostError(position, "invalid_json", message, excerpt)

    def _fill(self, count: int) -> None:
        while len(self._buffer) - self._at < count and self._pull():
            pass

    def _ended(self, position: int, where: str, head: bytes = b"") -> _LostError:
        excerpt = head or bytes(self._buffer[max(0, position - self._base) :][: 4 * EXCERPT])
        read = self._base + len(self._buffer)
        if self._broken is not None:
            return _LostError(position, *describe_break(self._broken, f"after {read:,} bytes of text"), excerpt)
        return _LostError(position, BROKEN_FILE, f"the file ends after {read:,} bytes{where}. Fetch it again.", excerpt)

    # What goes out.

    def _close(self) -> None:
        """Ends the range at hand before the next byte; without a record in it, only its lines are remembered."""
        if self._starts:
            bounds = np.array(self._starts, dtype=np.int64), np.array(self._ends, dtype=np.int64)
            data = bytes(self._buffer[: self._at])
            self._ready.append(TextRange(self._file, self._base, data, lines=self._lines, bounds=bounds))
            self._starts, self._ends, self._lines = [], [], 0
        else:
            self._lines += self._buffer.count(b"\n", 0, self._at)
        del self._buffer[: self._at]
        self._base, self._at = self._base + self._at, 0

    def _pass_lines(self) -> None:
        """Hands over the number of lines that were let go, from which those of a fault are counted."""
        if self._lines:
            none = np.zeros(0, dtype=np.int64)
            self._ready.append(TextRange(self._file, self._base, b"", lines=self._lines, bounds=(none, none)))
            self._lines = 0

    def _fault(
        self, position: int, fault: tuple[str, str], excerpt: bytes = b"", fields: tuple[str, ...] = (), *, last: bool = False
    ) -> None:
        self._close()
        self._pass_lines()
        lost = max(0, self._base + self._at - position)
        self._ready.append(TextRange(self._file, position, excerpt, fault=fault, fields=fields, lost=lost, last=last))

    def _take(self) -> list[TextRange]:
        ready, self._ready = self._ready, []
        return ready

    # The structure.

    def _below(self, path: str, *, in_array: bool) -> Iterator[TextRange]:
        """Reads the value at hand: the records that lie below a path in it, or itself where the path is empty."""
        found = self._buffer[self._at]
        if found == ord("[") and not in_array:
            yield from self._elements(path)
        elif found == ord("{") and path:
            yield from self._fields(path)
        elif not path:
            self._record()
            yield from self._take()
        else:
            kind = "an array in an array" if found == ord("[") else "neither an object nor an array"
            self._fault(self._base + self._at, ("no_records", f"there is {kind} where `{path}` should lie in an object"))
            self._skip()
            yield from self._take()

    def _elements(self, path: str) -> Iterator[TextRange]:
        """Reads an array of records, or of values in which they lie below a path."""
        where = f" in the array that begins at byte {self._base + self._at:,}"
        self._at += 1
        found = self._expect_value(where, b"]")
        while found != ord("]"):
            if path:
                yield from self._below(path, in_array=True)
            else:
                self._record()
                if self._ready:
                    yield from self._take()
            if self._expect(b",]", where) == ord(","):
                self._at += 1
                self._expect_value(where, b"]")  # a comma too many at the end hides nothing
            found = self._buffer[self._at]
        self._at += 1

    def _expect_value(self, where: str, end: bytes) -> int:
        found = self._next()
        if found is None:
            raise self._ended(self._base + self._at, where)
        if found not in b'{["' + end and not _BEGINS_SCALAR.match(self._buffer, self._at):
            raise self._misplaced("a value", where)
        return found

    def _fields(self, path: str) -> Iterator[TextRange]:
        """Reads an object in which the records lie below a path, and passes over all other fields."""
        begin = self._base + self._at
        where = f" in the object that begins at byte {begin:,}"
        self._at += 1
        names: list[str] = []
        known = False
        while self._expect(b'"}', where) != ord("}"):
            name = self._name(where)
            self._expect(b":", where)
            self._at += 1
            self._expect_value(where, b"")
            if name == path or path.startswith(f"{name}."):
                known = True
                yield from self._in_field(name, path[len(name) + 1 :])
            else:
                names.append(name[:EXCERPT])
                del names[100:]
                self._skip()
            if self._expect(b",}", where) == ord(","):
                self._at += 1
        self._at += 1
        if not known:
            there = f"its fields are {', '.join(map(repr, names))}"[: 2 * EXCERPT] if names else "it is empty"
            message = f"the object has no field `{path}` (records: {self._source.records}); {there}"
            self._fault(begin, ("no_records", message), fields=tuple(names))
            yield from self._take()

    def _in_field(self, name: str, path: str) -> Iterator[TextRange]:
        if path or self._buffer[self._at] in b"[{":
            yield from self._below(path, in_array=False)
        else:
            self._fault(self._base + self._at, ("no_records", f"the field `{name}` holds neither an array nor an object"))
            self._skip()
            yield from self._take()

    def _name(self, where: str) -> str:
        """Reads the name of a field."""
        start = self._at
        rest = _REST_OF_STRING.match(self._buffer, start + 1)
        while rest is None or not rest[1]:
            if len(self._buffer) - start > _LONGEST_NAME:
                raise self._misplaced("the end of a name of a field", where)
            if not self._pull():
                raise self._ended(self._base + start, where)
            rest = _REST_OF_STRING.match(self._buffer, start + 1)
        try:
            name = json.loads(self._buffer[start : rest.end()])
        except ValueError:
            raise self._misplaced("the name of a field", where) from None
        self._at = rest.end()
        return str(name)

    def _record(self) -> None:
        """Notes the bounds of the record at hand, and passes over it; one that is too long becomes a fault."""
        start, seen = self._at, self._base + len(self._buffer)
        found = _FLAT.match(self._buffer, start) if self._flat else None
        if found is not None:
            self._at = found.end()
        else:
            held = self._pass_value(self._source.max_document_bytes)
            self._flat = self._flat and self._base + len(self._buffer) > seen  # a whole record that is not flat: others are like it
            if not held:
                return
        self._starts.append(start)
        self._ends.append(self._at)
        if self._at >= self._part_bytes or len(self._ends) >= part_bounds.MOST_DOCUMENTS:
            self._close()

    def _skip(self) -> None:
        """Passes over a value, of which nothing is held."""
        self._pass_value(None)

    def _pass_value(self, most: int | None) -> bool:
        """Passes over the value at hand, which is held: True. One of more than `most` bytes becomes a fault on the way: False.

        Raises:
          _LostError: the value does not end.
        """
        begin, head = self._base + self._at, b""
        where = f" inside the {'value' if most is None else 'record'} that begins at byte {begin:,}"
        if self._buffer[self._at] not in b'"[{':
            self._pass_scalar(where)
            return True
        scan = _Scan()
        reached = scan.go_on(self._buffer, self._at)
        while not scan.ended:
            if most is not None and len(self._buffer) - self._at > most:
                head = bytes(self._buffer[self._at : self._at + 4 * EXCERPT])
                reached -= self._at
                self._close()
                self._pass_lines()
                most = None
            if most is None:
                self._at, reached = reached, 0
                self._close()
            if not self._pull():
                raise self._ended(begin, where, head)
            reached = scan.go_on(self._buffer, reached)
        self._at = reached
        if head:
            self._close()
            lines, self._lines = self._lines, 0
            fault, lost = ("oversized", oversized_message(self._source)), self._base + self._at - begin
            self._ready.append(TextRange(self._file, begin, head, fault=fault, lines=lines, lost=lost))
        return not head

    def _pass_scalar(self, where: str) -> None:
        """Passes over a number or a word."""
        start = self._base + self._at
        end = _SCALAR.match(self._buffer, self._at).end()  # type: ignore[union-attr]  # matches the empty string too
        while end == len(self._buffer):
            if end - self._at > _LONGEST_NAME:
                raise self._misplaced("the end of a number", where)
            if not self._pull():
                if self._broken is not None:
                    raise self._ended(start, where)
                break
            end = _SCALAR.match(self._buffer, self._at).end()  # type: ignore[union-attr]
        self._at = end


class _Scan:
    """Looks for the end of a value, however it is cut into chunks: each byte is looked at once."""

    def __init__(self) -> None:
        self.ended = False
        self._depth = self._passed = 0
        self._in_string = self._near = False

    def go_on(self, buffer: bytearray, at: int) -> int:
        """Looks through a buffer from byte `at` on: the byte behind the value where it has `ended`, else the first to look at again."""
        while not self.ended:
            begin = at
            if self._in_string:
                rest = _REST_OF_STRING.match(buffer, at)
                assert rest is not None
                at = rest.end()
                self._in_string = not rest[1]
                self.ended = not self._in_string and self._depth == 0
                if self._in_string:
                    return at
            elif self._passed < _LARGE or self._near or self._depth == 0:
                at = self._to_bracket(buffer, at)
                if at == len(buffer) and not self.ended:
                    return at
            else:
                at = self._jump(buffer, at)
                if at == len(buffer):
                    return at
            self._passed += at - begin
        return at

    def _to_bracket(self, buffer: bytearray, at: int) -> int:
        """Moves behind the next bracket, or to a string that does not end in the buffer, or to the buffer's end."""
        if self._depth:
            at = _TO_BRACKET.match(buffer, at).end()  # type: ignore[union-attr]  # matches the empty string too
        if at == len(buffer):
            return at
        if buffer[at] == ord('"'):
            self._in_string = True
        else:
            self._depth += int(_LEVEL[buffer[at]])
            self.ended = self._depth == 0
        return at + 1

    def _jump(self, buffer: bytearray, at: int) -> int:
        """Moves on as far as again was passed, where the value does not end before."""
        limit = min(len(buffer), at + min(self._passed, _FURTHEST))
        end = _TO_OPEN_STRING.match(buffer, at, limit).end()  # type: ignore[union-attr]  # matches the empty string too
        levels = np.cumsum(_LEVEL[np.frombuffer(_STRINGS.sub(b"", buffer[at:end]), dtype=np.uint8)], dtype=np.int64)
        if len(levels) and self._depth + int(levels.min()) <= 0:
            self._near = True
            return at
        self._depth += int(levels[-1]) if len(levels) else 0
        if end < len(buffer) and buffer[end] == ord('"'):
            self._in_string, end = True, end + 1
        return end
