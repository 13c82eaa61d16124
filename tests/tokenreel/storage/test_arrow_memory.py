"""Bytes in memory of Arrow's own: the same, and nothing that a thread would have to ask the interpreter for."""

from __future__ import annotations

import gc
import io
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenreel.storage import arrow_memory


@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)) * 1000])
def test_all_bytes_are_there(data: bytes) -> None:
    file = io.BytesIO(data)
    assert arrow_memory.read(file).read() == data
    assert arrow_memory.read(file).read() == data, "wherever it stands"


def test_a_table_is_read_from_it() -> None:
    table = pa.table({"number": list(range(1000)), "name": [f"d{i % 7}" for i in range(1000)]})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=100)
    file.seek(0)
    assert pq.read_table(arrow_memory.read(file), use_threads=False, partitioning=None).equals(table)


def test_no_python_object_holds_them() -> None:
    data = bytes(bytearray(range(256)) * 100)  # no constant
    before = sys.getrefcount(data)
    file = io.BytesIO(data)
    reader = arrow_memory.read(file)
    del file
    gc.collect()
    assert sys.getrefcount(data) == before and reader.read() == data
