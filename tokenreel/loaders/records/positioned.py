"""Records of local files, read with `pread` instead of memory maps.

Tested in tests/tokenreel/loaders/records/test_mapped.py, with the same tests as memory maps.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenreel.format.manifest import ShardInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.loaders.records import local_files
from tokenreel.loaders.records.base import Bytes, Int64Array, Records
from tokenreel.loaders.records.build_watch import BuildWatch


class PositionedRecords(Records):
    """Records read with `pread`: for file systems whose maps are slow or forbidden, and where mapped pages must not count as memory."""

    def __init__(
        self,
        directory: str,
        shards: Sequence[ShardInfo],
        fixed_format: RecordFormat,
        crc: str = "off",
        watch: BuildWatch | None = None,
    ) -> None:
        super().__init__(directory, shards, fixed_format, crc, watch)
        self._open_files: dict[int, io.FileIO] = {}  # by shard

    def __getstate__(self) -> dict[str, Any]:
        # Descriptors mean nothing in another process, which opens the shards anew.
        return super().__getstate__() | {"_open_files": {}}

    def _file(self, shard: int) -> io.FileIO:
        """Gives the open shard. It stays open as long as a caller holds it, so another thread's opening cannot change what is read."""
        if (found := self._open_files.get(shard)) is not None:
            return found
        descriptor = self._opened(functools.partial(local_files.open_file, self.directory), shard)
        file = io.FileIO(descriptor, closefd=True)
        self._check_file(shard, file.fileno())
        self._check_ends(shard, lambda start, size: os.pread(file.fileno(), size, start))
        self._open_files[shard] = file
        local_files.OPEN_SHARDS.add(self, shard)
        return file

    def close_shard(self, shard: int) -> None:
        """Lets a shard go, if it is open; whoever is just reading it keeps it so long."""
        self._open_files.pop(shard, None)

    def _read(self, examples: Int64Array) -> Bytes:
        out = np.empty((len(examples), self.stride), dtype=np.uint8)
        shards, rows = np.divmod(examples, self.per_shard)
        # Neighbours in the batch that are neighbours in the file take one call.
        joined = (np.diff(examples) == 1) & (np.diff(shards) == 0)
        bounds = np.r_[0, np.flatnonzero(~joined) + 1, len(examples)].tolist() if len(examples) else [0]
        for start, end in itertools.pairwise(bounds):
            shard, row = int(shards[start]), int(rows[start])
            want = (end - start) * self.stride
            file = self._file(shard)
            if os.preadv(file.fileno(), [memoryview(out[start:end].data).cast("B")], row * self.stride) != want:
                self._refuse(examples[start], "the file ends inside it")
        return out

    def will_need(self, examples: Int64Array) -> None:
        """Asks the kernel to read the pages of [k] records of shards that are open."""
        shards, rows = np.divmod(examples, self.per_shard)
        for shard, start in zip(shards.tolist(), (rows * self.stride).tolist(), strict=True):
            if hasattr(os, "posix_fadvise") and (file := self._open_files.get(shard)) is not None:
                os.posix_fadvise(file.fileno(), start, self.stride, os.POSIX_FADV_WILLNEED)
