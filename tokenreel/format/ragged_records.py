"""Records of any length, and the index that finds their parts: what caches of tasks are made of.

A record is a framed `tf.train.Example`. Each feature is one `bytes` value that holds a little-endian array, whose shape stands in a second
feature `name.shape` where it has two axes or more; texts and lists of texts are the `bytes` themselves. With the wire of SeqIO numbers are
an `Int64List` or a `FloatList` instead. Either way the values of a feature end its entry and lie in one piece, so an index that knows where
they begin finds them without parsing.

The index of a shard is a file of columns (`storage/column_file.py`) beside it:

    | column              | holds                                                                                      |
    |---------------------|--------------------------------------------------------------------------------------------|
    | offset [n + 1]      | where each record begins in the shard, and where the last one ends                         |
    | NAME/begin [n]      | first byte of the feature's values, from the record's first byte                           |
    | NAME/bytes [n]      | bytes that they take                                                                       |
    | NAME/length [n]     | numbers of a feature of numbers; of a list of texts their number                           |
    | NAME/shape [n, r]   | of features of two axes and more                                                           |
    | NAME/text [k, 2]    | of lists of texts: begin and bytes of every text, end to end                               |
    | NAME/absent [n]     | 1 where the example has no such feature; only where one has none                           |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.errors import BuildError
from tokenreel.format import example_codec, tfrecord
from tokenreel.format.wire import delimited
from tokenreel.storage.column_file import Columns
from tokenreel.wording import brief

ARRAY = "array"  # numbers as the bytes of a little-endian array
SEQIO = "seqio"  # numbers as Int64List and FloatList
TEXT = "string"  # the dtype of texts
SHAPE = ".shape"  # ends the name of the feature that holds the shape of another
_MOST_BYTES = 2**32 - 1  # of a record: the index has 32 bits for a place in it
_SEQIO_KINDS = ("bool", "int32", "int64", "float32", TEXT)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RaggedFeature:
    """A feature of records of any length.

    Attributes:
      dtype: name of a NumPy type, or `TEXT`.
      rank: its axes. Texts have none, or one for lists of them.
      wire: `ARRAY` or `SEQIO`.
      inner: the axes after the first, where they are equal in all examples; None where they differ, and with fewer than two axes.
      empty: whether all examples have lists of nothing, which do not tell of what.
    """

    dtype: str
    rank: int
    wire: str = ARRAY
    inner: tuple[int, ...] | None = None
    empty: bool = False

    def __post_init__(self) -> None:
        if self.dtype == TEXT and self.rank > 1:
            raise BuildError(f"texts have no axis, or one for a list of them; got {self.rank} axes. Flatten them in a preprocessor.")
        if self.dtype != TEXT and np.dtype(self.dtype).kind not in "biuf":
            raise BuildError(f"a feature holds numbers or texts, got {self.dtype}. Cast it in a preprocessor.")
        if self.wire == SEQIO and self.dtype not in _SEQIO_KINDS:
            raise BuildError(
                f"SeqIO's records hold {', '.join(_SEQIO_KINDS)}, got {self.dtype}. Cast it in a preprocessor, or leave seqio_view out."
            )

    @property
    def is_text(self) -> bool:
        """Whether it holds text."""
        return self.dtype == TEXT

    @property
    def numpy_dtype(self) -> np.dtype[Any]:
        """The type of its values in memory; `object` for texts."""
        return np.dtype(object) if self.is_text else np.dtype(self.dtype)

    @classmethod
    def of_value(cls, name: str, value: Any, wire: str = ARRAY) -> RaggedFeature:
        """Says what a value of an example is.

        Raises:
          BuildError: it is nothing that records hold.

        >>> RaggedFeature.of_value("frames", np.zeros((3, 2), np.float32))
        RaggedFeature(dtype='float32', rank=2, wire='array', inner=(2,), empty=False)
        """
        try:
            if isinstance(value, (str, bytes)):
                return cls(dtype=TEXT, rank=0, wire=wire)
            array = value if isinstance(value, np.ndarray) else np.asarray(value)
            if array.dtype.kind in "OSU":
                _texts(array)
                return cls(dtype=TEXT, rank=array.ndim, wire=wire, empty=array.ndim == 1 and not array.size)
            inner = array.shape[1:] if array.ndim > 1 else None
            return cls(dtype=array.dtype.name, rank=array.ndim, wire=wire, inner=inner, empty=array.ndim == 1 and not array.size)
        except (BuildError, TypeError, ValueError) as error:
            raise BuildError(f"feature {name!r} of an example, {brief(value)}: {error}") from error

    def merge(self, name: str, other: RaggedFeature) -> RaggedFeature:
        """Gives what covers this feature and that of another example.

        Raises:
          BuildError: they are of different types or ranks.
        """
        if self.rank == other.rank and self.empty != other.empty:
            return other if self.empty else self
        if (self.dtype, self.rank) != (other.dtype, other.rank):
            raise BuildError(
                f"feature {name!r} is {self.dtype} of rank {self.rank} in one example and {other.dtype} of rank {other.rank} in another. "
                "A cache holds one type: cast it in a preprocessor."
            )
        if self.inner == other.inner:
            return self
        if self.wire == SEQIO:
            raise BuildError(
                f"feature {name!r} has the inner shape {self.inner} in one example and {other.inner} in another, which SeqIO's records "
                "cannot hold. Pad it in a preprocessor, or leave seqio_view out."
            )
        return dataclasses.replace(self, inner=None)


Features = Mapping[str, RaggedFeature]


def merge_features(parts: Iterable[Features]) -> dict[str, RaggedFeature]:
    """Gives the features that cover all of some; names sorted.

    Raises:
      BuildError: two contradict each other.
    """
    merged: dict[str, RaggedFeature] = {}
    for part in parts:
        for name, feature in part.items():
            merged[name] = feature if name not in merged else merged[name].merge(name, feature)
    clash = next((name for name in merged if name + SHAPE in merged), None)
    if clash is not None:
        raise BuildError(f"feature {clash + SHAPE!r}: the shape of {clash!r} may need that name. Rename one in a preprocessor.")
    return dict(sorted(merged.items()))


def _texts(value: Any) -> list[bytes]:
    """Gives the texts of a value; whatever else an array of objects holds is refused, for `bytes` would make something of it."""
    found: list[Any] = np.asarray(value, dtype=object).ravel().tolist()
    others = [each for each in found if not isinstance(each, (str, bytes))]
    if others and isinstance(others[0], np.ndarray):
        raise BuildError(
            "rows of numbers, each of its own length, which a cache does not hold. Join or pad them in a preprocessor, or let the step "
            "that makes them follow the CacheDatasetPlaceholder."
        )
    if others:
        raise BuildError(f"a list of texts holds {brief(others[0])}, a {type(others[0]).__name__}. Make it a text in a preprocessor.")
    return [text.encode() if isinstance(text, str) else text for text in found]


class RaggedWriter:
    """Writes examples as framed records, and keeps what their index says.

    Attributes:
      features: of the examples so far.
      bytes: of all records.
      crc32c: of them.
    """

    def __init__(self, file: Any, wire: str = ARRAY) -> None:
        self._file, self._wire = file, wire
        self.features: dict[str, RaggedFeature] = {}
        self.bytes = self.crc32c = 0
        self._ends: list[int] = [0]
        self._rows: dict[str, list[tuple[int, int, int, int]]] = {}  # by feature: record, begin, bytes, length
        self._shapes: dict[str, list[tuple[int, ...]]] = {}
        self._each_text: dict[str, list[tuple[int, int]]] = {}

    @property
    def records(self) -> int:
        """The number of records so far."""
        return len(self._ends) - 1

    def write(self, examples: Iterable[Mapping[str, Any]]) -> None:
        """Appends examples: dictionaries of arrays, numbers and texts.

        Raises:
          BuildError: a value is nothing that records hold, or of another type than in the examples before.
        """
        frames = [self._frame(example) for example in examples]
        data = b"".join(frames)
        self._file.write(data)
        self.crc32c = tfrecord.extend_crc32c(self.crc32c, data)
        self.bytes += len(data)

    def _frame(self, example: Mapping[str, Any]) -> bytes:
        values = {name: self._encode(name, value) for name, value in example.items()}
        for name, shape in [(name, self._shapes[name][-1]) for name in example if name in self._shapes and self.features[name].rank > 1]:
            if self._wire == ARRAY:
                values[name + SHAPE] = ([np.array(shape, "<i8").tobytes()], 0)
        parts, size, ends = [], 0, {}
        for name in sorted(values, key=str.encode):
            chunks, length = values[name]
            feature = self.features.get(name)
            entry = example_codec.map_entry(name, _feature(feature, chunks))
            parts.append(entry)
            size += len(entry)
            ends[name] = (size, chunks, length)
        payload = delimited(b"\x0a", b"".join(parts))
        frame = tfrecord.frame(payload)
        if len(frame) > _MOST_BYTES:
            raise BuildError(f"an example of {len(frame):,} bytes; a cache holds examples of up to 4 GiB. Split it in a preprocessor.")
        before = tfrecord.HEADER_BYTES + len(payload) - size
        for name, (end, chunks, length) in ends.items():
            if name in self.features:
                self._remember(name, before + end, chunks, length)
        self._ends.append(self._ends[-1] + len(frame))
        return frame

    def _encode(self, name: str, value: Any) -> tuple[list[bytes], int]:
        """Gives the bytes of a value: of numbers one piece, of texts one each; and how many numbers or texts they are."""
        feature = RaggedFeature.of_value(name, value, self._wire)
        known = self.features.get(name)
        self.features[name] = feature if known is None else feature if known == feature else known.merge(name, feature)
        if feature.is_text:
            texts = _texts(value)
            return texts, len(texts)
        array = np.asarray(value)
        if feature.empty:  # written alike whatever the other examples have
            return [], 0
        if feature.rank > 1:
            self._shapes.setdefault(name, []).append(array.shape)
        if feature.wire == ARRAY:
            return [array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()], array.size
        return [example_codec.pack_numbers(array.ravel())], array.size

    def _remember(self, name: str, end: int, chunks: list[bytes], length: int) -> None:
        feature = self.features[name]
        if feature.is_text and feature.rank:
            places = []
            for text in reversed(chunks):
                places.append((end - len(text), len(text)))
                end -= len(delimited(b"\x0a", text))
            self._each_text.setdefault(name, []).extend(reversed(places))
            begin, size = end, 0
        else:
            size = len(chunks[0]) if chunks else 0
            begin = end - size
        self._rows.setdefault(name, []).append((self.records, begin, size, length))

    def index(self) -> Columns:
        """Gives the index of what was written."""
        count = self.records
        arrays: dict[str, npt.NDArray[Any]] = {"offset": np.array(self._ends, dtype="<i8")}
        for name, feature in sorted(self.features.items()):
            rows = np.array(self._rows.get(name, []), dtype=np.int64).reshape(-1, 4)
            for column, values in zip(("begin", "bytes", "length"), rows.T[1:], strict=True):
                arrays[f"{name}/{column}"] = _spread(values, rows[:, 0], count)
            if feature.rank > 1:
                shapes = np.array(self._shapes[name], dtype=np.int64).reshape(-1, feature.rank)
                arrays[f"{name}/shape"] = _spread(shapes, rows[:, 0], count)
            if feature.is_text and feature.rank:
                arrays[f"{name}/text"] = np.array(self._each_text.get(name, []), dtype="<u4").reshape(-1, 2)
            if len(rows) < count:
                if self._wire == SEQIO and feature.rank == 0:
                    raise BuildError(lacking_message(name))
                absent = np.ones(count, dtype=np.uint8)
                absent[rows[:, 0]] = 0
                arrays[f"{name}/absent"] = absent
        return Columns(count, arrays)


def lacking_message(name: str) -> str:
    """Says that SeqIO's records cannot lack a feature."""
    return f"feature {name!r} is missing in some examples, which SeqIO cannot read. Fill it in a preprocessor, or leave seqio_view out."


