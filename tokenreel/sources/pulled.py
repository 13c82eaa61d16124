"""Bytes of a stream, taken in any amounts by who walks through the members of an archive.

Tested in tests/tokenreel/sources/test_archives.py.
"""

from __future__ import annotations

from collections.abc import Iterator

_PASSED = 1 << 18  # bytes handed on at once


class Pulled:
    """Chunks as a stream that knows its place; it ends where they break, and `broken` says so."""

    def __init__(self, chunks: Iterator[bytes | Exception]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()
        self._at = 0
        self.position = 0  # of the next byte
        self.broken: Exception | None = None

    def _fill(self, count: int) -> int:
        """Reads on until so many bytes are there; gives how many there are."""
        while len(self._buffer) - self._at < count and self.broken is None:
            chunk = next(self._chunks, b"")
            if isinstance(chunk, Exception):
                self.broken = chunk
            elif not chunk:
                break
            else:
                del self._buffer[: self._at]
                self._at = 0
                self._buffer += chunk
        return len(self._buffer) - self._at

    def read(self, count: int) -> bytes:
        """Takes so many bytes, fewer only where the stream ends or breaks."""
        self._fill(count)
        data = bytes(self._buffer[self._at : self._at + count])
        self._at += len(data)
        self.position += len(data)
        return data

    def peek(self, count: int) -> bytes:
        """Gives the next bytes, at most so many, and takes none."""
        self._fill(count)
        return bytes(self._buffer[self._at : self._at + count])

    def readline(self, most: int) -> bytes:
        """Takes a line with its end, or `most` bytes of a longer one."""
        searched = 0
        while True:
            there = len(self._buffer) - self._at
            end = self._buffer.find(b"\n", self._at + searched)
            if end >= 0 or there >= most:
                return self.read(min(most, end + 1 - self._at) if end >= 0 else most)
            searched = there
            if self._fill(there + 1) == there:
                return self.read(there)

    def pass_on(self, count: int) -> Iterator[bytes | Exception]:
        """Yields so many bytes, and last an exception where the stream ends or breaks before."""
        while count:
            data = self.read(min(count, max(1, min(_PASSED, self._fill(1)))))
            if not data:
                yield self.broken or EOFError(f"the archive ends {count:,} bytes too early")
                return
            count -= len(data)
            yield data
