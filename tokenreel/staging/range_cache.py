"""Keeps the headers and indexes of stage files in a bucket, within a bound, for the shards that read from nearly all of them.

A process has two of these caches. A shard asks for the index of every stage file (which documents lie in a range of keys) and, for its
provenance, for the header; without the caches each shard would pay a request for both, of each file.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tokenreel.storage import files

_INDEX_BYTES = 128 << 20  # of indexes of objects, kept in each process
_HEADER_BYTES = 32 << 20  # of headers, likewise
_READERS = 16  # requests at once; more gain little, as one machine's network is then busy
_T = TypeVar("_T")
_R = TypeVar("_R")


class _RangeCache:
    """Keeps the ranges that were read last, one of each file. Threads may share it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()  # by path, the least recently used first
        self._bytes = 0

    def read(self, path: str, begin: int, size: int) -> bytes:
        """Reads `size` bytes of a file from `begin` on; another size takes the place of what was kept.

        Raises:
          FileNotFoundError: there is no such file.
        """
        with self._lock:
            if (found := self._kept.get(path)) is not None and len(found) == size:
                self._kept.move_to_end(path)
                return found
        data = files.read_bytes(path, begin, size)  # outside of the lock: other threads must not wait for a server's answer to this one
        with self._lock:
            self._bytes += len(data) - len(self._kept.pop(path, b""))
            self._kept[path] = data
            while self._bytes > self._limit and len(self._kept) > 1:  # one range that is over the limit by itself stays
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return data


indexes = _RangeCache(_INDEX_BYTES)  # with them a group takes one request of each object instead of three
headers = _RangeCache(_HEADER_BYTES)


def each(function: Callable[[_T], _R], items: Iterable[_T], *, remote: bool) -> Iterator[_R]:
    """Applies a function that reads stage files to some items, and yields what it returns in their order.

    Several items are read at once where each read waits for a server. Local files are read one after the other: most lie in the page cache,
    where threads gain nothing.

    Args:
      function: reads what belongs to an item; safe to call from several threads.
      items: the items.
      remote: whether the stage files lie in a bucket.
    """
    if not remote:
        yield from map(function, items)
        return
    with concurrent.futures.ThreadPoolExecutor(_READERS, thread_name_prefix="tokenreel-stage") as pool:
        yield from pool.map(function, items)
