"""Records in memory maps of local files, or of a bucket's shards in the cache.

A gather copies byte slices of the maps into one buffer: measured as fast as `np.take` on a raw array, and faster than any indexing of a
strided view.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tokenreel.format.manifest import ShardInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.loaders.records import local_files
from tokenreel.loaders.records.base import Bytes, FieldSlice, Int64Array, Records
from tokenreel.loaders.records.shard_cache import ShardCache


class _Scattered(NamedTuple):
    """Records in any places: the shard of each, and for each span where its bytes begin and end there."""

    shards: list[int]
    begins: Sequence[list[int]]
    ends: Sequence[list[int]]


class _Run(NamedTuple):
    """Records that follow each other in a shard, from a byte on."""

    shard: int
    start: int
    records: int


class MappedRecords(Records):
    """Records in memory maps of local files. Maps are made when a shard is first read, so opening takes no longer for more shards.

    Args:
      cache: opens the local copy of a shard, for datasets in a bucket; None opens the files of the directory.
    """

    def __init__(
        self,
        directory: str,
        shards: Sequence[ShardInfo],
        fixed_format: RecordFormat,
        crc: str = "off",
        cache: ShardCache | None = None,
    ) -> None:
        super().__init__(directory, shards, fixed_format, crc)
        self._cache = cache
        self._views: dict[int, memoryview] = {}
        self._sound: set[int] = set()
        self._random: set[int] = set()
        self._limit = local_files.open_limit()
        if cache is not None and cache.limit is not None and shards:
            # A mapped file keeps its disk space after the cache has let it go.
            self._limit = max(1, min(self._limit, cache.limit // max(shard.bytes for shard in shards)))

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_views": {}, "_random": set()}

    def _view(self, shard: int) -> memoryview:
        view = self._views.get(shard)
        return self._open(shard) if view is None else view

    def _open(self, shard: int) -> memoryview:
        info = self.shards[shard]
        descriptor = local_files.open_file(self.directory, info) if self._cache is None else self._cache.open(info)
        try:
            self._check_size(shard, os.fstat(descriptor).st_size)
            if shard not in self._sound:
                self._check_ends(shard, lambda start, size: os.pread(descriptor, size, start))
                self._sound.add(shard)
            view = memoryview(mmap.mmap(descriptor, info.bytes, prot=mmap.PROT_READ))
        finally:
            os.close(descriptor)
        while len(self._views) >= self._limit:
            oldest = list(self._views)[0]  # noqa: RUF015  (the list is made in one go, whatever other threads do)
            self._views.pop(oldest, None)
            self._random.discard(oldest)
        self._views[shard] = view
        return view

    def take(self, examples: Int64Array, spans: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        """As `Records.take`, straight from the maps where nothing is to be checked."""
        if self.crc != "off" and self._must_check(examples):
            return super().take(examples, spans)
        return self.fetch(self._places(examples[None], spans)[0], spans)

    def lay_out(self, examples: Int64Array, spans: Sequence[FieldSlice]) -> list[Any]:
        """As `Records.lay_out`: the places of thousands of records in some vectorised steps."""
        return self._places(examples, spans) if self.crc == "off" else super().lay_out(examples, spans)

    def _places(self, examples: Int64Array, spans: Sequence[FieldSlice]) -> list[_Scattered | _Run]:
        shards, rows = np.divmod(examples, self.per_shard)
        starts = rows * self.stride
        numbers = shards.tolist()
        begins = [(starts + span.offset).tolist() for span in spans]
        ends = [(starts + span.offset + span.size).tolist() for span in spans]
        places: list[_Scattered | _Run] = list(map(_Scattered, numbers, zip(*begins, strict=True), zip(*ends, strict=True)))
        count = examples.shape[1]
        if count > 1:
            for i in np.flatnonzero((np.diff(examples, axis=1) == 1).all(axis=1) & (shards[:, 0] == shards[:, -1])).tolist():
                places[i] = _Run(numbers[i][0], int(starts[i, 0]), count)
        return places

    def fetch(self, read: Any, spans: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        """As `Records.fetch`."""
        if isinstance(read, _Run):
            view, strides = self._view(read.shard), (self.stride, 1)
            return [np.ndarray((read.records, s.size), np.uint8, view, read.start + s.offset, strides).copy().reshape(-1) for s in spans]
        if not isinstance(read, _Scattered):
            return self.take(read, spans)
        return [self._join(read.shards, begin, end, span.writable) for span, begin, end in zip(spans, read.begins, read.ends, strict=True)]

    def _join(self, shards: list[int], begin: list[int], end: list[int], writable: bool) -> bytes | bytearray:
        views = self._views
        join = bytearray().join if writable else b"".join  # the latter is faster
        try:
            return join([views[shard][a:b] for shard, a, b in zip(shards, begin, end)])  # noqa: B905  (a strict zip is slower)
        except KeyError:  # a shard that is not open; few are, when a process may open few files
            return join([self._view(shard)[a:b] for shard, a, b in zip(shards, begin, end, strict=True)])

    def _read(self, examples: Int64Array) -> Bytes:
        whole = (FieldSlice(0, self.stride, False),)
        (data,) = self.fetch(self._places(examples[None], whole)[0], whole)
        return np.frombuffer(data, dtype=np.uint8).reshape(-1, self.stride)

    def will_need(self, examples: Int64Array) -> None:
        """Asks the kernel to read the records' pages, and no others."""
        shards, rows = np.divmod(examples, self.per_shard)
        page = mmap.PAGESIZE
        for shard, start in zip(shards.tolist(), (rows * self.stride).tolist(), strict=True):
            if (view := self._views.get(shard)) is None:
                if self._cache is not None:
                    self._cache.will_need(self.shards[shard])
                continue
            mapped: mmap.mmap = view.obj  # type: ignore[assignment]
            if shard not in self._random:
                mapped.madvise(mmap.MADV_RANDOM)
                self._random.add(shard)
            first = start // page * page
            mapped.madvise(mmap.MADV_WILLNEED, first, start + self.stride - first)
