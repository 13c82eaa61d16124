"""Files of one format to examples, without TensorFlow.

A reader is called with a path and gives the file's examples; `file_format` says which format that is, so that the cache job can read the
same examples in blocks.

Tested in tests/tokenreel/tasks/test_data_sources.py.
"""

from __future__ import annotations

import abc
import dataclasses
import gzip
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError, SourceError
from tokenreel.format import example_codec, tfrecord
from tokenreel.storage import files
from tokenreel.tasks.example_stream import Example, as_value
from tokenreel.tasks.features import numpy_dtype

_CHUNK_BYTES = 1 << 20
_MOST_RECORD_BYTES = 1 << 31
_GZIP = b"\x1f\x8b"


class FileReader(abc.ABC):
    """Reads one file at a time, in NumPy.

    Attributes:
      file_format: name of the format.
    """

    file_format: str

    @abc.abstractmethod
    def __call__(self, path: str) -> Iterator[Any]:
        """Yields the examples of a file."""


def _lines(path: str) -> Iterator[bytes]:
    """Yields the lines of a file, gzipped or not."""
    with files.open_read(path) as head:
        is_gzip = head.read(2) == _GZIP
    with files.open_read(path) as raw:
        file = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if is_gzip else raw
        yield from cut_lines(iter(lambda: file.read(_CHUNK_BYTES), b""))


def cut_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the lines of some bytes without their ends (a line feed, maybe after a carriage return)."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.removesuffix(b"\r") for line in whole)
    if rest:
        yield rest.removesuffix(b"\r")


@dataclasses.dataclass(frozen=True)
class TextLines(FileReader):
    """Lines of text, as `bytes` and not in a dictionary.

    Attributes:
      skip: lines at the start of each file that are left out.
    """

    skip: int = 0
    file_format = "lines"

    def __call__(self, path: str) -> Iterator[bytes]:
        """Yields the lines of a file."""
        return self.of_lines(_lines(path), path)

    def of_lines(self, lines: Iterable[bytes], path: str) -> Iterator[bytes]:
        """Yields the examples in lines of a file, from its first on."""
        return itertools.islice(lines, self.skip, None)


@dataclasses.dataclass(frozen=True)
class JsonLines(FileReader):
    """One JSON object a line; whole numbers become int64, others float32, text `bytes`. What is null is left out, and so are blank lines.

    Attributes:
      fields: names of those wanted; None for all.
    """

    fields: tuple[str, ...] | None = None
    file_format = "json_lines"

    def __call__(self, path: str) -> Iterator[Example]:
        """Yields the objects of a file.

        Raises:
          SourceError: a line is no JSON object, or holds what an example cannot.
        """
        return self.of_lines(_lines(path), path)

    def of_lines(self, lines: Iterable[bytes], path: str) -> Iterator[Example]:
        """Yields the objects in lines of a file.

        Raises:
          SourceError: as a call does; the number of the line is that among these.
        """
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"it is a {type(record).__name__}")
                wanted = record if self.fields is None else {name: record[name] for name in self.fields if name in record}
                yield {name: as_value(value, np.int64) for name, value in wanted.items() if value is not None}
            except ConfigError as error:
                raise SourceError(f"{path}, line {number}: {error}. Choose the fields that are wanted with fields=[...].") from error
            except ValueError as error:
                raise SourceError(f"{path}, line {number}: no JSON object ({error}). Each line must hold one.") from error


