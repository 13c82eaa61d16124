"""Reads the protobuf wire format without the protobuf library, whose generated modules are tied to one version of it."""

from __future__ import annotations

from collections.abc import Iterator


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Reads the base-128 number at a position.

    Returns:
      the number, and the position after it.

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
    position = 0
    while position < len(data):
        tag, position = read_varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = read_varint(data, position)
            yield number, value
            continue
        if wire == 2:
            length, position = read_varint(data, position)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"unexpected wire type {wire}")
        end = position + length
        if end > len(data):
            raise ValueError("a field is cut short")
        yield number, data[position:end]
        position = end
