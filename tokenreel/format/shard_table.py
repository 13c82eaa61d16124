"""Shards of a dataset: what the manifest says of each, as a list or, where there are very many, as a table beside the manifest.

The table is `shards.npy`, which `numpy.load` reads: int64 [5, n], a column for each shard, all splits by name and each in order.

    | row | |
    | --- | --- |
    | 0 | records |
    | 1 | bytes |
    | 2 | CRC32C |
    | 3 | bytes of its provenance table, -1 where it has none |
    | 4 | CRC32C of that, -1 where it has none |

Names are not in it: `naming.shard` and `naming.provenance` make them of the split and the place.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.format import naming
from tokenreel.lazy_sequence import LazySequence

_ROWS = 5
_NONE = -1
_MOST_CRC = (1 << 32) - 1
_MOST = 1 << 62
Table = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardInfo:
    """One shard: what a directory must hold under its name."""

    file: str
    records: int
    bytes: int
    crc32c: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileInfo:
    """A file beside the shards."""

    file: str
    bytes: int
    crc32c: int


class ShardColumns(LazySequence[ShardInfo]):
    """The shards of one split, from a table: each `ShardInfo` is made when it is asked for.

    Attributes:
      split: its name.
      table: int64 [5, n], the columns of the split.
    """

    def __init__(self, split: str, table: Table) -> None:
        """Takes the columns of a split."""
        self.split, self.table = split, table

    def __len__(self) -> int:
        return int(self.table.shape[1])

    def _make(self, index: int) -> ShardInfo:
        records, size, crc = self.table[:3, index].tolist()
        return ShardInfo(file=naming.shard(self.split, index, len(self)), records=records, bytes=size, crc32c=crc)

    def __iter__(self) -> Iterator[ShardInfo]:
        for place, (records, size, crc) in enumerate(self.table[:3].T.tolist()):
            yield ShardInfo(file=naming.shard(self.split, place, len(self)), records=records, bytes=size, crc32c=crc)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def provenance(self, index: int) -> FileInfo | None:
        """Describes the provenance table of a shard; None where it has none."""
        size, crc = self.table[3:, index].tolist()
        return None if size < 0 else FileInfo(file=naming.provenance(self.split, index, len(self)), bytes=size, crc32c=crc)


class FilesAndTables(Sequence[FileInfo]):
    """The files beside the shards: those that a manifest lists, then the provenance tables of shards in a table."""

    def __init__(self, listed: Sequence[FileInfo], splits: Sequence[ShardColumns]) -> None:
        """Takes what is listed, and the shards of all splits."""
        self.listed, self._splits = tuple(listed), splits
        self._counts = [int((split.table[3] >= 0).sum()) for split in splits]

    def __len__(self) -> int:
        return len(self.listed) + sum(self._counts)

    @overload
    def __getitem__(self, index: int) -> FileInfo: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[FileInfo]: ...

    def __getitem__(self, index: int | slice) -> FileInfo | Sequence[FileInfo]:
        return list(self)[index]

    def __iter__(self) -> Iterator[FileInfo]:
        yield from self.listed
        for split in self._splits:
            yield from (found for found in map(split.provenance, range(len(split))) if found is not None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def find(self, name: str) -> FileInfo | None:
        """Finds a file by its name, without going through those of all shards."""
        place = naming.place_of_provenance(name)
        if place is None:
            return next((info for info in self.listed if info.file == name), None)
        split = next((split for split in self._splits if (split.split, len(split)) == (place.split, place.count)), None)
        return None if split is None or place.index >= len(split) else split.provenance(place.index)


def to_table(splits: Mapping[str, Sequence[ShardInfo]], files: Sequence[FileInfo]) -> Table:
    """Makes the table of all shards; files that are no provenance table of one of them are left out.

    Raises:
      ValueError: a shard has another name than its place gives it.
    """
    if all(isinstance(shards, ShardColumns) for shards in splits.values()):
        parts = [shards.table for _, shards in sorted(splits.items()) if isinstance(shards, ShardColumns)]
        return np.concatenate([*parts, np.zeros((_ROWS, 0), dtype=np.int64)], axis=1)
    known = {info.file: info for info in files}
    rows = []
    for split, shards in sorted(splits.items()):
        for index, shard in enumerate(shards):
            if shard.file != naming.shard(split, index, len(shards)):
                raise ValueError(f"{shard.file} stands in the place of {naming.shard(split, index, len(shards))}")
            own = known.get(naming.provenance(split, index, len(shards)))
            rows.append((shard.records, shard.bytes, shard.crc32c, *((_NONE, _NONE) if own is None else (own.bytes, own.crc32c))))
    return np.array(rows, dtype=np.int64).reshape(-1, _ROWS).T


def unlisted(splits: Mapping[str, Sequence[ShardInfo]], files: Sequence[FileInfo]) -> tuple[FileInfo, ...]:
    """Gives the files that are no provenance table of a shard: what the JSON lists beside the table."""
    if isinstance(files, FilesAndTables):
        return files.listed
    tables = {naming.provenance(split, index, len(shards)) for split, shards in splits.items() for index in range(len(shards))}
    return tuple(info for info in files if info.file not in tables)


def to_bytes(table: Table) -> bytes:
    """Writes a table as `shards.npy`. The header is written here, since that of NumPy's own writer may change with its version."""
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({table.shape[0]}, {table.shape[1]}), }}".encode()
    padded = header.ljust(-(-(11 + len(header)) // 64) * 64 - 11) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + np.ascontiguousarray(table, dtype="<i8").tobytes()


def from_bytes(data: bytes, counts: Mapping[str, int]) -> dict[str, ShardColumns]:
    """Reads a table.

    Args:
      data: as `to_bytes` writes it.
      counts: the number of shards of each split.

    Raises:
      ValueError: it is no such table, or holds numbers that no build writes.
    """
    total = sum(counts.values())
    body = 8 * _ROWS * total
    table = np.frombuffer(data[max(0, len(data) - body) :], dtype="<i8").astype(np.int64, copy=False)
    if table.size != _ROWS * total or to_bytes(table.reshape(_ROWS, total)) != data:
        raise ValueError(f"{naming.SHARD_TABLE} is no table of {total:,} shards")
    table = table.reshape(_ROWS, total)
    least, most = [0, 0, 0, _NONE, _NONE], [_MOST, _MOST, _MOST_CRC, _MOST, _MOST_CRC]
    if total and ((table.min(axis=1) < least).any() or (table.max(axis=1) > most).any() or ((table[3] < 0) != (table[4] < 0)).any()):
        raise ValueError(f"{naming.SHARD_TABLE} holds a number that no build writes")
    found, begin = {}, 0
    for split, count in sorted(counts.items()):
        found[split] = ShardColumns(split, table[:, begin : begin + count])
        begin += count
    return found


def digests(table: Table) -> tuple[str, str]:
    """Digests all of a table, and what decides the bytes of the training data: records, bytes and CRC32C of the shards."""
    return keys.digest(to_bytes(table)), keys.digest(np.ascontiguousarray(table[:3], dtype="<i8").tobytes())


def contradiction(shards: ShardColumns, stride: int | None) -> int | None:
    """Finds the first shard whose bytes are no multiple of a record's as it says, or whose number of records keeps it from being found.

    Args:
      shards: of a split.
      stride: bytes of a record; None where records differ in length.
    """
    records, sizes = shards.table[0], shards.table[1]
    wrong = np.zeros(len(shards), dtype=np.bool_) if stride is None else sizes != records * stride
    if len(shards):
        wrong |= records > records[0]
        wrong[:-1] |= records[:-1] != records[0]
    found = np.flatnonzero(wrong)
    return int(found[0]) if len(found) else None
