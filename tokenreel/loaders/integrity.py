"""Comparing a shard with what its manifest says, byte by byte."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tokenreel import files, tfrecord
from tokenreel.manifest import ShardInfo
from tokenreel.schema import RecordLayout

_CHUNK_BYTES = 4 << 20


def check_shard(path: str, info: ShardInfo, layout: RecordLayout) -> list[str]:
    """Reads a whole shard of the fixed format and lists every difference from the manifest; none means that every byte is as written.

    Each line names the file, and the record and byte where there is one.
    """
    try:
        return list(_differences(path, info, layout))
    except OSError as error:
        return [f"{path}: cannot be read ({error})"]


def _differences(path: str, info: ShardInfo, layout: RecordLayout) -> Iterator[str]:
    import google_crc32c

    stride = layout.record_bytes
    template = np.frombuffer(layout.template, dtype=np.uint8)
    constant = np.ones(stride, dtype=np.bool_)  # the bytes that equal the template in every record
    constant[-tfrecord.FOOTER_BYTES :] = False
    for feature, offset in zip(layout.features, layout.offsets, strict=True):
        constant[offset : offset + feature.nbytes] = False
    record = size = crc = 0
    rest = b""
    with files.open_read(path) as file:
        while data := file.read(max(1, _CHUNK_BYTES // stride) * stride):
            size += len(data)
            crc = google_crc32c.extend(crc, data)
            data = rest + data
            whole = len(data) // stride * stride
            rest = data[whole:]
            records = np.frombuffer(data, dtype=np.uint8, count=whole).reshape(-1, stride)
            stored = np.ascontiguousarray(records[:, -tfrecord.FOOTER_BYTES :]).view("<u4").reshape(-1)
            frames = (records[:, constant] != template[constant]).any(axis=1)
            sums = tfrecord.payload_crcs(records) != stored
            for row in np.flatnonzero(frames | sums).tolist():
                what = (
                    "its frame or its features are not laid out as the manifest says" if frames[row] else "its CRC does not match its bytes"
                )
                yield f"{path}: record {record + row:,} at byte {(record + row) * stride:,}: {what}"
            record += len(records)
    if size != info.bytes:
        yield f"{path}: {size:,} bytes ({size / stride:,.2f} records), the manifest says {info.bytes:,} ({info.records:,} records)"
    if crc != info.crc32c:
        yield f"{path}: crc32c is {crc:#010x}, the manifest says {info.crc32c:#010x}"
