"""`tf.train.Example` records, written from arrays and read back without protobuf.

    Example { features: 1 Features { feature: 1 (map) { key: 1 string, value: 2 Feature } } }
    Feature { bytes_list: 1 | float_list: 2 | int64_list: 3, each { value: 1 repeated } }

The bytes equal protobuf's deterministic serialization: features sorted by key, minimal varints. The fixed format stores each feature as one
`bytes` value of constant size, so that all records have one length and can be gathered from a memory map without parsing. The int64_list
format stores what SeqIO and most `tf.data` code expect: an `Int64List` (or `FloatList`) for each feature, of varying length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.format import tfrecord
from tokenreel.format import wire as protobuf_wire
from tokenreel.format.schema import Feature, RecordFormat
from tokenreel.format.wire import delimited

# Wire tags: field number << 3 | type 2 (length-delimited). Every tag of an Example is one byte.
_FIELD_1, _FIELD_2 = b"\x0a", b"\x12"
_FLOAT_LIST, _INT64_LIST = b"\x12", b"\x1a"
_NO_EXAMPLE = "these bytes are no tf.train.Example"


def map_entry(name: str, feature: bytes) -> bytes:
    """Writes one entry of the map of features, which on the wire is a repeated message of key and value."""
    return delimited(_FIELD_1, delimited(_FIELD_1, name.encode()) + delimited(_FIELD_2, feature))


def make_fixed_format(features: Sequence[Feature]) -> RecordFormat:
    """Places features in a record of constant size.

    The template is a record with zeros for values: whatever protobuf puts between them (tags, lengths, names) is in it once and for all, so
    records are written by copying values into copies of it.
    """
    ordered = tuple(sorted(features, key=lambda f: f.name.encode()))  # by bytes, as protobuf's deterministic serialization does
    body, ends = b"", []
    for feature in ordered:
        values = delimited(_FIELD_1, bytes(feature.nbytes))  # BytesList.value
        body += map_entry(feature.name, delimited(_FIELD_1, values))  # Feature.bytes_list
        ends.append(len(body))  # an entry ends with its value
    payload = delimited(_FIELD_1, body)  # Example.features
    before = tfrecord.HEADER_BYTES + len(payload) - len(body)  # the frame's header, and tag and length of the features
    offsets = tuple(before + end - feature.nbytes for feature, end in zip(ordered, ends, strict=True))
    return RecordFormat(ordered, offsets, tfrecord.header(len(payload)) + payload + bytes(tfrecord.FOOTER_BYTES))


def most_list_bytes(fixed_format: RecordFormat) -> int:
    """Gives the most bytes that a record of these features has as lists of varints: a bit takes a byte, a negative number ten."""
    return 16 * fixed_format.record_bytes + 4096


def encode_fixed(fixed_format: RecordFormat, arrays: Mapping[str, npt.ArrayLike]) -> npt.NDArray[np.uint8]:
    """Writes arrays as frames, ready to be appended to a shard.

    Args:
      fixed_format: where each feature lies in a record.
      arrays: for each feature [n, *shape] values that fit its dtype.

    Returns:
      uint8 [n, record_bytes].

    Raises:
      ValueError: a feature is missing, unknown, misshapen, or has a value that does not fit.
    """
    names = {feature.name for feature in fixed_format.features}
    if names != set(arrays):
        raise ValueError(f"records hold the features {sorted(names)}, got {sorted(arrays)}")
    rows = len(np.asarray(next(iter(arrays.values()))))
    records = np.empty((rows, fixed_format.record_bytes), dtype=np.uint8)
    records[:] = np.frombuffer(fixed_format.template, dtype=np.uint8)
    for feature, offset in zip(fixed_format.features, fixed_format.offsets, strict=True):
        records[:, offset : offset + feature.nbytes] = feature.to_bytes(arrays[feature.name])
    crcs = tfrecord.payload_crcs(records).astype("<u4")
    records[:, -tfrecord.FOOTER_BYTES :] = crcs.view(np.uint8).reshape(rows, tfrecord.FOOTER_BYTES)
    return records


def encode_lists(arrays: Mapping[str, Sequence[npt.ArrayLike]]) -> list[bytes]:
    """Writes one framed record for each example, its integers as `Int64List` and its floats as `FloatList`, both packed.

    Args:
      arrays: for each feature, one array (or scalar) an example; lengths may differ, and the values of several axes stand end to end.

    Raises:
      ValueError: the features have different numbers of examples.
    """
    names = sorted(arrays, key=str.encode)
    frames = []
    for values in zip(*(arrays[name] for name in names), strict=True):
        body = b"".join(map_entry(name, _list_feature(np.ravel(value))) for name, value in zip(names, values, strict=True))
        frames.append(tfrecord.frame(delimited(_FIELD_1, body)))
    return frames


def _list_feature(values: npt.NDArray[np.generic]) -> bytes:
    """Writes a Feature of [n] numbers. An empty list has no `value` field at all, as protobuf writes it."""
    packed = pack_numbers(values)
    return delimited(_FLOAT_LIST if values.dtype.kind == "f" else _INT64_LIST, delimited(_FIELD_1, packed) if packed else b"")


def pack_numbers(values: npt.NDArray[np.generic]) -> bytes:
    """Gives the packed values of a `FloatList` or an `Int64List`, which the dtype of the [n] numbers decides."""
    if values.dtype.kind == "f":
        return values.astype("<f4").tobytes()
    return _varints(values.astype(np.int64).view(np.uint64))


def _varints(values: npt.NDArray[np.uint64]) -> bytes:
    """Concatenates the base-128 varints of uint64 [n] integers: ten bytes are made of each, and those that are used are kept."""
    shifts = np.arange(10, dtype=np.uint64) * np.uint64(7)
    parts = values[:, None] >> shifts  # [n, 10], enough for 64 bits
    used = parts != 0
    used[:, 0] = True  # 0 takes a byte too
    septets = (parts & np.uint64(0x7F)).astype(np.uint8)
    # A byte says that another follows it.
    septets[:, :-1] |= (used[:, 1:].astype(np.uint8)) << np.uint8(7)
    return bytes(septets[used].tobytes())


def decode_example(payload: bytes, only: Collection[str] | None = None) -> dict[str, npt.NDArray[np.generic]]:
    """Parses any `tf.train.Example`, of either format or of anybody's.

    Args:
      payload: a serialized Example, without a frame.
      only: names of the features wanted; None for all. Others are passed over without a look at their values.

    Returns:
      for each feature a 1-d array: int64, float32, or objects of `bytes`; empty int64 for a feature without a list.

    Raises:
      ValueError: the bytes are no Example.
    """
    features: dict[str, npt.NDArray[np.generic]] = {}
    for _, example in _fields(payload):
        for _, entry in _fields(example):
            parts = dict(_fields(entry))
            name = parts.get(1, b"").decode()
            if only is None or name in only:
                features[name] = _decode_feature(parts.get(2, b""))
    return features


def _fields(data: bytes, scalars: int | None = None) -> list[tuple[int, bytes]]:
    """Splits a message into (field number, content): strings and messages, and besides them only values of the wire type `scalars`."""
    found = []
    for number, wire, value in protobuf_wire.typed_fields(data):
        if not isinstance(value, bytes) or wire not in (protobuf_wire.LENGTH_DELIMITED, scalars):
            raise ValueError(f"unexpected wire type {wire}: {_NO_EXAMPLE}")
        found.append((number, value))
    return found


def _decode_feature(data: bytes) -> npt.NDArray[np.generic]:
    """Reads the one list that a Feature has."""
    for kind, content in _fields(data):
        if kind == 1:
            values = [value for _, value in _fields(content)]
            out = np.empty(len(values), dtype=object)
            out[:] = values
            return out
        if kind == 2:  # packed, or one number a field
            return np.frombuffer(b"".join(value for _, value in _fields(content, protobuf_wire.FIXED32)), dtype="<f4")
        return _decode_integers(content)
    return np.zeros(0, dtype=np.int64)


def _decode_integers(data: bytes) -> npt.NDArray[np.int64]:
    """Reads an `Int64List`: packed, or one number a field, or both in turn."""
    packed = bytearray()  # everything as varints end to end, which are read all at once
    for _, wire, value in protobuf_wire.typed_fields(data):
        if isinstance(value, int):
            packed += protobuf_wire.varint(value)
        elif wire == protobuf_wire.LENGTH_DELIMITED:
            packed += value
        else:
            raise ValueError(f"unexpected wire type {wire}: {_NO_EXAMPLE}")
    return unpack_varints(bytes(packed)).view(np.int64)


def unpack_varints(data: bytes) -> npt.NDArray[np.uint64]:
    """Reads varints that lie end to end: uint64 [n], without a loop over them.

    Raises:
      ValueError: the last is cut short, or one is longer than ten bytes.
    """
    septets = np.frombuffer(data, dtype=np.uint8)
    last = np.flatnonzero(septets < 0x80)
    if len(septets) and (not len(last) or last[-1] != len(septets) - 1):
        raise ValueError(f"a varint is cut short: {_NO_EXAMPLE}")
    lengths = np.diff(last, prepend=-1)
    if len(lengths) and lengths.max() > 10:
        raise ValueError(f"a varint is too long: {_NO_EXAMPLE}")
    place = np.arange(len(septets)) - np.repeat(last - lengths + 1, lengths)  # of each byte in its number
    parts = (septets & 0x7F).astype(np.uint64) << (place * 7).astype(np.uint64)
    return np.bitwise_or.reduceat(parts, last - lengths + 1) if len(last) else np.zeros(0, dtype=np.uint64)
