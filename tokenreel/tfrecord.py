"""TFRecord framing: length, CRC of the length, payload, CRC of the payload (TensorFlow's `record_writer.cc`)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ManifestError

HEADER_BYTES = 12
FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | npt.NDArray[np.uint8]) -> int:
    """The Castagnoli CRC of some bytes."""
    import google_crc32c

    return int(google_crc32c.value(data))


def masked_crc32c(data: bytes | npt.NDArray[np.uint8]) -> int:
    """The CRC as TFRecord stores it: rotated and shifted, so that a CRC of data that holds CRCs stays a good one."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def header(payload_bytes: int) -> bytes:
    """The 12 bytes before a payload."""
    length = struct.pack("<Q", payload_bytes)
    return length + struct.pack("<I", masked_crc32c(length))


def frame(payload: bytes) -> bytes:
    """Wraps one payload as a record."""
    return header(len(payload)) + payload + struct.pack("<I", masked_crc32c(payload))


def payload_crcs(records: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Computes the masked CRC of the payload of each of [n, record_bytes] frames."""
    import google_crc32c

    value = google_crc32c.value
    payloads = records[:, HEADER_BYTES:-FOOTER_BYTES]
    crcs = np.fromiter((value(row) for row in np.ascontiguousarray(payloads)), dtype=np.uint32, count=len(records))
    return ((crcs >> np.uint32(15)) | (crcs << np.uint32(17))) + np.uint32(_MASK_DELTA)


def read_frames(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yields the payload of each record, both CRCs checked.

    Args:
      file: opened for reading bytes.
      name: of the file, for errors.

    Raises:
      ManifestError: a CRC is wrong or the file ends inside a record; names the file, the record and the byte.
    """
    offset = record = 0
    while head := file.read(HEADER_BYTES):
        where = f"{name}: record {record} at byte {offset:,}"
        if len(head) < HEADER_BYTES or struct.unpack("<I", head[8:])[0] != masked_crc32c(head[:8]):
            raise ManifestError(f"{where}: its header is cut short or altered. Copy the file again from where it was built.")
        (length,) = struct.unpack("<Q", head[:8])
        body = file.read(length + FOOTER_BYTES)
        if len(body) < length + FOOTER_BYTES:
            raise ManifestError(f"{where}: the file ends inside it. Copy the file again from where it was built.")
        payload = body[:length]
        if struct.unpack("<I", body[length:])[0] != masked_crc32c(payload):
            raise ManifestError(f"{where}: its CRC does not match its bytes. Copy the file again from where it was built.")
        yield payload
        offset += HEADER_BYTES + length + FOOTER_BYTES
        record += 1
