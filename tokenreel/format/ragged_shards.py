"""Shards of records of any length, read in any order through their indexes, with no scan and no parsing.

Tested in tests/tokenreel/format/test_ragged_records.py.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.errors import ManifestError
from tokenreel.format import example_codec, tfrecord
from tokenreel.format.cache_manifest import CachedShard
from tokenreel.format.ragged_records import SEQIO, Features, RaggedFeature
from tokenreel.lazy_sequence import LazySequence
from tokenreel.ragged import Ints
from tokenreel.storage import column_file, files
from tokenreel.storage.column_file import Columns

Open: TypeAlias = Callable[[], tuple[npt.NDArray[np.uint8], Columns]]
"""Maps a shard: its bytes, and its index."""
Column: TypeAlias = tuple[Any, Ints | None]
"""A feature of n examples: [values, ...] end to end along the first axis and int64 [n + 1] bounds. Scalars and texts are [n] without
bounds; arrays whose further axes differ from example to example are a list of [n], without bounds too."""


class RaggedRecords(LazySequence[dict[str, Any]]):
    """The examples of some shards, in the order of the shards. A shard is mapped when an example of it is asked for first.

    Args:
      features: of the examples.
      shards: (records, how it is mapped) of each.
    """

    def __init__(self, features: Features, shards: Sequence[tuple[int, Open]]) -> None:
        self.features = dict(features)
        self._open = [opener for _, opener in shards]
        self._bounds = ragged.offsets_of(np.array([records for records, _ in shards], dtype=np.int64))
        self._mapped: dict[int, tuple[memoryview, Columns]] = {}

    def __len__(self) -> int:
        return int(self._bounds[-1])

    @property
    def shards(self) -> list[range]:
        """The numbers of the examples in each shard."""
        return [range(start, stop) for start, stop in itertools.pairwise(self._bounds.tolist())]

    def _make(self, index: int) -> dict[str, Any]:
        shard = bisect.bisect_right(self._bounds, index) - 1
        place = np.array([index - self._bounds[shard]])
        found = _Places([(shard, place)], self._shard, np.zeros(1, np.int64))
        return {name: _first(_read(found, name, feature), feature) for name, feature in self.features.items() if not found.absent(name)[0]}

    def take(self, indices: npt.ArrayLike, only: Collection[str] | None = None) -> dict[str, Column]:
        """Gives examples as a block.

        Args:
          indices: int [k] their numbers, in any order, some perhaps twice.
          only: names of the features wanted; None for all. Others are not read.

        Returns:
          a column for each feature. Where an example lacks a feature, it is empty there, or 0.

        Raises:
          IndexError: there is no such example.
        """
        places = self._places(indices)
        return {name: _read(places, name, feature) for name, feature in self.features.items() if only is None or name in only}

    def examples(self, indices: npt.ArrayLike) -> list[dict[str, Any]]:
        """Gives examples as `[i]` does, many at once: without the features that they lack.

        Raises:
          IndexError: there is no such example.
        """
        places = self._places(indices)
        rows = to_examples({name: _read(places, name, feature) for name, feature in self.features.items()})
        for name in self.features:
            for row in np.flatnonzero(places.absent(name)).tolist():
                del rows[row][name]
        return rows

    def _places(self, indices: npt.ArrayLike) -> _Places:
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"there are examples 0 to {len(self) - 1:,}, asked for {wanted.min():,} to {wanted.max():,}")
        shard = np.searchsorted(self._bounds, wanted, side="right") - 1
        parts, rows = [], []
        for number in np.unique(shard):
            mine = np.flatnonzero(shard == number)
            parts.append((int(number), wanted[mine] - self._bounds[number]))
            rows.append(mine)
        return _Places(parts, self._shard, np.concatenate(rows) if rows else wanted)

    def lengths(self, name: str) -> npt.NDArray[np.int64]:
        """Gives the length of a feature in every example, from the indexes alone: int64 [n]. Of texts it is that in bytes."""
        shards = range(len(self._open))
        return np.concatenate([np.zeros(0, np.int64), *(lengths_of(self._shard(shard)[1], name, self.features[name]) for shard in shards)])

    def _shard(self, number: int) -> tuple[memoryview, Columns]:
        if number not in self._mapped:
            data, index = self._open[number]()
            self._mapped[number] = data.data, index
        return self._mapped[number]

    def __reduce__(self) -> Any:
        return type(self)._of_parts, (type(self), self.features, self._open, self._bounds)

    @staticmethod
    def _of_parts(kind: type[RaggedRecords], features: Features, openers: Sequence[Open], bounds: Ints) -> RaggedRecords:
        made = kind.__new__(kind)
        RaggedRecords.__init__(made, features, list(zip(np.diff(bounds).tolist(), openers, strict=True)))
        return made


def map_shard(directory: str, shard: CachedShard, advice: str) -> tuple[npt.NDArray[np.uint8], Columns]:
    """Maps a shard and its index, and compares both with their digests.

    Args:
      directory: where they lie.
      shard: what a manifest says of them.
      advice: ends the message of an error.

    Raises:
      ManifestError: they are not what was written.
    """
    data, index = (map_file(files.join(directory, info.file), info.bytes, info.crc32c, advice) for info in (shard.data, shard.index))
    found = column_file.of_bytes(index)
    if found.rows != shard.data.records or int(found.arrays["offset"][-1]) != shard.data.bytes:
        raise ManifestError(f"{files.join(directory, shard.index.file)}: is not the index of {shard.data.file}. {advice}")
    return data, found


def map_file(path: str, size: int, crc: int, advice: str) -> npt.NDArray[np.uint8]:
    """Maps a file that a manifest tells of: uint8 [size].

    Raises:
      ManifestError: it is not what was written.
    """
    try:
        data = column_file.map_bytes(path) if size else np.zeros(0, np.uint8)
    except (FileNotFoundError, ValueError):
        raise ManifestError(f"{path}: missing or empty, though the manifest says {size:,} bytes. {advice}") from None
    if len(data) != size or tfrecord.crc32c(data) != crc:
        raise ManifestError(f"{path}: its bytes are not those that the manifest tells of. {advice}")
    return data


class _Places:
    """Where some records lie: numbers of records in each of some shards, and which places of the block these have."""

    def __init__(self, parts: Sequence[tuple[int, Ints]], shard: Callable[[int], tuple[memoryview, Columns]], rows: Ints) -> None:
        self._parts, self._shard, self._rows = parts, shard, rows

    def __len__(self) -> int:
        return len(self._rows)

    def numbers(self, column: str, shape: tuple[int, ...] = ()) -> npt.NDArray[np.int64]:
        """Gathers a column of the indexes: int64 [k, *shape]."""
        out = np.zeros((len(self._rows), *shape), dtype=np.int64)
        start = 0
        for number, places in self._parts:
            out[self._rows[start : start + len(places)]] = _numbers(self._shard(number)[1], column, places, shape)
            start += len(places)
        return out

    def absent(self, name: str) -> npt.NDArray[np.int64]:
        """Says which examples lack a feature: 1 there."""
        return self.numbers(f"{name}/absent")

    def views(self) -> list[memoryview]:
        """Gives the bytes of the shard that each record lies in."""
        out: list[Any] = [None] * len(self._rows)
        start = 0
        for number, places in self._parts:
            data, _ = self._shard(number)
            for row in self._rows[start : start + len(places)].tolist():
                out[row] = data
            start += len(places)
        return out

    def texts(self, name: str, counts: Ints) -> tuple[list[memoryview], Ints, Ints]:
        """Gives shard, first byte and bytes of each text of lists of texts, in the block's order."""
        offset = self.numbers("offset")
        found = np.zeros((int(counts.sum()), 2), np.int64)
        bounds = ragged.offsets_of(counts)
        start = 0
        for number, places in self._parts:
            index, rows = self._shard(number)[1], self._rows[start : start + len(places)]
            if f"{name}/text" in index.arrays:
                firsts = ragged.offsets_of(_numbers(index, f"{name}/length", np.arange(index.rows)))[:-1]
                each = ragged.ranks(counts[rows])
                found[np.repeat(bounds[:-1][rows], counts[rows]) + each] = index.arrays[f"{name}/text"][
                    np.repeat(firsts[places], counts[rows]) + each
                ]
            start += len(places)
        views = self.views()
        owner = np.repeat(np.arange(len(counts)), counts)
        return [views[row] for row in owner.tolist()], found[:, 0] + offset[owner], found[:, 1]


