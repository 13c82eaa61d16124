"""Keeps the headers, indexes and CRCs of stage files in a bucket, within a bound, for the shards that read from nearly all of them.

A process has two of these caches. A shard asks for the index of every stage file (which documents lie in a range of keys) and, for its
provenance, for the header; without the caches each shard would pay a request for both, of each file.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

_INDEX_BYTES = 192 << 20  # of indexes of objects, kept in each process
_HEADER_BYTES = 32 << 20  # of headers, likewise
_STALE_READS = 32  # a range that was not asked for while so many were read for each that is kept makes room for others


class _RangeCache:
    """Keeps ranges of files, one of each, while they fit. Threads may share it.

    Groups read file after file, and then all of them again. To let the range go that was not needed for longest would then keep nothing as
    soon as one does not fit: always the next one that is asked for would just have gone. So what is kept stays while it is asked for now
    and then, and what does not fit is read each time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[bytes, int]] = OrderedDict()  # with the read that asked last, the least recent first
        self._bytes = self._reads = 0

    def read(self, path: str, begin: int, size: int, fetch: Callable[[int, int], bytes]) -> bytes:
        """Reads `size` bytes of a file from `begin` on; another size takes the place of what was kept.

        Args:
          path: of the file.
          begin: first byte.
          size: how many.
          fetch: reads and checks them where they are not kept; raises what it likes.
        """
        with self._lock:
            self._reads += 1
            if (found := self._kept.get(path)) is not None and len(found[0]) == size:
                self._kept[path] = found[0], self._reads
                self._kept.move_to_end(path)
                return found[0]
        data = fetch(begin, size)  # outside of the lock: other threads must not wait for a server's answer to this one
        with self._lock:
            self._bytes -= len(self._kept.pop(path, (b"", 0))[0])
            if self._make_room(len(data)):
                self._kept[path] = data, self._reads
                self._bytes += len(data)
        return data

    def _make_room(self, size: int) -> bool:
        """Lets ranges go that nobody asks for any more; says whether so many bytes fit then. One that is too large for all fits alone."""
        while self._kept and self._bytes + size > self._limit:
            oldest, (data, asked) = next(iter(self._kept.items()))
            if self._reads - asked <= _STALE_READS * len(self._kept):
                return False
            del self._kept[oldest]
            self._bytes -= len(data)
        return True

    def forget(self, path: str) -> None:
        """Lets go of what was read of a file, which is written again or gone."""
        with self._lock:
            self._bytes -= len(self._kept.pop(path, (b"", 0))[0])


indexes = _RangeCache(_INDEX_BYTES)  # with them a group takes one request of each object instead of three
headers = _RangeCache(_HEADER_BYTES)
tables = _RangeCache(_HEADER_BYTES)  # of CRCs


def forget(path: str) -> None:
    """Lets go of what is kept of a file."""
    indexes.forget(path)
    headers.forget(path)
    tables.forget(path)
