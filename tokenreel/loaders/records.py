"""Random access to the records of a split: from memory maps, by positioned reads, or (`remote.py`) by ranges of a bucket.

Records have one length, so record i of a shard lies at i times the stride and nothing is parsed. A gather copies byte slices of the maps
into one buffer: measured as fast as `np.take` on a raw array, and faster than any indexing of a strided view.
"""

from __future__ import annotations

import abc
import io
import itertools
import mmap
import os
import resource
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel import files, schema, tfrecord
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.manifest import ShardInfo
from tokenreel.order import Lanes
from tokenreel.schema import RecordLayout

if TYPE_CHECKING:
    from tokenreel.loaders.cache import ShardCache

Int64Array = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

CRC_POLICIES = ("off", "first", "always")
COPY_AGAIN = "Copy the file again from where it was built, or run `tokenreel verify` to list every difference."


class Span(NamedTuple):
    """Some bytes of every record.

    Attributes:
      offset: in the record.
      size: bytes.
      writable: whether the caller keeps the copy as it is, rather than convert it.
    """

    offset: int
    size: int
    writable: bool


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


class Records(abc.ABC):
    """The records of one split, numbered through its shards.

    Args:
      directory: of the dataset. shards: of the split, in order; all but the last hold equally many records. layout: of a record. crc: "off"
      trusts the disk, "first" checks a record's CRCs when it is first read, "always" whenever it is read (twice the CPU of "off").
    """

    remote = False  # whether `will_need` starts requests, rather than reads of a disk

    def __init__(self, directory: str, shards: Sequence[ShardInfo], layout: RecordLayout, crc: str = "off") -> None:
        if crc not in CRC_POLICIES:
            raise ConfigError(f"crc must be one of {', '.join(CRC_POLICIES)}, got {crc!r}")
        self.directory, self.shards, self.layout, self.crc = directory, tuple(shards), layout, crc
        self.stride = layout.record_bytes
        self.per_shard = max(shards[0].records, 1) if shards else 1
        self.count = sum(shard.records for shard in shards)
        self._header = np.frombuffer(layout.template, dtype=np.uint8)[: tfrecord.HEADER_BYTES]
        names = [feature.name for feature in layout.features]
        self._id_offset = layout.offsets[names.index(schema.EXAMPLE_ID)] if schema.EXAMPLE_ID in names else None
        self._checked: Bytes | None = None  # a bit for each example, with the policy "first"

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_checked": None}

    @abc.abstractmethod
    def _read(self, examples: Int64Array) -> Bytes:
        """Copies [k] whole records to [k, stride], unchecked."""

    def prepare(self, shuffle: bool | Lanes) -> None:  # noqa: B027  (what matters where reads are requests)
        """Is told in what order records will be read."""

    def will_need(self, examples: Int64Array) -> None:  # noqa: B027  (a hint; not every kind of storage takes it)
        """Starts to bring records into memory."""

    def take(self, examples: Int64Array, spans: Sequence[Span]) -> list[bytes | bytearray | Bytes]:
        """Copies some bytes of each of [k] records.

        Args:
          examples: [k] numbers in the split, in range.
          spans: the pieces wanted.

        Returns:
          for each span, its k times `size` bytes.

        Raises:
          ManifestError: a record is not what the layout says, where the CRC policy has it checked; names file, record and byte.
        """
        return self._cut(self.read(examples), spans)

    def lay_out(self, examples: Int64Array, spans: Sequence[Span]) -> list[Any]:
        """Prepares many gathers at once, where that makes each faster.

        Args:
          examples: [n, k] numbers in the split, in range.
          spans: the pieces wanted.

        Returns:
          for each of the n gathers what `fetch` takes.
        """
        return list(examples)

    def fetch(self, read: Any, spans: Sequence[Span]) -> list[bytes | bytearray | Bytes]:
        """As `take`, of a gather that `lay_out` prepared for the same spans."""
        return self.take(read, spans)

    def _cut(self, records: Bytes, spans: Sequence[Span]) -> list[bytes | bytearray | Bytes]:
        return [records[:, span.offset : span.offset + span.size].copy().reshape(-1) for span in spans]

    def read(self, examples: Int64Array) -> Bytes:
        """Copies [k] whole records to [k, stride], checked as the CRC policy says."""
        records = self._read(examples)
        if self._must_check(examples):
            self.check(records, examples)
            if self._checked is not None:
                np.bitwise_or.at(self._checked, examples >> 3, _bit(examples))
        return records

    def _must_check(self, examples: Int64Array) -> bool:
        if self.crc == "first":
            if self._checked is None:
                self._checked = np.zeros(self.count // 8 + 1, dtype=np.uint8)
            return not (self._checked[examples >> 3] & _bit(examples)).all()
        return self.crc == "always"

    def check(self, records: Bytes, examples: Int64Array) -> None:
        """Compares the frame, both CRCs and the example ids of [k, stride] records.

        Raises:
          ManifestError: names the first record that differs.
        """
        wrong = (records[:, : tfrecord.HEADER_BYTES] != self._header).any(axis=1)
        if wrong.any():
            self._refuse(examples[wrong][0], "its length or the length's CRC is altered")
        stored = np.ascontiguousarray(records[:, -tfrecord.FOOTER_BYTES :]).view("<u4").reshape(-1)
        wrong = tfrecord.payload_crcs(records) != stored
        if wrong.any():
            self._refuse(examples[wrong][0], "its CRC does not match its bytes")
        self.check_ids(records, examples)

    def check_ids(self, records: Bytes, examples: Int64Array) -> None:
        """Compares the example ids: wrong ones mean that shards were exchanged or mixed with those of another build."""
        if self._id_offset is None:
            return
        ids = np.ascontiguousarray(records[:, self._id_offset : self._id_offset + 8]).view("<i8").reshape(-1)
        wrong = np.flatnonzero(ids != examples)
        if len(wrong):
            self._refuse(examples[wrong[0]], f"it holds example {ids[wrong[0]]:,}, expected {examples[wrong[0]]:,}: shards were exchanged")

    def _refuse(self, example: int | np.int64, what: str) -> None:
        shard, row = divmod(int(example), self.per_shard)
        path = files.join(self.directory, self.shards[shard].file)
        raise ManifestError(f"{path}: record {row:,} at byte {row * self.stride:,}: {what}. {COPY_AGAIN}")

    def place(self, example: int) -> tuple[str, int, int, int]:
        """Says where a record lies: file name in the directory, record in the file, first byte, and end."""
        shard, row = divmod(example, self.per_shard)
        return self.shards[shard].file, row, row * self.stride, (row + 1) * self.stride

    def _check_size(self, shard: int, size: int) -> None:
        info = self.shards[shard]
        if size != info.bytes:
            path = files.join(self.directory, info.file)
            raise ManifestError(f"{path}: {size:,} bytes, the manifest says {info.bytes:,}. {COPY_AGAIN}")

    def _check_ends(self, shard: int, read: Callable[[int, int], bytes]) -> None:
        """Checks the first and the last record of a shard that is opened, whatever the policy: cheap proof that it is this shard."""
        records = self.shards[shard].records
        rows = np.array([0, records - 1] if records else [], dtype=np.int64)
        data = b"".join(read(int(row) * self.stride, self.stride) for row in rows)
        self.check(np.frombuffer(data, dtype=np.uint8).reshape(-1, self.stride), rows + shard * self.per_shard)


def _bit(examples: Int64Array) -> Bytes:
    bits: Bytes = np.left_shift(1, examples & 7).astype(np.uint8)
    return bits


def _open_limit() -> int:
    """How many shards may be open: each map holds a file descriptor, and the kernel allows some 65,000 maps."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 16_384 if soft == resource.RLIM_INFINITY else max(8, min(16_384, soft // 2))


def _open_file(directory: str, info: ShardInfo) -> int:
    path = files.join(directory, info.file)
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        raise ManifestError(f"{path}: the shard vanished after the dataset was opened. {COPY_AGAIN}") from None


class MappedRecords(Records):
    """Records in memory maps of local files. Maps are made when a shard is first read, so opening takes no longer for more shards.

    Args:
      cache: opens the local copy of a shard, for datasets in a bucket; None opens the files of the directory.
    """

    def __init__(
        self,
        directory: str,
        shards: Sequence[ShardInfo],
        layout: RecordLayout,
        crc: str = "off",
        cache: ShardCache | None = None,
    ) -> None:
        super().__init__(directory, shards, layout, crc)
        self._cache = cache
        self._views: dict[int, memoryview] = {}
        self._sound: set[int] = set()
        self._random: set[int] = set()
        self._limit = _open_limit()
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
        descriptor = _open_file(self.directory, info) if self._cache is None else self._cache.open(info)
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

    def take(self, examples: Int64Array, spans: Sequence[Span]) -> list[bytes | bytearray | Bytes]:
        """As `Records.take`, straight from the maps where nothing is to be checked."""
        if self.crc != "off" and self._must_check(examples):
            return super().take(examples, spans)
        return self.fetch(self._places(examples[None], spans)[0], spans)

    def lay_out(self, examples: Int64Array, spans: Sequence[Span]) -> list[Any]:
        """As `Records.lay_out`: the places of thousands of records in some vectorised steps."""
        return self._places(examples, spans) if self.crc == "off" else super().lay_out(examples, spans)

    def _places(self, examples: Int64Array, spans: Sequence[Span]) -> list[_Scattered | _Run]:
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

    def fetch(self, read: Any, spans: Sequence[Span]) -> list[bytes | bytearray | Bytes]:
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
        whole = (Span(0, self.stride, False),)
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


class PositionedRecords(Records):
    """Records read with `pread`: for file systems whose maps are slow or forbidden, and where mapped pages must not count as memory."""

    def __init__(self, directory: str, shards: Sequence[ShardInfo], layout: RecordLayout, crc: str = "off") -> None:
        super().__init__(directory, shards, layout, crc)
        self._open_files: dict[int, io.FileIO] = {}
        self._limit = _open_limit()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_open_files": {}}

    def _file(self, shard: int) -> io.FileIO:
        """The open shard. It stays open as long as a caller holds it, so another thread's opening cannot change what is read."""
        if (found := self._open_files.get(shard)) is not None:
            return found
        file = io.FileIO(_open_file(self.directory, self.shards[shard]), closefd=True)
        self._check_size(shard, os.fstat(file.fileno()).st_size)
        self._check_ends(shard, lambda start, size: os.pread(file.fileno(), size, start))
        while len(self._open_files) >= self._limit:
            self._open_files.pop(list(self._open_files)[0], None)  # noqa: RUF015
        self._open_files[shard] = file
        return file

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
        """Asks the kernel to read the records' pages."""
        shards, rows = np.divmod(examples, self.per_shard)
        for shard, start in zip(shards.tolist(), (rows * self.stride).tolist(), strict=True):
            if hasattr(os, "posix_fadvise") and (file := self._open_files.get(shard)) is not None:
                os.posix_fadvise(file.fileno(), start, self.stride, os.POSIX_FADV_WILLNEED)
