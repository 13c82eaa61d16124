"""Measures how much of a file, as it lies on disk, stands for the text that was read from it, and how much was not read at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from tokenreel.sources.inputs import InputFile
from tokenreel.sources.kinds import HEAD_BYTES
from tokenreel.sources.lines import TextRange
from tokenreel.sources.readers.rows import BROKEN_ARCHIVE, BROKEN_FILE, Rows

_LEAST_BYTES = 1 << 10  # read at once
_PRECISION = 16  # the last read is at most this part of all before: damage is found to lie there, and no nearer


class StreamMeter:
    """A file that is read as a stream, from its first byte on.

    Reads are small at the beginning of the file and grow with what was read, so that the place of damage is known to a few percent of it;
    but the first bytes are looked at as a whole.
    """

    def __init__(self, stream: Any, file: InputFile, *, closely: bool = False) -> None:
        """Takes the stream of a file; `closely` reads it in smaller pieces, for who asks how far it was read."""
        self._precision = 64 * _PRECISION if closely else _PRECISION
        self._stream, self._size, self._path = stream, file.size, file.path
        self._read = self._before = 0  # bytes of the file, with and without the last read
        self._text = 0  # bytes that were made of them

    @property
    def about(self) -> float:
        """Bytes of the file that were used so far, about: of the last that were read, half."""
        return (self._before + self._read) / 2

    def read(self, size: int = -1) -> bytes:
        """Reads at most `size` bytes."""
        most = max(_LEAST_BYTES, self._read // self._precision)
        data: bytes = self._stream.read(most if size < 0 else min(size, most))
        if data:
            self._before = self._read if self._read >= HEAD_BYTES else 0
        self._read += len(data)
        return data

    def count(self, chunks: Iterable[bytes | Exception]) -> Iterator[bytes | Exception]:
        """Passes decompressed chunks on."""
        for chunk in chunks:
            if isinstance(chunk, EOFError):  # the file is cut short: there is nothing that was not read
                self._before = self._size
            elif isinstance(chunk, bytes):
                self._text += len(chunk)
            yield chunk

    def weigh(self, reads: Iterable[TextRange | Rows]) -> Iterator[TextRange | Rows]:
        """Says of each thing that was read what its bytes are on disk, and behind what is broken how much was not read."""
        for read in reads:
            scale = self._read / self._text if self._text else 1.0
            # A broken member of an archive says nothing of those behind it.
            unread = self._size - self._before if _is_last(read) and read.file.path == self._path else 0
            yield dataclasses.replace(read, scale=scale, unread_bytes=unread)


def _is_last(read: TextRange | Rows) -> bool:
    """Tells whether nothing behind something that was read can be read."""
    if isinstance(read, Rows):
        return any(problem.reason in (BROKEN_ARCHIVE, BROKEN_FILE) for problem in read.problems)
    return read.last
