"""The fields of a training example and where their bytes lie in a record."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ManifestError

TOKENS = "tokens"  # [L] or, with one token of overlap, [L + 1] token ids
DOCUMENT_STARTS = "document_starts"  # [L] or [L + 1] bits: this token is the first of its document (or of its chunk of a cut document)
NUM_TOKENS = "num_tokens"  # [] how many tokens are real; the rest is padding. Absent where every example is full
TOKEN_BEGINS = "token_begins"  # [L] or [L + 1] first character of its document's text that the token stands for; -1: none, as for padding
TOKEN_ENDS = "token_ends"  # likewise, the character behind the last
EXAMPLE_ID = "example_id"  # [] the example's index in its split: what random choices about it are keyed by
BIT = "bit"
DTYPES = {BIT: 0, "uint8": 1, "uint16": 2, "int32": 4, "int64": 8, "float32": 4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feature:
    """One field of every example: a little-endian array of fixed size.

    Attributes:
      name: the feature's key in the `tf.train.Example`.
      dtype: one of `DTYPES`; "bit" packs eight booleans into a byte, the first into the lowest bit.
      shape: the array's shape in one example; () is a scalar.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ManifestError(f"feature {self.name!r} has dtype {self.dtype!r}; known are {', '.join(DTYPES)}")
        if self.shape and self.name in (NUM_TOKENS, EXAMPLE_ID):
            raise ManifestError(f"feature {self.name!r} is one number in each example, got the shape {list(self.shape)}")

    @property
    def size(self) -> int:
        """Values in one example."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes in one example."""
        return (self.size + 7) // 8 if self.dtype == BIT else self.size * DTYPES[self.dtype]

    def to_bytes(self, values: npt.ArrayLike) -> npt.NDArray[np.uint8]:
        """Turns [n, *shape] values into uint8 [n, nbytes] bytes.

        Raises:
          ValueError: the shape differs, or a value does not fit the dtype.
        """
        array = np.asarray(values)
        if array.shape[1:] != self.shape:
            raise ValueError(f"feature {self.name!r} holds arrays of shape {self.shape}, got {array.shape[1:]}")
        rows = len(array)
        if self.dtype == BIT:
            return np.packbits(array.astype(bool, copy=False).reshape(rows, self.size), axis=1, bitorder="little")
        target = np.dtype(self.dtype).newbyteorder("<")
        if target.kind in "iu" and array.dtype.kind not in "iub":
            raise ValueError(f"feature {self.name!r} is stored as {self.dtype}, got values of dtype {array.dtype}")
        if target.kind in "iu" and array.dtype != target and array.size:
            limits = np.iinfo(target)
            if array.min() < limits.min or array.max() > limits.max:
                raise ValueError(f"feature {self.name!r} is stored as {self.dtype}; {array.min()} to {array.max()} does not fit")
        flat = np.ascontiguousarray(array, dtype=target).reshape(rows, self.size)
        return flat.view(np.uint8).reshape(rows, self.nbytes)

    def from_bytes(self, data: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
        """Turns uint8 [n, nbytes] bytes into [n, *shape] values: a view where the bytes are contiguous; bits become booleans."""
        rows = len(data)
        if self.dtype == BIT:
            bits = np.unpackbits(data, axis=1, count=self.size, bitorder="little")
            return bits.view(bool).reshape(rows, *self.shape)
        values = np.ascontiguousarray(data).reshape(-1).view(np.dtype(self.dtype).newbyteorder("<"))
        return values.reshape(rows, *self.shape)


def token_dtype(vocab_size: int) -> str:
    """Gives the narrowest dtype that holds every id of the vocabulary: uint16 up to 65,536 ids, int32 beyond."""
    return "uint16" if vocab_size <= 1 << 16 else "int32"


@dataclasses.dataclass(frozen=True)
class RecordFormat:
    """Where each feature's bytes lie in a record of constant size.

    A record is a whole TFRecord frame: length (8 bytes), its CRC (4), a serialized `tf.train.Example` (`payload_bytes`), its CRC (4).
    Offsets count from the first byte of the frame, so record i of a shard has a feature's bytes at `i * record_bytes + offset`.

    Attributes:
      features: sorted by name.
      offsets: one for each feature.
      template: [record_bytes] a frame with zeros in place of the values and of the payload's CRC.
    """

    features: tuple[Feature, ...]
    offsets: tuple[int, ...]
    template: bytes

    @property
    def record_bytes(self) -> int:
        """The stride: bytes of one frame."""
        return len(self.template)

    @property
    def payload_bytes(self) -> int:
        """Bytes of the serialized Example."""
        return len(self.template) - 16

    def feature(self, name: str) -> Feature:
        """Finds a feature.

        Raises:
          KeyError: there is none of that name.
        """
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(f"no feature {name!r}; the records hold {', '.join(f.name for f in self.features)}")

    def decode(self, records: npt.NDArray[np.uint8], names: Sequence[str] | None = None) -> dict[str, npt.NDArray[np.generic]]:
        """Takes frames apart, without checking any CRC.

        Args:
          records: uint8 [n, record_bytes] whole frames.
          names: of the features wanted; None for all.

        Returns:
          for each feature [n, *shape] values, bits as booleans.
        """
        wanted = None if names is None else set(names)
        return {
            feature.name: feature.from_bytes(records[:, offset : offset + feature.nbytes])
            for feature, offset in zip(self.features, self.offsets, strict=True)
            if wanted is None or feature.name in wanted
        }

    def to_json(self) -> list[dict[str, object]]:
        """Makes what the manifest says of each feature."""
        return [
            {"bytes": f.nbytes, "dtype": f.dtype, "name": f.name, "offset": offset, "shape": list(f.shape)}
            for f, offset in zip(self.features, self.offsets, strict=True)
        ]


def features_from_json(rows: Sequence[Mapping[str, object]]) -> tuple[Feature, ...]:
    """Reads the features back from what `RecordFormat.to_json` wrote."""
    return tuple(
        Feature(name=str(row["name"]), dtype=str(row["dtype"]), shape=tuple(int(n) for n in row["shape"]))  # type: ignore[attr-defined]
        for row in rows
    )