def lengths_of(index: Columns, name: str, feature: RaggedFeature) -> npt.NDArray[np.int64]:
    """Gives the length of a feature in every example of a shard, from its index: int64 [n]. Of texts it is that in bytes."""
    column = "bytes" if feature.is_text and not feature.rank else "length"
    return _numbers(index, f"{name}/{column}", np.arange(index.rows))


def _numbers(index: Columns, column: str, places: Ints, shape: tuple[int, ...] = ()) -> npt.NDArray[np.int64]:
    found = index.arrays.get(column)
    if found is None:  # nothing is absent; or the feature is, in all of the shard
        name, _, what = column.rpartition("/")
        lacks = what == "absent" and f"{name}/begin" not in index.arrays
        return np.full((len(places), *shape), int(lacks), np.int64)
    return found[places].astype(np.int64)


def _join(views: Sequence[memoryview], begins: Ints, sizes: Ints) -> bytearray:
    """Copies pieces of shards end to end."""
    ends = begins + sizes
    return bytearray().join([view[begin:end] for view, begin, end in zip(views, begins.tolist(), ends.tolist(), strict=True)])


def _read(places: _Places, name: str, feature: RaggedFeature) -> Column:
    """Gathers the values of a feature of some records."""
    counts = places.numbers(f"{name}/length")
    if feature.is_text and feature.rank:
        return _texts(*places.texts(name, counts)), ragged.offsets_of(counts)
    begins, sizes = places.numbers("offset") + places.numbers(f"{name}/begin"), places.numbers(f"{name}/bytes")
    if feature.is_text:
        return _texts(places.views(), begins, sizes), None
    values = _to_numbers(_join(places.views(), begins, sizes), feature)
    if feature.rank == 0:
        return (values if len(values) == len(places) else _with_zeros(values, counts)), None
    if feature.rank == 1:
        return values, ragged.offsets_of(counts)
    shapes = places.numbers(f"{name}/shape", (feature.rank,))
    if feature.inner is not None:
        rows = values.reshape(-1, *feature.inner) if values.size else values.reshape(int(shapes[:, 0].sum()), *feature.inner)
        return rows, ragged.offsets_of(shapes[:, 0])
    bounds = ragged.offsets_of(counts)
    return [values[bounds[row] : bounds[row + 1]].reshape(shape) for row, shape in enumerate(shapes.tolist())], None