def _spread(values: npt.NDArray[np.int64], records: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.uint32]:
    """Puts values of some records at their places among all; the others get 0."""
    out = np.zeros((count, *values.shape[1:]), dtype="<u4")
    out[records] = values
    return out


def _feature(feature: RaggedFeature | None, chunks: Sequence[bytes]) -> bytes:
    """Writes a Feature: bytes of texts and arrays, or the numbers of SeqIO's wire, which are absent where there are none."""
    if feature is not None and feature.wire == SEQIO and feature.rank == 1 and not chunks:
        return b""  # without a kind: TensorFlow refuses another kind than that of the other examples, however empty
    if feature is None or feature.is_text or feature.wire == ARRAY:
        return delimited(b"\x0a", b"".join(delimited(b"\x0a", chunk) for chunk in chunks))
    kind = b"\x12" if np.dtype(feature.dtype).kind == "f" else b"\x1a"
    return delimited(kind, delimited(b"\x0a", chunks[0])) if chunks[0] else b""


def take(index: Columns, order: npt.NDArray[np.int64]) -> Columns:
    """Gives the index of records that are copied in another order: int64 [k] their numbers."""
    offset = index.arrays["offset"]
    arrays: dict[str, npt.NDArray[Any]] = {"offset": ragged.offsets_of((offset[1:] - offset[:-1])[order]).astype("<i8")}
    for column, values in index.arrays.items():
        if column.endswith("/text"):
            lengths = index.arrays[column.removesuffix("text") + "length"].astype(np.int64)
            picked = _ranges(ragged.offsets_of(lengths), order)
            arrays[column] = values[picked]
        elif column != "offset":
            arrays[column] = values[order]
    return Columns(len(order), arrays)


