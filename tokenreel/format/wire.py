"""Reads and writes the protobuf wire format without the protobuf library, whose generated modules are tied to one version of it.

A message is fields end to end: a tag (field number << 3 | wire type) and a value, whose wire type says where it ends. What a number means
is not on the wire: callers know the messages they read.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5  # wire types; 3 and 4 are groups, which no message here has
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}


def varint(value: int) -> bytes:
    """Writes a number below 2**64 in base 128, its lowest seven bits first; all bytes but the last have their highest bit set.

    >>> list(varint(150))
    [150, 1]
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(tag: bytes, content: bytes) -> bytes:
    """Writes a string or message as a field: tag, length, content."""
    return tag + varint(len(content)) + content


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads the base-128 number at a position.

    Returns:
      the number, its lowest 64 bits (negative numbers are written as ten bytes), and the position after it.

    Raises:
      ValueError: the number is cut short or longer than 64 bits.

    >>> read_varint(bytes([0x96, 0x01]), 0)
    (150, 2)
    """
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("a varint is cut short or too long")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Splits a message into (field number, value): integers for varints, bytes for strings, messages and fixed-size numbers.

    Raises:
      ValueError: the bytes are no message.

    >>> list(fields(bytes([0x08, 5, 0x12, 2, 104, 105])))
    [(1, 5), (2, b'hi')]
    """
    return ((number, value) for number, _, value in typed_fields(data))


def typed_fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Splits a message into (field number, wire type, value); values as in `fields`.

    Raises:
      ValueError: the bytes are no message.

    >>> list(typed_fields(bytes([0x08, 5, 0x12, 2, 104, 105])))
    [(1, 0, 5), (2, 2, b'hi')]
    """
    position = 0
    while position < len(data):
        # Nearly every tag and many a length is one byte, which is read without a call.
        tag = data[position]
        position += 1
        if tag >= 0x80:
            tag, position = read_varint(data, position - 1)
        number, wire = tag >> 3, tag & 7
        if wire == LENGTH_DELIMITED:
            if position < len(data) and data[position] < 0x80:
                end = position + 1 + data[position]
                position += 1
            else:
                length, position = read_varint(data, position)
                end = position + length
        elif wire == VARINT:
            value, position = read_varint(data, position)
            yield number, wire, value
            continue
        elif wire in _FIXED_BYTES:
            end = position + _FIXED_BYTES[wire]
        else:
            raise ValueError(f"unexpected wire type {wire}")
        # A slice beyond the end would be shorter, silently.
        if end > len(data):
            raise ValueError("a field is cut short")
        yield number, wire, data[position:end]
        position = end
