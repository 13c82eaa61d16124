"""Records of a dataset in a bucket, read by ranges: about a megabyte a request where the order allows it, several at once, with retries."""

from __future__ import annotations

import concurrent.futures
import itertools
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenreel.errors import ManifestError
from tokenreel.format import tfrecord
from tokenreel.format.manifest import ShardInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.loaders import forks
from tokenreel.loaders.order.lanes import Lanes
from tokenreel.loaders.records.base import COPY_AGAIN, Bytes, Int64Array, Records
from tokenreel.loaders.records.build_watch import BuildWatch
from tokenreel.loaders.records.fetch_threads import FetchThreads, result_of
from tokenreel.loaders.records.retrying import VanishedError, WrongBytesError, retrying
from tokenreel.storage import files

BLOCK_BYTES = 1 << 20
GAP_BYTES = 64 << 10  # reading over a gap this wide costs less than another request


class RemoteRecords(Records):
    """Records read from a bucket.

    With `Lanes` or the stored order, whole blocks are fetched and kept as long as the order needs them. With a shuffle over everything each
    record is a request of its own (neighbours share one): 20 ms of latency, tens of requests in flight; a shard cache is better then.

    Args:
      memory_bytes: how much of the fetched blocks may stay in memory; more stays where the order needs more.
      threads: requests under way at a time.
      watch: see `Records`.

    Attributes:
      block: examples fetched together, 0 for single ranges.
      requests: sent so far.
      bytes_read: received so far.
    """

    remote = True

    def __init__(
        self,
        directory: str,
        shards: Sequence[ShardInfo],
        fixed_format: RecordFormat,
        crc: str = "off",
        memory_bytes: int = 256 << 20,
        threads: int = 16,
        watch: BuildWatch | None = None,
    ) -> None:
        super().__init__(directory, shards, fixed_format, crc, watch)
        self.block = 0
        self.memory_bytes, self._threads = memory_bytes, threads
        self._blocks_needed = 0  # blocks that the order has open at a time
        self._reset()

    def _reset(self) -> None:
        self.requests = self.bytes_read = 0
        self.after_fork()
        forks.renew_in_children(self)

    def after_fork(self) -> None:
        """Forgets the parent's threads, and what they were reading."""
        self._lock = threading.Lock()
        self._pool: FetchThreads | None = None
        self._ranges: OrderedDict[tuple[int, int], concurrent.futures.Future[Bytes]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        lost = ("_lock", "_pool", "_ranges")
        return {name: value for name, value in super().__getstate__().items() if name not in lost}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._reset()

    def prepare(self, shuffle: bool | Lanes) -> None:
        """Chooses between whole blocks and single ranges."""
        if isinstance(shuffle, Lanes):
            self.block = shuffle.block
            self._blocks_needed = shuffle.lanes * (shuffle.mix + 1)  # those that each lane mixes, and the one it goes on to
        else:
            self.block = 0 if shuffle else max(1, BLOCK_BYTES // self.stride)
            self._blocks_needed = 8

    def _must_check(self, examples: Int64Array) -> bool:
        return False  # checked when it was fetched

    def _wanted(self, examples: Int64Array) -> list[tuple[int, int]]:
        """Finds the ranges [first, end) of examples to fetch for int64 [k] examples: whole blocks, or the examples and small gaps."""
        if self.block:
            blocks = np.unique(examples // self.block).tolist()
            return [(block * self.block, min((block + 1) * self.block, self.count)) for block in blocks]
        if not len(examples):
            return []  # a host whose devices hold no rows
        unique = np.unique(examples)
        gap = max(1, GAP_BYTES // self.stride)
        far = (np.diff(unique) > gap) | (np.diff(unique // self.per_shard) > 0)
        bounds = np.r_[0, np.flatnonzero(far) + 1, len(unique)]
        return [(int(unique[a]), int(unique[b - 1]) + 1) for a, b in itertools.pairwise(bounds)]

    def _future(self, wanted: tuple[int, int]) -> tuple[concurrent.futures.Future[Bytes], FetchThreads]:
        """Gives the range that is fetched or under way, and who fetches it; asks for it if it is neither."""
        with self._lock:
            if self._pool is None:
                self._pool = FetchThreads(self._threads, "tokenreel-remote")
            if (found := self._ranges.get(wanted)) is not None:
                self._ranges.move_to_end(wanted)
            else:
                found = self._ranges[wanted] = self._pool.submit(self._fetch, *wanted)
                self._forget()
            return found, self._pool

    def _forget(self) -> None:
        """Lets the ranges go that were used longest ago, beyond what memory and the order need."""
        size = (self.block or 1) * self.stride
        keep = max(self.memory_bytes // size, min(self._blocks_needed, 1 << 16) if self.block else 1024)
        while len(self._ranges) > keep:
            self._ranges.popitem(last=False)

    def _read(self, examples: Int64Array) -> Bytes:
        out = np.empty((len(examples), self.stride), dtype=np.uint8)
        futures = [(wanted, *self._future(wanted)) for wanted in self._wanted(examples)]
        for (first, end), future, pool in futures:
            rows = np.flatnonzero((examples >= first) & (examples < end))
            try:
                out[rows] = result_of(future, pool)[examples[rows] - first]
            except BaseException:
                with self._lock:
                    self._ranges.pop((first, end), None)  # asked for again, it is fetched again
                raise
        if not self.block:  # single ranges are not asked for again before the next epoch
            with self._lock:
                for wanted, *_ in futures:
                    self._ranges.pop(wanted, None)
        return out

    def will_need(self, examples: Int64Array) -> None:
        """Starts to fetch the ranges of [k] records; a failure shows when they are read."""
        for wanted in self._wanted(examples):
            self._future(wanted)

    def _fetch(self, first: int, end: int) -> Bytes:
        """Reads and checks the examples [first, end), one request for each shard they lie in: uint8 [end - first, stride]."""
        parts = []
        while first < end:
            shard, row = divmod(first, self.per_shard)
            stop = min(end, (shard + 1) * self.per_shard)
            parts.append(self._fetch_range(shard, row, stop - first))
            first = stop
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _fetch_range(self, shard: int, row: int, count: int) -> Bytes:
        """Reads and checks `count` records of one shard from a row on, again after a failure that may pass."""
        info = self.shards[shard]
        path = files.join(self.directory, info.file)
        size = count * self.stride

        def fetch() -> Bytes:
            with self._lock:
                self.requests += 1
                self.bytes_read += size
            version = None if self.watch is None else self.watch.version(info.file)
            data = files.read_bytes(path, row * self.stride, size, version, info.bytes)
            try:
                if len(data) != size:
                    raise ManifestError(f"{path}: {len(data):,} bytes at byte {row * self.stride:,}, expected {size:,}. {COPY_AGAIN}")
                records = np.frombuffer(data, dtype=np.uint8).reshape(count, self.stride)
                # Checked here whatever the policy, once: a CRC costs a hundredth of the transfer.
                self.check(records, np.arange(count) + (shard * self.per_shard + row))
            except ManifestError as error:
                raise WrongBytesError(str(error), tfrecord.crc32c(data)) from None
            return records

        try:
            return retrying(fetch, path)
        except VanishedError:
            if self.watch is None or not self.watch.follow(info):
                raise
            return retrying(fetch, path)  # the same bytes, written once more
