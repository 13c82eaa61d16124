"""The index of records that somebody else wrote, such as SeqIO: one pass over a shard.

A record must hold the numbers of a feature packed, in one piece, as protobuf's own libraries write them.

Tested in tests/tokenreel/tasks/test_caching.py.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ManifestError
from tokenreel.format import tfrecord
from tokenreel.format.ragged_records import Features, RaggedFeature
from tokenreel.format.wire import LENGTH_DELIMITED, read_varint
from tokenreel.storage.column_file import Columns

_KINDS = {1: "texts", 2: "floats", 3: "integers"}
_BAD = (ValueError, IndexError, struct.error)


def offsets(data: npt.NDArray[np.uint8], path: str) -> npt.NDArray[np.int64]:
    """Finds where the records of a shard begin, and where the last one ends: int64 [n + 1].

    Raises:
      ManifestError: the file ends inside a record.
    """
    view, position, found = data.data, 0, [0]
    while position < len(view):
        try:
            (length,) = struct.unpack_from("<Q", view, position)
        except struct.error:
            length = len(view)
        position += tfrecord.HEADER_BYTES + length + tfrecord.FOOTER_BYTES
        if position > len(view):
            raise ManifestError(f"{path}: the record at byte {found[-1]:,} is cut short. Copy the file again, or make the cache again.")
        found.append(position)
    return np.array(found, dtype=np.int64)


def scan(data: npt.NDArray[np.uint8], features: Features, path: str) -> Columns:
    """Makes the index of the records of a shard; features that are not asked for are passed over.

    Raises:
      ManifestError: a record is no `tf.train.Example` of these features.
    """
    bounds = offsets(data, path)
    count = len(bounds) - 1
    rows = {name: np.zeros((count, 3), dtype=np.int64) for name in features}  # begin, bytes, length
    texts: dict[str, list[tuple[int, int]]] = {name: [] for name, feature in features.items() if feature.is_text and feature.rank}
    view = data.data
    for record, (begin, end) in enumerate(zip(bounds.tolist(), bounds[1:].tolist(), strict=False)):
        frame = bytes(view[begin : end - tfrecord.FOOTER_BYTES])
        try:
            found = dict(_features(frame))
            for name, feature in features.items():
                if name in found:
                    rows[name][record] = _values(frame, found[name], feature, texts.get(name, []))
                elif feature.rank == 0:
                    raise ValueError(f"no feature {name!r}, which the info file says is in every example")
        except _BAD as error:
            raise ManifestError(f"{path}: the record at byte {begin:,}: {error}. Make the cache again.") from error
    return Columns(count, {"offset": bounds, **_columns(rows, texts, features, view, bounds)})


def _columns(
    rows: Mapping[str, npt.NDArray[np.int64]],
    texts: Mapping[str, list[tuple[int, int]]],
    features: Features,
    view: memoryview,
    bounds: npt.NDArray[np.int64],
) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, found in rows.items():
        feature = features[name]
        for column, values in zip(("begin", "bytes", "length"), found.T, strict=True):
            arrays[f"{name}/{column}"] = values.astype("<u4")
        if name in texts:
            arrays[f"{name}/text"] = np.array(texts[name], dtype="<u4").reshape(-1, 2)
        if feature.rank > 1:
            inner = feature.inner or ()
            size = max(1, int(np.prod(inner)))
            shapes = [(length // size, *inner) for length in found[:, 2].tolist()]
            arrays[f"{name}/shape"] = np.array(shapes, dtype="<u4").reshape(-1, feature.rank)
    return arrays


def _pieces(frame: bytes, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yields (field number, begin, end) of the strings and messages of a message."""
    while position < end:
        tag, position = read_varint(frame, position)
        if tag & 7 != LENGTH_DELIMITED:
            raise ValueError("its numbers are not packed")
        size, position = read_varint(frame, position)
        if position + size > end:
            raise ValueError("a field is cut short")
        yield tag >> 3, position, position + size
        position += size


def _features(frame: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yields the name of each feature of a record, and where its Feature lies."""
    for _, begin, end in _pieces(frame, tfrecord.HEADER_BYTES, len(frame)):
        for _, entry, entry_end in _pieces(frame, begin, end):
            parts = {number: (first, last) for number, first, last in _pieces(frame, entry, entry_end)}
            first, last = parts.get(1, (0, 0))
            yield frame[first:last].decode(), parts.get(2, (entry_end, entry_end))


def _values(frame: bytes, bounds: tuple[int, int], feature: RaggedFeature, texts: list[tuple[int, int]]) -> tuple[int, int, int]:
    """Gives begin, bytes and number of the values of a feature."""
    wanted = 1 if feature.is_text else 2 if feature.numpy_dtype.kind == "f" else 3
    for kind, begin, end in _pieces(frame, *bounds):
        found = [(first, last) for _, first, last in _pieces(frame, begin, end)]
        if found and kind != wanted:
            raise ValueError(f"a feature holds {_KINDS.get(kind, 'something unknown')} where the info file says {feature.dtype}")
        if feature.is_text and feature.rank:
            texts.extend((first, last - first) for first, last in found)
            return begin, 0, len(found)
        if len(found) > 1:
            raise ValueError("its numbers are not in one piece" if not feature.is_text else "several texts where the info file says one")
        if found:
            first, last = found[0]
            return first, last - first, _count(frame[first:last], wanted)
    return 0, 0, 0


def _count(data: bytes, kind: int) -> int:
    """Counts the numbers in packed values: those of integers end with a byte below 0x80."""
    if kind == 1:
        return 1
    return len(data) // 4 if kind == 2 else int(np.count_nonzero(np.frombuffer(data, np.uint8) < 0x80))
