"""Writes the records of a shard, and tells whether a file already holds them.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_interruption.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.format import example_codec, schema, tfrecord
from tokenreel.format.manifest import FIXED, FileInfo, ShardInfo
from tokenreel.format.schema import RecordFormat
from tokenreel.storage import files

_CHUNK_BYTES = 8 << 20  # encoded at a time; a record is built in memory field by field


class ShardWriter:
    """Writes records to a file and keeps its size and CRC."""

    def __init__(self, file: Any, fixed_format: RecordFormat, record_format: str) -> None:
        """Begins an empty shard.

        Args:
          file: open for writing.
          fixed_format: where the fields lie in a record.
          record_format: `shards.format`: records of one length, or protobufs that TensorFlow reads.
        """
        self._file, self._fixed_format, self._format = file, fixed_format, record_format
        self.records = self.bytes = self.crc32c = 0

    def write(self, arrays: Mapping[str, npt.NDArray[Any]], first: int) -> None:
        """Appends [n, ...] arrays as records numbered from `first`."""
        import google_crc32c

        total = len(next(iter(arrays.values())))
        step = max(1, _CHUNK_BYTES // self._fixed_format.record_bytes)
        for start in range(0, total, step):
            rows = {name: values[start : start + step] for name, values in arrays.items()}
            number = min(step, total - start)
            rows[schema.EXAMPLE_ID] = np.arange(first + start, first + start + number, dtype=np.int64)
            if self._format == FIXED:
                data = example_codec.encode_fixed(self._fixed_format, rows).tobytes()
            else:
                data = b"".join(example_codec.encode_lists({name: list(values) for name, values in rows.items()}))
            self._file.write(data)
            self.crc32c = google_crc32c.extend(self.crc32c, data)
            self.records += number
            self.bytes += len(data)


def matches(path: str, info: ShardInfo | FileInfo) -> bool:
    """Says whether a file is the one that was written: compares its size, and then its CRC, for which it is read."""
    if files.size(path) != info.bytes:
        return False
    return files.checksum(path) == (info.bytes, info.crc32c) and info.bytes > tfrecord.HEADER_BYTES
