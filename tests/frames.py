"""TFRecord files taken apart without the project's code, and without TensorFlow's."""

from __future__ import annotations

import pathlib
import struct

import google_crc32c


def payloads(data: bytes | pathlib.Path) -> list[bytes]:
    """The payloads of all records, whose CRCs must be right."""
    data = data if isinstance(data, bytes) else data.read_bytes()
    found, at = [], 0
    while at < len(data):
        length, crc = struct.unpack_from("<QI", data, at)
        assert crc == masked(data[at : at + 8]), f"the length at byte {at} or its CRC is wrong"
        found.append(data[at + 12 : at + 12 + length])
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked(found[-1]), f"the record at byte {at} or its CRC is wrong"
        at += length + 16
    return found


def masked(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
