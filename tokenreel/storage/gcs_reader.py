"""An object as a file that is read: few requests for much text, small ones for a look."""

from __future__ import annotations

import errno
import io
from typing import Any

from tokenreel.storage import gcs

_FIRST_READ = 1 << 18  # bytes asked for after a seek
_LONGEST_READ = 16 << 20  # bytes asked for once a file is read from end to end


class Reader(io.RawIOBase):
    """Reads one generation of an object, so that what is read fits together whatever happens to the object.

    A read after a seek asks for little, reads that follow one another for ever more, up to 16 MB: finding where a line begins costs a
    quarter of a megabyte, and a long file few requests.

    Args:
      path: of the object.
      generation: to read; None for the one that is there now.
      size: of the object in this generation, where it is known.

    Raises:
      FileNotFoundError: there is none. A generation that was given is not looked up: the first read finds out.
    """

    def __init__(self, path: str, generation: int | None = None, size: int | None = None) -> None:
        super().__init__()
        self._size = size  # where it is not known, an end that was met tells
        if generation is None:
            found = gcs.stat(path)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, "no such object", path)
            generation, self._size = found.generation, found.size
        self._path, self._generation = path, generation
        self._position = self._at = 0  # of the next byte, and of the first in the buffer
        self._buffer = b""
        self._ahead = _FIRST_READ

    def readable(self) -> bool:
        """Says that it is."""
        return True

    def seekable(self) -> bool:
        """Says that it is."""
        return True

    def tell(self) -> int:
        """Gives the position of the next byte."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Moves to a byte; requests nothing, but a look for the size where `whence` is the end and nobody told it.

        Raises:
          FileNotFoundError: the generation is gone.
        """
        if whence == io.SEEK_END:
            if self._size is None:
                found = gcs.stat(self._path)
                if found is None or found.generation != self._generation:
                    raise FileNotFoundError(errno.ENOENT, "no such object", self._path)
                self._size = found.size
            offset += self._size
        elif whence == io.SEEK_CUR:
            offset += self._position
        self._position = max(0, offset)
        # Within the buffer nothing is asked for, so a short step back costs nothing; elsewhere it may be a single look.
        if not self._at <= self._position <= self._at + len(self._buffer):
            self._ahead = _FIRST_READ
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Reads `size` bytes, fewer only at the end; all that are left where it is negative.

        Raises:
          FileNotFoundError: the generation is gone.
          StorageError: the object cannot be read.
        """
        if size is None or size < 0:
            size = None
        start = self._position - self._at
        found = self._buffer[start : None if size is None else start + size] if 0 <= start <= len(self._buffer) else b""
        self._position += len(found)
        missing = None if size is None else size - len(found)
        if missing == 0 or (self._size is not None and self._position >= self._size):
            return found
        wanted = None if missing is None else max(missing, self._ahead)
        data = gcs.read(self._path, self._position, wanted, self._generation, self._size)
        if wanted is None or len(data) < wanted:
            self._size = self._position + len(data)  # `read` has made sure that this is the end
        self._at, self._buffer = self._position, b"" if missing is None else data  # what is read to the end is not kept twice
        self._ahead = min(2 * self._ahead, _LONGEST_READ)
        taken = data if missing is None else data[:missing]
        self._position += len(taken)
        return found + taken if found else taken

    def readall(self) -> bytes:
        """Reads all that is left."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Reads into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
