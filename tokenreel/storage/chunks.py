"""CRCs of the chunks of a file, behind what they cover: whoever reads a part of the file can check it without reading the rest.

| anything | covered bytes [begin, end) | zeros to a multiple of 4 | CRC32C of each chunk: uint32 |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from tokenreel.errors import BuildError
from tokenreel.storage import files

CHUNK_BYTES = 1 << 14  # read at least: a CRC of so many bytes takes a microsecond
_ATTEMPTS = 3  # to read a part of an object: what is damaged on its way is well the next time


@dataclasses.dataclass(frozen=True)
class Covered:
    """Which bytes of a file have CRCs; these follow.

    Attributes:
      begin: the first byte.
      end: the byte behind the last.
    """

    begin: int
    end: int

    @property
    def table(self) -> tuple[int, int]:
        """Where the CRCs lie: the first byte, and how many bytes."""
        return -(-self.end // 4) * 4, 4 * -(-(self.end - self.begin) // CHUNK_BYTES)

    @property
    def file_bytes(self) -> int:
        """The bytes of the whole file."""
        return sum(self.table)

    def read(self, path: str, at: int, size: int, fetch: Callable[[int, int], bytes], table: bytes | None = None) -> memoryview:
        """Reads covered bytes [at, at + size), and checks them.

        Args:
          path: of the file, for messages.
          at: first byte.
          size: how many.
          fetch: reads (first byte, number of bytes) of the file; fewer only at its end.
          table: all CRCs, where they are at hand.

        Raises:
          BuildError: the file is shorter than it was, or its bytes are not those that were written.
        """
        first, last = (at - self.begin) // CHUNK_BYTES, -(-(at + size - self.begin) // CHUNK_BYTES)
        start = self.begin + first * CHUNK_BYTES
        stop = min(self.begin + last * CHUNK_BYTES, self.end)
        for attempt in range(_ATTEMPTS):
            data = fetch(start, stop - start)
            if len(data) < stop - start:
                raise BuildError(f"{path}: ends before byte {stop:,}. {AGAIN}")
            crcs = fetch(self.table[0] + 4 * first, 4 * (last - first)) if table is None else table[4 * first : 4 * last]
            if crcs == crcs_of(data):
                return memoryview(data)[at - start : at - start + size]
            if not files.is_remote(path) or attempt == _ATTEMPTS - 1:
                break
        raise BuildError(f"{path}: bytes {start:,} to {stop:,} are not those that were written. {AGAIN}")


AGAIN = "Run the same command again, and let nothing else write there: what is damaged is made again."


def crcs_of(data: bytes) -> bytes:
    """Computes the CRC32C of each chunk, little-endian uint32, end to end."""
    import google_crc32c

    value = google_crc32c.value
    found = [value(data[at : at + CHUNK_BYTES]) for at in range(0, len(data), CHUNK_BYTES)]
    return np.array(found, dtype="<u4").tobytes()


def cover(parts: Iterable[bytes | memoryview]) -> Iterator[bytes | memoryview]:
    """Yields what is to be covered and then its CRCs, as `covered` appends them, and holds no more than a part at a time."""
    import google_crc32c

    crcs, open_crc, size = [], 0, 0
    for part in parts:
        yield part
        data, at = np.frombuffer(part, dtype=np.uint8), 0
        while at < len(data):
            step = min(len(data) - at, CHUNK_BYTES - size % CHUNK_BYTES)
            open_crc = google_crc32c.extend(open_crc, data[at : at + step])
            at, size = at + step, size + step
            if size % CHUNK_BYTES == 0:
                crcs.append(open_crc)
                open_crc = 0
    if size % CHUNK_BYTES:
        crcs.append(open_crc)
    yield bytes(-size % 4) + np.array(crcs, dtype="<u4").tobytes()


def covered(data: bytes) -> bytes:
    """Appends its CRCs to what is to be covered, which begins at a multiple of 4 of its file."""
    return b"".join(cover([data]))
