"""What every kind of storage of a split's records has in common: where a record lies, and the checks.

Records have one length, so record i of a shard lies at i times the stride and nothing is parsed.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import schema, tfrecord
from tokenreel.format.manifest import ShardInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.loaders.order.lanes import Lanes
from tokenreel.storage import files

Int64Array = npt.NDArray[np.int64]

Bytes = npt.NDArray[np.uint8]

CRC_POLICIES = ("off", "first", "always")

COPY_AGAIN = "Copy the file again from where it was built, or run `tokenreel verify` to list every difference."


class FieldSlice(NamedTuple):
    """Some bytes of every record.

    Attributes:
      offset: in the record.
      size: bytes.
      writable: whether the caller keeps the copy as it is, rather than convert it.
    """

    offset: int
    size: int
    writable: bool


class Records(abc.ABC):
    """The records of one split, numbered through its shards.

    Args:
      directory: of the dataset. shards: of the split, in order; all but the last hold equally many records. fixed_format: of a record. crc: "off"
      trusts the disk, "first" checks a record's CRCs when it is first read, "always" whenever it is read (twice the CPU of "off").
    """

    remote = False  # whether `will_need` starts requests, rather than reads of a disk

    def __init__(self, directory: str, shards: Sequence[ShardInfo], fixed_format: RecordFormat, crc: str = "off") -> None:
        if crc not in CRC_POLICIES:
            raise ConfigError(f"crc must be one of {', '.join(CRC_POLICIES)}, got {crc!r}")
        self.directory, self.shards, self.fixed_format, self.crc = directory, tuple(shards), fixed_format, crc
        self.stride = fixed_format.record_bytes
        self.per_shard = max(shards[0].records, 1) if shards else 1
        self.count = sum(shard.records for shard in shards)
        self._header = np.frombuffer(fixed_format.template, dtype=np.uint8)[: tfrecord.HEADER_BYTES]
        names = [feature.name for feature in fixed_format.features]
        self._id_offset = fixed_format.offsets[names.index(schema.EXAMPLE_ID)] if schema.EXAMPLE_ID in names else None
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

    def take(self, examples: Int64Array, spans: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        """Copies some bytes of each of [k] records.

        Args:
          examples: [k] numbers in the split, in range.
          spans: the pieces wanted.

        Returns:
          for each span, its k times `size` bytes.

        Raises:
          ManifestError: a record is not what was written, where the CRC policy has it checked; names file, record and byte.
        """
        return self._cut(self.read(examples), spans)

    def lay_out(self, examples: Int64Array, spans: Sequence[FieldSlice]) -> list[Any]:
        """Prepares many gathers at once, where that makes each faster.

        Args:
          examples: [n, k] numbers in the split, in range.
          spans: the pieces wanted.

        Returns:
          for each of the n gathers what `fetch` takes.
        """
        return list(examples)

    def fetch(self, read: Any, spans: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
        """As `take`, of a gather that `lay_out` prepared for the same spans."""
        return self.take(read, spans)

    def _cut(self, records: Bytes, spans: Sequence[FieldSlice]) -> list[bytes | bytearray | Bytes]:
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
