"""Keeps the headers and indexes of stage files that shards read ranges of, within a bound."""

from __future__ import annotations

import concurrent.futures
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tokenreel.storage import files

_INDEX_BYTES = 128 << 20  # of indexes of objects, kept in each process

_HEADER_BYTES = 32 << 20  # of headers, likewise

_READERS = 16

_T = TypeVar("_T")

_R = TypeVar("_R")


class _Kept:
    """The ranges that were read last, one of each file: every shard needs them of nearly every stage file."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def read(self, path: str, begin: int, size: int) -> bytes:
        with self._lock:
            if (found := self._kept.get(path)) is not None and len(found) == size:
                self._kept.move_to_end(path)
                return found
        data = files.read_bytes(path, begin, size)
        with self._lock:
            self._bytes += len(data) - len(self._kept.pop(path, b""))
            self._kept[path] = data
            while self._bytes > self._limit and len(self._kept) > 1:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return data


indexes = _Kept(_INDEX_BYTES)  # with them a group takes one request of each object instead of three

headers = _Kept(_HEADER_BYTES)


def each(function: Callable[[_T], _R], items: Iterable[_T], *, remote: bool) -> Iterator[_R]:
    """Applies a function that reads stage files to some items, in order; several at once where each read waits for a server."""
    if not remote:
        yield from map(function, items)
        return
    with concurrent.futures.ThreadPoolExecutor(_READERS, thread_name_prefix="tokenreel-stage") as pool:
        yield from pool.map(function, items)
