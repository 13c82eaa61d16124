"""What every kind of storage of a split's records has in common: where a record lies, and the checks.

Records have one length, so record i of a shard lies at i times the stride and nothing is parsed.
"""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import schema, tfrecord
from tokenreel.format.manifest import ShardInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.loaders.order.lanes import Lanes
from tokenreel.loaders.records.build_watch import BuildWatch
from tokenreel.storage import files

Int64Array = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
CRC_POLICIES = ("off", "first", "always")
COPY_AGAIN = "Copy the file again from where it was built, or run `tokenreel verify` to list every difference."


class FieldSlice(NamedTuple):
    """The bytes of one feature, at the same place in every record.

    Attributes:
      offset: first byte, counted from the record's first.
      size: how many bytes.
      writable: whether the caller keeps the copy as it is, rather than convert it: then the copy must be one that can be written to.
    """

    offset: int
    size: int
    writable: bool


class Records(abc.ABC):
    """The records of one split, numbered through its shards.

    Args:
      directory: of the dataset.
      shards: of the split, in order; all but the last hold equally many records.
      fixed_format: where the features lie in a record.
      crc: "off" trusts the disk, "first" checks a record's CRCs when it is first read, "always" whenever it is read (twice the CPU of
        "off").
      watch: of the build that was opened; None for files that nobody replaces.

    Attributes:
      stride: bytes of a record.
      per_shard: records in every shard but the last.
      count: records in all shards.

    Raises:
      ConfigError: there is no such CRC policy.
    """

    remote = False  # whether `will_need` starts requests, rather than reads of a disk

    def __init__(
        self,
        directory: str,
        shards: Sequence[ShardInfo],
        fixed_format: RecordFormat,
        crc: str = "off",
        watch: BuildWatch | None = None,
    ) -> None:
        if crc not in CRC_POLICIES:
            raise ConfigError(f"crc must be one of {', '.join(CRC_POLICIES)}, got {crc!r}")
        self.directory, self.shards, self.fixed_format, self.crc = directory, shards, fixed_format, crc
        self.watch = watch
        self.stride = fixed_format.record_bytes
        self.per_shard = max(shards[0].records, 1) if shards else 1
        self.count = self.per_shard * (len(shards) - 1) + shards[-1].records if shards else 0
        self._header = np.frombuffer(fixed_format.template, dtype=np.uint8)[: tfrecord.HEADER_BYTES]
        names = [feature.name for feature in fixed_format.features]
        self._id_offset = fixed_format.offsets[names.index(schema.EXAMPLE_ID)] if schema.EXAMPLE_ID in names else None
        # A bit for each example, with the policy "first". Threads set bits without a lock: a lost one costs a second check, no more.
        self._checked: Bytes | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A process that gets a copy may run on another machine, with another disk: it checks anew.
        return vars(self) | {"_checked": None}

    @abc.abstractmethod
    def _read(self, examples: Int64Array) -> Bytes:
        """Copies [k] whole records to uint8 [k, stride], unchecked."""

    def prepare(self, shuffle: bool | Lanes) -> None:  # noqa: B027  (what matters where reads are requests)
        """Is told in what order records will be read."""

    def will_need(self, examples: Int64Array) -> None:  # noqa: B027  (a hint; not every kind of storage takes it)
        """Starts to bring [k] records into memory; reads nothing itself, and shows no failure."""

    def take(self, examples: Int64Array, slices: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        """Copies some bytes of each of [k] records.

        Args:
          examples: int64 [k] numbers in the split, in range.
          slices: the bytes wanted of each record.

        Returns:
          for each slice, its k times `size` bytes, in the order of `examples`.

        Raises:
          ManifestError: a record is not what was written, where the CRC policy has it checked; names file, record and byte.
        """
        return self._cut(self.read(examples), slices)

    def plan_reads(self, examples: Int64Array, slices: Sequence[FieldSlice]) -> list[Any]:
        """Prepares many reads at once, where that makes each faster.

        Args:
          examples: int64 [n, k] numbers in the split, in range.
          slices: the bytes wanted of each record.

        Returns:
          for each of the n reads what `fetch` takes.
        """
        return list(examples)

    def fetch(self, read: Any, slices: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        """Does what `take` does, for one read that `plan_reads` prepared for the same slices.

        Raises:
          ManifestError: as `take`.
        """
        return self.take(read, slices)

    def _cut(self, records: Bytes, slices: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        return [records[:, wanted.offset : wanted.offset + wanted.size].copy().reshape(-1) for wanted in slices]

    def read(self, examples: Int64Array) -> Bytes:
        """Copies [k] whole records to uint8 [k, stride], checked as the CRC policy says.

        Raises:
          ManifestError: a record is not what was written; names file, record and byte.
        """
        records = self._read(examples)
        if self._must_check(examples):
            self.check(records, examples)
            if self._checked is not None:
                # `at`, because two of the examples may share a byte: plain indexing would keep the bit of one of them.
                np.bitwise_or.at(self._checked, examples >> 3, _bit(examples))
        return records

    def _must_check(self, examples: Int64Array) -> bool:
        """Decides whether [k] records are checked; with the policy "first", all of them are if one was not read before."""
        if self.crc == "first":
            if self._checked is None:
                self._checked = np.zeros(self.count // 8 + 1, dtype=np.uint8)
            return not (self._checked[examples >> 3] & _bit(examples)).all()
        return self.crc == "always"

    def check(self, records: Bytes, examples: Int64Array) -> None:
        """Compares the frame, both CRCs and the example ids of records.

        Args:
          records: uint8 [k, stride] whole frames.
          examples: int64 [k] the numbers they should have.

        Raises:
          ManifestError: names the first record that differs.
        """
        # All records have one length, so the header with its CRC is the same 12 bytes in each: compared, not computed.
        wrong = (records[:, : tfrecord.HEADER_BYTES] != self._header).any(axis=1)
        if wrong.any():
            self._refuse(examples[wrong][0], "its length or the length's CRC is altered")
        stored = np.ascontiguousarray(records[:, -tfrecord.FOOTER_BYTES :]).view("<u4").reshape(-1)
        wrong = tfrecord.payload_crcs(records) != stored
        if wrong.any():
            self._refuse(examples[wrong][0], "its CRC does not match its bytes")
        self.check_ids(records, examples)

    def check_ids(self, records: Bytes, examples: Int64Array) -> None:
        """Compares the example ids: wrong ones mean that shards were exchanged or mixed with those of another build.

        Raises:
          ManifestError: names the first record that differs.
        """
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
        """Says where a record lies: file name in the directory, record in the file, first byte, and the byte behind its last."""
        shard, row = divmod(example, self.per_shard)
        return self.shards[shard].file, row, row * self.stride, (row + 1) * self.stride

    def _check_file(self, shard: int, descriptor: int) -> None:
        """Compares a local shard that was opened with the build that the dataset was opened from.

        Raises:
          ManifestError: it has another size, or is of another build.
        """
        info = self.shards[shard]
        if (size := os.fstat(descriptor).st_size) != info.bytes:
            self.check_build()
            path = files.join(self.directory, info.file)
            raise ManifestError(f"{path}: {size:,} bytes, the manifest says {info.bytes:,}. {COPY_AGAIN}")
        if self.watch is not None:
            self.watch.check_shard(info, descriptor)

    def _opened(self, action: Callable[[ShardInfo], int], shard: int) -> int:
        """Opens a shard by an action; gives the descriptor.

        Raises:
          ManifestError: as the action, unless there is another build by now: that is the better reason.
        """
        try:
            return action(self.shards[shard])
        except ManifestError:
            self.check_build()
            raise

    def check_build(self) -> None:
        """Compares the build in the directory with the one that was opened: called after files beside the shards were read.

        Raises:
          ManifestError: it is another one.
        """
        if self.watch is not None:
            self.watch.check()

    def _check_ends(self, shard: int, read: Callable[[int, int], bytes]) -> None:
        """Checks the first and the last record of a shard that is opened, whatever the policy: cheap proof that it is this shard.

        Args:
          shard: its place in the split.
          read: gives `size` bytes from an offset on: `read(offset, size)`.

        Raises:
          ManifestError: one of them differs.
        """
        records = self.shards[shard].records
        rows = np.array([0, records - 1] if records else [], dtype=np.int64)
        data = b"".join(read(int(row) * self.stride, self.stride) for row in rows)
        self.check(np.frombuffer(data, dtype=np.uint8).reshape(-1, self.stride), rows + shard * self.per_shard)


def _bit(examples: Int64Array) -> Bytes:
    """Gives the bit of each of [k] examples in its byte: uint8 [k]."""
    bits: Bytes = np.left_shift(1, examples & 7).astype(np.uint8)
    return bits
