"""Models as the trainer does not make them, for tests."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tokenreel.format import wire

UNESCAPED = b"\x1a\x02\x28\x00"  # a further `normalizer_spec`: escape_whitespaces off

Piece = tuple[bytes, float, int]
"""Its bytes, its score and its type."""


def with_pieces(data: bytes, change: Callable[[list[Piece]], list[Piece]]) -> bytes:
    """Writes a model with other pieces."""
    pieces: list[Piece] = []
    rest = []
    for number, content in wire.fields(data):
        if number == 1:
            fields = dict(wire.fields(content))
            pieces.append((fields[1], struct.unpack("<f", fields.get(2, bytes(4)))[0], int(fields.get(3, 1))))
        else:
            rest.append(_field(number, content))
    messages = [_field(1, name) + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind]) for name, score, kind in change(pieces)]
    return b"".join([_field(1, message) for message in messages] + rest)


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size >= 0x80:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content
