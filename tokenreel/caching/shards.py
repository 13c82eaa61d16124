"""Stage files to shards: which records go where, and their bytes, copied as they are.

A record's place is decided by the hash of its example's key, whatever unit it was made in: shard s of n takes the s-th of n equal ranges of
hashes. Records of one hash stay in the order of the source.

Tested in tests/pipelines/test_cache_tasks.py.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel.caching.staging import Staged, open_stage
from tokenreel.format import ragged_records
from tokenreel.format.ragged_records import Features
from tokenreel.format.tfrecord import crc32c, extend_crc32c
from tokenreel.storage import files
from tokenreel.storage.column_file import Columns, to_parts

_CHUNK_BYTES = 8 << 20  # written at a time
SORT_BY = ("task", "split", "shard")


@dataclasses.dataclass(frozen=True)
class ShardPlan:
    """A shard that is to be written.

    Attributes:
      task, split: their numbers.
      shard, shards: which of how many.
    """

    task: int
    split: int
    shard: int
    shards: int


@dataclasses.dataclass(frozen=True)
class BuiltShard:
    """A shard that was written: its records, and the bytes and CRC32C of both its files."""

    task: int
    split: int
    shard: int
    records: int
    data: tuple[int, int]
    index: tuple[int, int]

    def to_row(self) -> Mapping[str, Any]:
        """Gives it as a row of a table."""
        return dataclasses.asdict(self)

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> BuiltShard:
        """Reads a row that `to_row` gave."""
        return cls(**{**row, "data": tuple(row["data"]), "index": tuple(row["index"])})


def number_of_shards(staged: Sequence[Staged], least: int, most: int | None, shard_bytes: int) -> int:
    """Says how many shards a split has: of about `shard_bytes`, and between the bounds asked for."""
    wanted = max(least, -(-sum(each.bytes for each in staged) // shard_bytes), 1)
    return wanted if most is None else min(wanted, most)


def write_shard(staged: Sequence[Staged], features: Features, directory: str, plan: ShardPlan, path: str, index_path: str) -> BuiltShard:
    """Writes a shard and its index.

    Args:
      staged: all stage files of the split, in the order of their units.
      features: those of the split.
      directory: of the stage files.
      plan: which shard.
      path: of the shard.
      index_path: of its index.
    """
    maps: list[tuple[np.ndarray[Any, np.dtype[np.uint8]], Columns]] = []
    picked, order, owner = [], [], []
    for each in staged:
        if not each.records:
            continue
        data, index = open_stage(directory, each)
        ranks = _shard_of(index.arrays["order"], plan.shards)
        begin, end = (int(np.searchsorted(ranks, plan.shard, side=side)) for side in ("left", "right"))
        if begin < end:
            owner.append(np.full(end - begin, len(maps)))
            picked.append(index.arrays["row"][begin:end])
            order.append(index.arrays["order"][begin:end])
            maps.append((data, index))
    rows = np.concatenate(picked) if picked else np.zeros(0, np.int64)
    stages = np.concatenate(owner) if owner else np.zeros(0, np.int64)
    hashes = np.concatenate(order) if order else np.zeros(0, np.uint64)
    place = np.lexsort((rows, stages, hashes))  # by hash, then as the source has them
    indexes = [ragged_records.take(index, part) for (_, index), part in zip(maps, picked, strict=True)]
    whole = ragged_records.take(ragged_records.concatenate(indexes, features), place)
    begins = np.concatenate([index.arrays["offset"][part] for (_, index), part in zip(maps, picked, strict=True)] or [rows])[place]
    size, crc = 0, 0
    bounds = whole.arrays["offset"]
    with files.write_atomic(path) as file:
        for first, last in _chunks(bounds):
            ends = begins[first:last] + np.diff(bounds[first : last + 1])
            parts = zip(stages[place[first:last]].tolist(), begins[first:last].tolist(), ends.tolist(), strict=True)
            chunk = b"".join([maps[stage][0].data[begin:end] for stage, begin, end in parts])
            file.write(chunk)
            size, crc = size + len(chunk), extend_crc32c(crc, chunk)
    text = b"".join(to_parts(whole))
    files.write_bytes(index_path, text)
    return BuiltShard(plan.task, plan.split, plan.shard, whole.rows, (size, crc), (len(text), crc32c(text)))


def _shard_of(order: np.ndarray[Any, np.dtype[np.uint64]], shards: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Says in which of some shards records lie, by their hashes: uint64 [n], sorted as they are."""
    return (order >> np.uint64(32)) * np.uint64(shards) >> np.uint64(32)


def _chunks(bounds: np.ndarray[Any, np.dtype[np.int64]]) -> list[tuple[int, int]]:
    """Cuts records into runs of about `_CHUNK_BYTES`."""
    cuts = [0]
    while cuts[-1] < len(bounds) - 1:
        cuts.append(max(cuts[-1] + 1, int(np.searchsorted(bounds, bounds[cuts[-1]] + _CHUNK_BYTES, side="right")) - 1))
    return list(itertools.pairwise(cuts))
