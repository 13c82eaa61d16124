"""TFRecord framing: length, CRC of the length, payload, CRC of the payload (TensorFlow's `record_writer.cc`)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 12  # length and its CRC
FOOTER_BYTES = 4  # CRC of the payload
_PIECE_BYTES = 4 << 20  # asked for at once
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | npt.NDArray[np.uint8]) -> int:
    """Computes the Castagnoli CRC of some bytes."""
    import google_crc32c

    return int(google_crc32c.value(data))


def extend_crc32c(crc: int, data: bytes | memoryview) -> int:
    """Computes the Castagnoli CRC of bytes whose CRC is known, and of some that follow them."""
    import google_crc32c

    return int(google_crc32c.extend(crc, np.frombuffer(data, dtype=np.uint8)))


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


def read_frames(read: Callable[[int], bytes], most: int) -> Iterator[tuple[int, bytes, str]]:
    """Yields the records of a file one by one, of any length.

    A forged length costs no memory: one that is longer than records can be is not believed, and others are read piece by piece.

    Args:
      read: gives the next bytes of the file, at most as many as it is asked for, and none at its end.
      most: bytes that a payload has at most.

    Yields:
      the record's first byte in the file, its payload, and what is wrong with it ("" for a sound one). After a length that is wrong,
      nothing can be found, and the payload is empty.
    """
    offset = 0
    while head := _read_up_to(read, HEADER_BYTES):
        if len(head) < HEADER_BYTES or struct.unpack("<I", head[8:])[0] != masked_crc32c(head[:8]):
            yield offset, b"", "its length or the length's CRC was altered or cut off, so nothing behind it can be read"
            return
        (length,) = struct.unpack("<Q", head[:8])
        if length > most:
            yield offset, b"", f"it says that it has {length:,} bytes; a record of these features has at most {most:,}"
            return
        body = _read_up_to(read, length + FOOTER_BYTES)
        if len(body) < length + FOOTER_BYTES:
            yield offset, b"", "the file ends inside it"
            return
        payload = body[:length]
        (stored,) = struct.unpack("<I", body[length:])
        yield offset, payload, "" if stored == masked_crc32c(payload) else "its CRC does not match its bytes"
        offset += HEADER_BYTES + len(body)


def _read_up_to(read: Callable[[int], bytes], size: int) -> bytes:
    """Reads `size` bytes, fewer at the end of the file only: a read from a bucket or a pipe may give less than it was asked for."""
    parts = []
    while size and (data := read(min(size, _PIECE_BYTES))):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


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
