"""Records in memory maps of local files, or of a bucket's shards in the cache.

A gather copies byte slices of the maps into one buffer: measured as fast as `np.take` on a raw array, and faster than any indexing of a
strided view.
"""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tokenreel.format.manifest import ShardInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.loaders.records import local_files
from tokenreel.loaders.records.base import Bytes, FieldSlice, Int64Array, Records
from tokenreel.loaders.records.build_watch import BuildWatch
from tokenreel.loaders.records.shard_cache import ShardCache
from tokenreel.storage import files


class _Scattered(NamedTuple):
    """A read of records in any places.

    Attributes:
      shards: the shard of each of the k records.
      begins: for each slice, where its bytes begin in the shard, for each record.
      ends: likewise, where they end.
    """

    shards: list[int]
    begins: Sequence[list[int]]
    ends: Sequence[list[int]]


class _Consecutive(NamedTuple):
    """A read of records that follow each other in a shard, from the byte `start` on: the stored order, or a lane's block."""

    shard: int
    start: int
    records: int


class MappedRecords(Records):
    """Records in memory maps of local files. Maps are made when a shard is first read, so opening takes no longer for more shards.

    Args:
      cache: opens the local copy of a shard, for datasets in a bucket; None opens the files of the directory.
      watch: see `Records`.
    """

    def __init__(
        self,
        directory: str,
        shards: Sequence[ShardInfo],
        fixed_format: RecordFormat,
        crc: str = "off",
        cache: ShardCache | None = None,
        watch: BuildWatch | None = None,
    ) -> None:
        super().__init__(directory, shards, fixed_format, crc, watch)
        self._cache = cache
        self._views: dict[int, memoryview] = {}  # of open shards, the one opened longest ago first
        self._sound: set[int] = set()  # shards whose first and last record were checked
        self._random: set[int] = set()  # shards whose maps were told not to read ahead
        self._limit: int | None = None  # of this dataset alone
        if cache is not None and cache.limit is not None and shards:
            # A mapped file keeps its disk space after the cache has let it go.
            self._limit = max(1, cache.limit // max(shard.bytes for shard in shards))

    def __getstate__(self) -> dict[str, Any]:
        # Maps do not travel between processes; another maps the same pages of the kernel anew.
        return super().__getstate__() | {"_views": {}, "_random": set()}

    def _view(self, shard: int) -> memoryview:
        view = self._views.get(shard)
        return self._open(shard) if view is None else view

    def _open(self, shard: int) -> memoryview:
        info = self.shards[shard]
        # A copy in the cache has the bytes of the manifest, whatever lies where they came from.
        opens = functools.partial(local_files.open_file, self.directory) if self._cache is None else self._cache.open
        descriptor = self._opened(opens, shard)
        try:
            if self._cache is None:
                self._check_file(shard, descriptor)
            if shard not in self._sound:
                self._check_ends(shard, lambda start, size: os.pread(descriptor, size, start))
                self._sound.add(shard)
            path = files.join(self.directory, info.file)
            view = memoryview(local_files.opening(path, lambda: mmap.mmap(descriptor, info.bytes, prot=mmap.PROT_READ)))
        finally:
            os.close(descriptor)  # the map holds the file by itself
        while self._limit is not None and len(self._views) >= self._limit:
            self.close_shard(list(self._views)[0])  # noqa: RUF015  (the list is made in one go, whatever other threads do)
        self._views[shard] = view
        local_files.OPEN_SHARDS.add(self, shard)
        return view

    def close_shard(self, shard: int) -> None:
        """Lets a shard go, if it is open; whoever is just copying out of it keeps it so long."""
        self._views.pop(shard, None)
        self._random.discard(shard)

    def take(self, examples: Int64Array, slices: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        """Does what `Records.take` does, straight from the maps where nothing is to be checked."""
        if self.crc != "off" and self._must_check(examples):
            return super().take(examples, slices)
        return self.fetch(self._places(examples[None], slices)[0], slices)

    def plan_reads(self, examples: Int64Array, slices: Sequence[FieldSlice]) -> list[Any]:
        """Does what `Records.plan_reads` does: works out the places of thousands of records in a few array operations."""
        return self._places(examples, slices) if self.crc == "off" else super().plan_reads(examples, slices)

    def _places(self, examples: Int64Array, slices: Sequence[FieldSlice]) -> list[_Scattered | _Consecutive]:
        shards, rows = np.divmod(examples, self.per_shard)  # [n, k]
        starts = rows * self.stride
        # Lists from here on: slicing a memoryview by Python integers is faster than by NumPy's.
        numbers = shards.tolist()
        begins = [(starts + wanted.offset).tolist() for wanted in slices]
        ends = [(starts + wanted.offset + wanted.size).tolist() for wanted in slices]
        places: list[_Scattered | _Consecutive] = list(map(_Scattered, numbers, zip(*begins, strict=True), zip(*ends, strict=True)))
        count = examples.shape[1]
        if count > 1:
            for i in np.flatnonzero((np.diff(examples, axis=1) == 1).all(axis=1) & (shards[:, 0] == shards[:, -1])).tolist():
                places[i] = _Consecutive(numbers[i][0], int(starts[i, 0]), count)
        return places

    def fetch(self, read: Any, slices: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        """Does what `Records.fetch` does, for what `plan_reads` or `_places` gave."""
        if isinstance(read, _Consecutive):
            view, strides = self._view(read.shard), (self.stride, 1)
            return [np.ndarray((read.records, s.size), np.uint8, view, read.start + s.offset, strides).copy().reshape(-1) for s in slices]
        if not isinstance(read, _Scattered):
            return self.take(read, slices)  # planned as plain numbers, because each read is checked
        try:
            return [
                self._join(read.shards, begin, end, wanted.writable)
                for wanted, begin, end in zip(slices, read.begins, read.ends, strict=True)
            ]
        except KeyError:
            return self._copy(read, slices)

    def _join(self, shards: list[int], begin: list[int], end: list[int], writable: bool) -> bytes | bytearray:
        """Copies a slice of each record.

        Raises:
          KeyError: a shard is not open.
        """
        views = self._views
        join = bytearray().join if writable else b"".join  # the latter is faster
        return join([views[shard][a:b] for shard, a, b in zip(shards, begin, end)])  # noqa: B905  (a strict zip is slower)

    def _copy(self, read: _Scattered, slices: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        """Copies the slices shard by shard, where one must be opened first: slices of all at once would keep all of them open."""
        rows_of: dict[int, list[int]] = {}
        for row, shard in enumerate(read.shards):
            rows_of.setdefault(shard, []).append(row)
        out = [bytearray(len(read.shards) * wanted.size) for wanted in slices]
        for shard, rows in rows_of.items():
            view = self._view(shard)
            for data, wanted, begin, end in zip(out, slices, read.begins, read.ends, strict=True):
                for row in rows:
                    data[row * wanted.size : (row + 1) * wanted.size] = view[begin[row] : end[row]]
        return list(out)

    def _read(self, examples: Int64Array) -> Bytes:
        whole = (FieldSlice(0, self.stride, False),)
        (data,) = self.fetch(self._places(examples[None], whole)[0], whole)
        return np.frombuffer(data, dtype=np.uint8).reshape(-1, self.stride)

    def will_need(self, examples: Int64Array) -> None:
        """Asks the kernel to read the pages of [k] records, and no others."""
        shards, rows = np.divmod(examples, self.per_shard)
        page = mmap.PAGESIZE
        for shard, start in zip(shards.tolist(), (rows * self.stride).tolist(), strict=True):
            if (view := self._views.get(shard)) is None:
                if self._cache is not None:  # a local shard that is not open yet is not opened for a hint
                    self._cache.will_need(self.shards[shard])
                continue
            mapped: mmap.mmap = view.obj  # type: ignore[assignment]
            if shard not in self._random:
                # Without this the kernel reads the neighbours of each page as well, most of which no batch asks for soon.
                mapped.madvise(mmap.MADV_RANDOM)
                self._random.add(shard)
            first = start // page * page  # the kernel takes whole pages only
            mapped.madvise(mmap.MADV_WILLNEED, first, start + self.stride - first)
