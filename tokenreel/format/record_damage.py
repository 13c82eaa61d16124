"""Finds what was altered in records of the fixed format: which bytes, or at least which record."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tokenreel.format import tfrecord
from tokenreel.format.manifest import ShardInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.storage import files

_CHUNK_BYTES = 4 << 20


def find_damage(fixed_format: RecordFormat, records: npt.NDArray[np.uint8]) -> Iterator[tuple[int, str]]:
    """Yields the frames whose bytes are not what was written.

    A frame is compared with the template where all records are equal, and with its CRC elsewhere.

    Args:
      fixed_format: of the records.
      records: [n, record_bytes] whole frames.

    Yields:
      a row and what is known of the damage, in rising order.
    """
    template = np.frombuffer(fixed_format.template, dtype=np.uint8)
    columns = _structure(fixed_format)
    altered = records[:, columns] != template[columns]
    stored = np.ascontiguousarray(records[:, -tfrecord.FOOTER_BYTES :]).view("<u4")[:, 0]
    computed = tfrecord.payload_crcs(records)
    size = fixed_format.record_bytes
    for row in np.flatnonzero(altered.any(axis=1) | (stored != computed)).tolist():
        places = columns[altered[row]]
        if len(places):
            named = ", ".join(
                f"byte {place} ({_part(fixed_format, place)}) is {records[row, place]:#04x} instead of {template[place]:#04x}"
                for place in places[:4].tolist()
            )
            yield row, f"{named}{' and more' if len(places) > 4 else ''}, counted from the record's first"
            continue
        place = locate(int(stored[row]), int(computed[row]), size)
        guess = (
            "more than one byte was altered"
            if place is None
            else f"if one byte was altered, it is byte {place} ({_part(fixed_format, place)}), counted from the record's first"
        )
        yield row, f"its CRC does not match its bytes: {guess}"


def find_shard_damage(path: str, info: ShardInfo, fixed_format: RecordFormat) -> Iterator[str]:
    """Yields every difference between a shard of the fixed format and its manifest; none means that every byte is as written.

    Args:
      path: of the shard.
      info: what the manifest says of it.
      fixed_format: of its records.

    Yields:
      lines that name the file, and the record and its first byte where there is one.
    """
    import google_crc32c

    stride = fixed_format.record_bytes
    record = size = crc = 0
    rest = b""
    try:
        with files.open_read(path) as file:
            while data := file.read(max(1, _CHUNK_BYTES // stride) * stride):
                size += len(data)
                crc = google_crc32c.extend(crc, data)
                data = rest + data  # a read may end inside a record
                whole = len(data) // stride * stride
                rest = data[whole:]  # the beginning of a record that the next read goes on with
                records = np.frombuffer(data, dtype=np.uint8, count=whole).reshape(-1, stride)
                for row, what in find_damage(fixed_format, records):
                    yield f"{path}: record {record + row:,} at byte {(record + row) * stride:,}: {what}"
                record += len(records)
    except OSError as error:
        yield f"{path}: cannot be read ({error})"
        return
    if size != info.bytes:
        yield f"{path}: {size:,} bytes ({size / stride:,.2f} records), the manifest says {info.bytes:,} ({info.records:,} records)"
    if crc != info.crc32c:
        yield f"{path}: crc32c is {crc:#010x}, the manifest says {info.crc32c:#010x}"


@functools.lru_cache(maxsize=4)
def _structure(fixed_format: RecordFormat) -> npt.NDArray[np.int64]:
    """Lists the bytes of a frame that are the same in every record, int64 [bytes]: neither values nor the CRC of the payload."""
    fixed = np.ones(fixed_format.record_bytes, dtype=bool)
    fixed[-tfrecord.FOOTER_BYTES :] = False
    for feature, offset in zip(fixed_format.features, fixed_format.offsets, strict=True):
        fixed[offset : offset + feature.nbytes] = False
    return np.flatnonzero(fixed)


def _part(fixed_format: RecordFormat, place: int) -> str:
    if place < tfrecord.HEADER_BYTES:
        return "length" if place < 8 else "CRC of the length"
    if place >= fixed_format.record_bytes - tfrecord.FOOTER_BYTES:
        return "CRC of the record"
    for feature, offset in zip(fixed_format.features, fixed_format.offsets, strict=True):
        if offset <= place < offset + feature.nbytes:
            return feature.name
    return "between the values"


@functools.cache
def _crc_table() -> tuple[list[int], dict[int, int]]:
    """Makes the byte-wise table of CRC-32C (reflected polynomial 0x82F63B78), and the index of each entry by its top byte."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
        table.append(value)
    return table, {entry >> 24: index for index, entry in enumerate(table)}


def locate(stored: int, computed: int, record_bytes: int) -> int | None:
    """Finds the byte of a frame whose alteration alone explains a CRC that does not match.

    Args:
      stored: the masked CRC in the frame.
      computed: the masked CRC of the payload as it is.
      record_bytes: of the frame.

    Returns:
      the byte, counted from the frame's first; None if no single byte explains it.

    CRCs are linear: the difference of two is that of a message with the altered bits and zeros elsewhere. Running the CRC's register
    backwards over the zeros, the difference is one entry of the table exactly where a single byte was altered. Damage of several bytes
    looks like that by chance once in 2**24 places.
    """
    # The stored CRC itself may be what was altered: then it differs from the right one in one byte.
    difference = [place for place in range(4) if (stored ^ computed) >> 8 * place & 0xFF]
    if len(difference) == 1:
        return record_bytes - tfrecord.FOOTER_BYTES + difference[0]
    table, by_top = _crc_table()
    state = _unmask(stored) ^ _unmask(computed)
    for place in range(record_bytes - tfrecord.FOOTER_BYTES - 1, tfrecord.HEADER_BYTES - 1, -1):
        # Backwards over one byte: the top byte tells which entry of the table the register was shifted and xored with.
        index = by_top[state >> 24]
        if state == table[index]:
            return place
        state = (state ^ table[index]) << 8 & 0xFFFFFFFF | index
    return None


def _unmask(masked: int) -> int:
    rotated = masked - 0xA282EAD8 & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF
