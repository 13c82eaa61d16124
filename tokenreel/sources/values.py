"""Turns the values of a record into text, names and sort values, and says what is wrong with them."""

from __future__ import annotations

import decimal
import reprlib
import struct
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys

EXCERPT = 200  # characters of a document that a fault shows
_MOST_EXACT = 1 << 53  # float64 has every whole number up to here


def to_sort_value(value: Any, field: str) -> int:
    """Makes an unsigned 64-bit integer that sorts as a number does, or as the first 8 bytes of a text.

    Of a number it is the bits of its float64, which sort as the numbers do once the sign bit of positive ones is set and all bits of
    negative ones are flipped.

    Args:
      value: what the order field of a document holds.
      field: name of the field, for the message.

    Raises:
      BadDocument: the value is neither text nor a number that can be compared.

    >>> to_sort_value(-1.5, "n") < to_sort_value(0, "n") < to_sort_value(2, "n"), to_sort_value("a", "n") < to_sort_value("b", "n")
    (True, True)
    """
    if isinstance(value, str):
        return int.from_bytes(encode_text(value)[:8].ljust(8, b"\0"), "big")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise BadDocument("no_order", f"the field {field!r} must hold a number or some text, got {reprlib.repr(value)}")
    try:
        (bits,) = struct.unpack(">Q", struct.pack(">d", float(value)))  # `pack` itself has another error for a whole number too large
    except OverflowError:
        raise BadDocument("no_order", f"the field {field!r} holds a number beyond all range") from None
    return int(bits) ^ (0xFFFFFFFFFFFFFFFF if bits >> 63 else 1 << 63)


def position_keys(source: str, file: str, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Hashes the names of documents that are named by their place, `path#position`.

    Args:
      source: name of the source.
      file: name of the file in the source.
      positions: [n] int64 positions in the file.

    Returns:
      [n] uint64 keys.
    """
    return keys.mix(keys.mix(positions.astype(np.uint64)) ^ np.uint64(keys.key("document", source, file)))


class BadDocument(Exception):
    """A document that becomes a dead letter.

    Attributes:
      reason: one word for counting.
      message: what is wrong with it.
      fields: the fields of its record, where that of the text is not among them or holds no text.
    """

    def __init__(self, reason: str, message: str, fields: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.reason, self.message, self.fields = reason, message, tuple(fields)


def read_document_id(value: Any, field: str) -> str:
    r"""Turns the value of an id field into a document id: text as it is, whole numbers in digits, bytes in hexadecimal.

    Raises:
      BadDocument: it is blank, or no such value.

    >>> read_document_id(7.0, "n"), read_document_id(decimal.Decimal("0.50"), "n"), read_document_id(b"\xff", "n")
    ('7', '0.50', 'ff')
    """
    if isinstance(value, str):
        if not value.strip():
            raise BadDocument("no_id", f"the field {field!r} is blank")
        encode_text(value)
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        if abs(value) > _MOST_EXACT:
            raise BadDocument("no_id", f"the field {field!r} holds {value!r}, beyond 2**53, where numbers are not exact: write ids as text")
        return str(int(value))
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return str(int(value)) if value == value.to_integral_value() else format(value, "f")
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes) and value:
        return value.hex()
    raise BadDocument("no_id", f"the field {field!r} must hold a string or a whole number, got {reprlib.repr(value)}")


def encode_text(text: str) -> bytes:
    """Turns text into UTF-8.

    Raises:
      BadDocument: the text holds half of a surrogate pair, as JSON allows.
    """
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadDocument("lone_surrogate", f"half of a surrogate pair at character {error.start}: this is no Unicode text") from None


def is_utf8(data: bytes | memoryview) -> bool:
    """Tells whether bytes are valid UTF-8, as strict as Python is: no surrogates, nothing longer than it has to be."""
    import pyarrow as pa

    # Arrow's check makes no text, and is two to seven times as quick as Python's decoder.
    offsets = pa.py_buffer(np.array([0, len(data)], dtype=np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def utf8_problem(data: bytes) -> str | None:
    """Says where bytes stop being UTF-8; None where they do not."""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start} of the document ({error.reason})"
    return None