def _ranges(offsets: npt.NDArray[np.int64], indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Gives the numbers of the values of some sequences, end to end."""
    counts = offsets[indices + 1] - offsets[indices]
    return np.repeat(offsets[indices], counts) + ragged.ranks(counts)


def concatenate(parts: Sequence[Columns], features: Features) -> Columns:
    """Gives the index of the records of several files laid end to end; a feature that a file does not have is absent there."""
    sizes = np.concatenate([np.diff(part.arrays["offset"]) for part in parts]) if parts else np.zeros(0, np.int64)
    arrays: dict[str, npt.NDArray[Any]] = {"offset": ragged.offsets_of(sizes).astype("<i8")}
    for name, feature in features.items():
        shaped = {"shape": (feature.rank,)} if feature.rank > 1 else {}
        for column, inner in ({"begin": (), "bytes": (), "length": ()} | shaped).items():
            arrays[f"{name}/{column}"] = _end_to_end(parts, f"{name}/{column}", inner, "<u4")
        if feature.is_text and feature.rank:
            found = [part.arrays[f"{name}/text"] for part in parts if f"{name}/text" in part.arrays]
            arrays[f"{name}/text"] = np.concatenate(found) if found else np.zeros((0, 2), "<u4")
        absent = np.concatenate([_absent(part, name) for part in parts]) if parts else np.zeros(0, np.uint8)
        if absent.any():
            arrays[f"{name}/absent"] = absent
    return Columns(len(sizes), arrays)


def _end_to_end(parts: Sequence[Columns], column: str, inner: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    found = [part.arrays.get(column, np.zeros((part.rows, *inner), dtype)) for part in parts]
    return np.concatenate(found) if found else np.zeros((0, *inner), dtype)


def _absent(part: Columns, name: str) -> npt.NDArray[np.uint8]:
    if f"{name}/begin" not in part.arrays:
        return np.ones(part.rows, np.uint8)
    found: npt.NDArray[np.uint8] = part.arrays.get(f"{name}/absent", np.zeros(part.rows, np.uint8))
    return found
