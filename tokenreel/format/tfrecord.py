"""TFRecord framing: length, CRC of the length, payload, CRC of the payload (TensorFlow's `record_writer.cc`)."""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 12  # length and its CRC
FOOTER_BYTES = 4  # CRC of the payload
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | npt.NDArray[np.uint8]) -> int:
    """Computes the Castagnoli CRC of some bytes."""
    import google_crc32c

    return int(google_crc32c.value(data))


def masked_crc32c(data: bytes | npt.NDArray[np.uint8]) -> int:
    """Computes the CRC as TFRecord stores it: rotated and shifted, so that a CRC of data that holds CRCs stays a good one."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def header(payload_bytes: int) -> bytes:
    """Makes the 12 bytes before a payload: its length, and the CRC of the length."""
    length = struct.pack("<Q", payload_bytes)
    return length + struct.pack("<I", masked_crc32c(length))


def frame(payload: bytes) -> bytes:
    """Wraps one payload as a record."""
    return header(len(payload)) + payload + struct.pack("<I", masked_crc32c(payload))


def payload_crcs(records: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """Computes the masked CRC of the payload of each frame.

    Args:
      records: uint8 [n, record_bytes] whole frames of one length.

    Returns:
      uint32 [n].
    """
    import google_crc32c

    value = google_crc32c.value
    payloads = records[:, HEADER_BYTES:-FOOTER_BYTES]
    crcs = np.fromiter((value(row) for row in np.ascontiguousarray(payloads)), dtype=np.uint32, count=len(records))
    return ((crcs >> np.uint32(15)) | (crcs << np.uint32(17))) + np.uint32(_MASK_DELTA)