def _with_zeros(values: npt.NDArray[Any], counts: Ints) -> npt.NDArray[Any]:
    out = np.zeros(len(counts), values.dtype)
    out[counts > 0] = values
    return out


def _texts(views: Sequence[memoryview], begins: Ints, sizes: Ints) -> npt.NDArray[Any]:
    out = np.empty(len(views), dtype=object)
    ends = begins + sizes
    out[:] = [bytes(view[begin:end]) for view, begin, end in zip(views, begins.tolist(), ends.tolist(), strict=True)]
    return out


def _to_numbers(data: bytearray, feature: RaggedFeature) -> npt.NDArray[Any]:
    dtype = feature.numpy_dtype
    if feature.wire != SEQIO:
        return np.frombuffer(data, dtype=dtype.newbyteorder("<")).astype(dtype, copy=False)
    if dtype.kind == "f":
        return np.frombuffer(data, dtype="<f4").astype(dtype)
    return example_codec.unpack_varints(bytes(data)).view(np.int64).astype(dtype)


def _first(column: Column, feature: RaggedFeature) -> Any:
    """Gives the value of the only example of a block."""
    values, bounds = column
    return values if bounds is not None else values[0]


def to_examples(block: Mapping[str, Column]) -> list[dict[str, Any]]:
    """Cuts a block into its examples."""
    parts: dict[str, list[Any]] = {}
    for name, (values, bounds) in block.items():
        if bounds is None:
            parts[name] = list(values)
        else:
            ends = bounds.tolist()
            parts[name] = [values[begin:end] for begin, end in itertools.pairwise(ends)]
    return [dict(zip(parts, row, strict=True)) for row in zip(*parts.values(), strict=True)] if parts else []
