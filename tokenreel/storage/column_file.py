"""Columnar files for what grows with a corpus: written once, named by their content, mapped into memory once in each process.

What travels through a runner in place of such a file is a `ColumnFile`: its path, its digest and its number of rows.

    | b"TRTABLE1" | header bytes: uint64 | header: JSON | columns, each at a multiple of 64 bytes |

Rows are plain mappings of names to integers, texts and tuples of integers. A name that a row does not have is 0, or "", in its column.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
import shutil
import struct
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import BuildError
from tokenreel.storage import files

_MAGIC = b"TRTABLE1"
_PREFIX_BYTES = len(_MAGIC) + 8
ALIGNMENT = 64  # a cache line, so that no element of any dtype straddles two when a file is mapped
Value = int | str | tuple[int, ...]
Row = Mapping[str, Value]
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclasses.dataclass(frozen=True)
class ColumnFile:
    """A file of columns: what the steps of a job hand each other.

    Attributes:
      path: where it lies.
      digest: of all its bytes.
      rows: their number.
    """

    path: str
    digest: str
    rows: int


@dataclasses.dataclass(frozen=True, eq=False)
class Columns:
    """What a file holds.

    Attributes:
      rows: their number.
      arrays: [rows, ...] the columns, by name: int64, or bytes of UTF-8.
      about: plain values that belong to no row.
    """

    rows: int
    arrays: Arrays
    about: Any = None

    @classmethod
    def of_rows(cls, rows: Sequence[Row], about: Any = None) -> Columns:
        """Turns rows to columns."""
        names = sorted({name for row in rows for name in row})
        return cls(len(rows), {name: _to_array([row.get(name) for row in rows]) for name in names}, about)

    @classmethod
    def concatenate(cls, parts: Sequence[Columns], about: Any = None) -> Columns:
        """Lays the rows of several tables end to end; a name that one of them does not have is 0 or empty there."""
        names = sorted({name for part in parts for name in part.arrays})
        return cls(sum(part.rows for part in parts), {name: _concatenated(parts, name) for name in names}, about)

    def take(self, order: npt.NDArray[np.integer] | slice) -> Columns:
        """Picks rows by their [n] numbers, in the order wanted, or a range of them, which copies nothing."""
        rows = len(range(self.rows)[order]) if isinstance(order, slice) else len(order)
        return Columns(rows, {name: values[order] for name, values in self.arrays.items()}, self.about)

    def numbers(self, name: str) -> npt.NDArray[np.int64]:
        """Gives a column of integers, [rows, ...]; zeros if no row has the name."""
        found = self.arrays.get(name)
        return np.zeros(self.rows, dtype=np.int64) if found is None else found

    def row(self, index: int) -> dict[str, Any]:
        """Gives a row as it was handed to `of_rows`, with a value for every name."""
        return {name: _plain(values[index]) for name, values in self.arrays.items()}


def _plain(value: Any) -> Value:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return tuple(value.tolist()) if isinstance(value, np.ndarray) else int(value)


def _to_array(values: Sequence[Value | None]) -> npt.NDArray[Any]:
    example = next(value for value in values if value is not None)
    if isinstance(example, str):
        return np.array([str(value or "").encode("utf-8", "surrogateescape") for value in values])
    if isinstance(example, tuple):
        return np.array([(0,) * len(example) if value is None else value for value in values], dtype=np.int64)
    return np.array([0 if value is None else value for value in values], dtype=np.int64)


def _concatenated(parts: Sequence[Columns], name: str) -> npt.NDArray[Any]:
    example = next(part.arrays[name] for part in parts if name in part.arrays)
    return np.concatenate([part.arrays.get(name, np.zeros((part.rows, *example.shape[1:]), dtype=example.dtype)) for part in parts])


def write(directory: str, stem: str, columns: Columns) -> ColumnFile:
    """Writes columns to a file that is named by its content: the same columns give the same file.

    Args:
      directory: where the file lies.
      stem: begins its name.
      columns: what it holds.
    """
    state = hashlib.blake2b(digest_size=16)
    parts = to_parts(columns)
    for part in parts:
        state.update(part)
    path = files.join(directory, f"{stem}-{state.hexdigest()}.table")
    with files.write_atomic(path) as file:
        for part in parts:
            file.write(part)
    return ColumnFile(path, state.hexdigest(), columns.rows)


def to_parts(columns: Columns) -> list[memoryview | bytes]:
    """Gives the bytes of a file of columns, in parts."""
    arrays = [np.ascontiguousarray(values) for values in columns.arrays.values()]
    bounds = list(itertools.accumulate((align(values.nbytes) for values in arrays), initial=0))
    header = json.dumps(
        {
            "rows": columns.rows,
            "about": columns.about,
            "columns": [
                [name, values.dtype.str, list(values.shape), begin]
                for name, values, begin in zip(columns.arrays, arrays, bounds[:-1], strict=True)
            ],
        }
    ).encode()
    start = align(_PREFIX_BYTES + len(header))
    head = (_MAGIC + struct.pack("<Q", len(header)) + header).ljust(start, b"\0")
    return [head, *(part for values in arrays for part in (_bytes(values), bytes(align(values.nbytes) - values.nbytes)))]


def _bytes(values: npt.NDArray[Any]) -> memoryview | bytes:
    return values.reshape(-1).view(np.uint8).data if values.size else b""


def align(position: int) -> int:
    """Gives the first multiple of `ALIGNMENT` that is not below a byte's position.

    >>> align(0), align(1), align(64)
    (0, 64, 64)
    """
    return -(-position // ALIGNMENT) * ALIGNMENT


@functools.lru_cache(maxsize=8)
def read(file: ColumnFile) -> Columns:
    """Reads a file as `load` does, once in each process, and keeps it mapped."""
    return load(file)


def load(file: ColumnFile) -> Columns:
    """Maps a file into memory and compares it with its digest; an object is copied to a temporary file before.

    Raises:
      BuildError: it is gone, or not what was written.
    """
    try:
        data = map_bytes(file.path)
        if hashlib.blake2b(data.data, digest_size=16).hexdigest() != file.digest:
            raise ValueError
    except (FileNotFoundError, ValueError) as error:  # an empty file cannot be mapped
        what = "is gone" if isinstance(error, OSError) else "was changed"
        raise BuildError(
            f"{file.path}: the table {what} while it was read. Run the same command again, and let nothing else write there."
        ) from error
    return of_bytes(data)


def of_bytes(data: npt.NDArray[np.uint8]) -> Columns:
    """Gives the columns of a file's uint8 bytes, as views of them; the caller has compared the bytes with their digest."""
    (size,) = struct.unpack_from("<Q", data.data, len(_MAGIC))
    header = json.loads(data[_PREFIX_BYTES : _PREFIX_BYTES + size].tobytes())
    start = align(_PREFIX_BYTES + size)
    arrays = {name: _view(data, start + begin, np.dtype(dtype), shape) for name, dtype, shape, begin in header["columns"]}
    return Columns(header["rows"], arrays, header["about"])


def map_bytes(path: str) -> npt.NDArray[np.uint8]:
    """Maps a file into memory; an object is copied to a temporary file before.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is empty.
    """
    if not files.is_remote(path):
        return np.memmap(path, dtype=np.uint8, mode="r")
    with files.open_read(path) as source, tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(source, copy, 16 << 20)
        copy.flush()
        return np.memmap(copy, dtype=np.uint8, mode="r")  # stays mapped when the file is closed


def _view(data: npt.NDArray[np.uint8], begin: int, dtype: np.dtype[Any], shape: Sequence[int]) -> npt.NDArray[Any]:
    size = int(np.prod(shape)) * dtype.itemsize
    return np.asarray(data[begin : begin + size]).view(dtype).reshape(shape)