@dataclasses.dataclass(frozen=True)
class ParquetRows(FileReader):
    """Rows of Parquet files; numbers keep their type, text becomes `bytes`, lists arrays. What is null is left out.

    Attributes:
      fields: names of the columns wanted; None for all.
    """

    fields: tuple[str, ...] | None = None
    file_format = "parquet"

    def __call__(self, path: str) -> Iterator[Example]:
        """Yields the rows of a file.

        Raises:
          SourceError: it is no Parquet file, or lacks a column.
        """
        return self.of_groups(path, None)

    def of_groups(self, path: str, groups: Sequence[int] | None) -> Iterator[Example]:
        """Yields the rows of some row groups of a file, of all with None.

        Raises:
          SourceError: as a call does.
        """
        import pyarrow as pa

        try:
            with self._open(path) as file:
                missing = [name for name in self.fields or () if name not in file.schema_arrow.names]
                if missing:
                    found = ", ".join(file.schema_arrow.names)
                    raise SourceError(f"{path}: has no column {missing[0]!r}; its columns are {found}", missing[0], file.schema_arrow.names)
                for batch in file.iter_batches(row_groups=groups, columns=None if self.fields is None else list(self.fields)):
                    columns = {name: _column(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
                    for row in range(batch.num_rows):
                        yield {name: values[row] for name, values in columns.items() if values[row] is not None}
        except (pa.ArrowException, ValueError, TypeError) as error:
            raise SourceError(f"{path}: cannot be read as Parquet ({error}). Write it again, or give the files that are meant.") from error

    def count(self, path: str, groups: int | None = None) -> int:
        """Counts the rows of a file by its footer, or those of its first row groups."""
        with self._open(path) as file:
            told = file.metadata
            return int(told.num_rows) if groups is None else sum(told.row_group(group).num_rows for group in range(groups))

    def _open(self, path: str) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(files.open_read(path) if files.is_remote(path) else path)


def _column(column: Any) -> Sequence[Any]:
    """Gives the values of an Arrow column as those of examples; None for null."""
    import pyarrow as pa

    kind = column.type
    if not column.null_count and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return cast(Sequence[Any], column.to_numpy(zero_copy_only=False))
    inner = kind.value_type if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
    dtype = inner.to_pandas_dtype() if pa.types.is_integer(inner) or pa.types.is_floating(inner) else None
    values = column.to_pylist()
    return [None if value is None else as_value(value) if dtype is None else np.asarray(value, dtype=dtype)[()] for value in values]


@dataclasses.dataclass(frozen=True)
class TFExamples(FileReader):
    """Records of `tf.train.Example`, of the features described: by `tf.io.FixedLenFeature`, or by pairs (shape, dtype).

    A shape that begins with None takes as many values as there are. Integers arrive as int64, as the format holds them.

    Attributes:
      features: (shape, dtype, value where it is missing or None) by name.
    """

    features: Mapping[str, tuple[tuple[int | None, ...], Any, Any]]
    file_format = "tfrecord"

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> TFExamples | None:
        """Makes the reader of a description; None where the description asks for sparse or ragged tensors, which are TensorFlow's."""
        found = {}
        for name, feature in description.items():
            if isinstance(feature, tuple) and type(feature) is tuple:
                shape, dtype, default = *feature, None
            elif type(feature).__name__ == "FixedLenFeature":
                shape, dtype, default = feature.shape, feature.dtype, feature.default_value
            elif type(feature).__name__ == "FixedLenSequenceFeature" and feature.default_value is None:
                shape, dtype, default = (None, *feature.shape), feature.dtype, () if feature.allow_missing else None
            else:
                return None
            found[name] = (tuple(shape), numpy_dtype(dtype), default)
        return cls(found)

    def __call__(self, path: str) -> Iterator[Example]:
        """Yields the examples of a file.

        Raises:
          SourceError: a record is damaged, or lacks a feature.
        """
        with files.open_read(path) as file:
            for position, payload, problem in tfrecord.read_frames(file.read, _MOST_RECORD_BYTES):
                try:
                    if problem:
                        raise ValueError(problem)
                    stored = example_codec.decode_example(payload, self.features.keys())
                    yield {name: self._value(name, stored.get(name)) for name in self.features}
                except ValueError as error:
                    raise SourceError(f"{path}, record at byte {position:,}: {error}. Write the file again.") from error

    def _value(self, name: str, values: npt.NDArray[Any] | None) -> Any:
        shape, dtype, default = self.features[name]
        if values is None or (not len(values) and 0 not in shape and None not in shape[:1]):
            if default is None:
                raise ValueError(f"Feature: {name} (data type: {dtype}) is required but could not be found")
            values = np.broadcast_to(np.asarray(default, dtype=dtype), [size or 0 for size in shape])
        if values.dtype.kind != dtype.kind and len(values):
            raise ValueError(f"feature {name!r} holds values of type {values.dtype}, and {dtype} was expected")
        shaped = values.reshape([-1 if size is None else size for size in shape]).astype(dtype, copy=False)
        return shaped if shape else shaped[()]
