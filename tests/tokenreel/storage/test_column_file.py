from __future__ import annotations

import contextlib
import os
import pathlib

import numpy as np
import pytest

from tests import buckets
from tokenreel.errors import BuildError
from tokenreel.storage import column_file, files
from tokenreel.storage.column_file import Columns

ROWS = [
    {"path": "grüße.stage", "count": 3, "by_length": (1, 2), "only/here": 7},
    {"path": os.fsdecode(b"\xff.stage"), "count": (1 << 62) + 1, "by_length": (3, 4)},
]


@pytest.mark.parametrize("place", ["local", "gs"])
def test_what_was_written_is_read(tmp_path: pathlib.Path, place: str) -> None:
    with buckets.storage() if place == "gs" else contextlib.nullcontext(str(tmp_path)) as folder:
        written = column_file.write(folder, "rows", Columns.of_rows(ROWS, {"plain": [1, None]}))
        assert written == column_file.write(folder, "rows", Columns.of_rows(ROWS, {"plain": [1, None]})), "named by its content"
        assert files.size(written.path) is not None and written.rows == 2
        found = column_file.read(written)
        assert found is column_file.read(written), "once in each process"
    assert [found.row(i) for i in range(2)] == [ROWS[0], {**ROWS[1], "only/here": 0}]
    assert found.about == {"plain": [1, None]}
    assert found.numbers("nobody has it").tolist() == [0, 0]
    assert found.take(np.array([1, 0, 1])).numbers("count").tolist() == [(1 << 62) + 1, 3, (1 << 62) + 1]
    assert [found.take(slice(1, 2)).row(0), found.take(slice(0, 0)).rows] == [found.row(1), 0]
    assert all(array.ctypes.data % column_file.ALIGNMENT == 0 for array in found.arrays.values()) or place == "gs"


def test_an_empty_table(tmp_path: pathlib.Path) -> None:
    found = column_file.read(column_file.write(str(tmp_path), "rows", Columns.of_rows([])))
    assert found.rows == 0 and found.numbers("count").tolist() == []


def test_tables_with_other_columns_are_laid_end_to_end() -> None:
    both = Columns.concatenate([Columns.of_rows(ROWS), Columns.of_rows([{"count": 5, "more": "text"}])])
    assert both.row(2) == {"path": "", "count": 5, "by_length": (0, 0), "only/here": 0, "more": "text"}
    assert both.row(0) == {**ROWS[0], "more": ""}


def test_every_damaged_byte_is_noticed(tmp_path: pathlib.Path) -> None:
    written = column_file.write(str(tmp_path), "rows", Columns.of_rows(ROWS))
    path = pathlib.Path(written.path)
    data = path.read_bytes()
    for at in range(0, len(data), 5):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        with pytest.raises(BuildError, match=r"was changed while it was read. Run the same command again"):
            column_file.load(written)
    for cut in (0, 5, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(BuildError, match="was changed"):
            column_file.load(written)
    path.unlink()
    with pytest.raises(BuildError, match="the table is gone"):
        column_file.load(written)
