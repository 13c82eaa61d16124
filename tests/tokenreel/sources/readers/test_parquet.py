from __future__ import annotations

import datetime
import decimal
import pathlib
import random
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import read
from tokenreel.errors import SourceError

TEXTS = ["", "a", "zwei Wörter", "line\nline", "日本語", "x" * 3000, "🧑‍🚀"]


def table(texts: list[str | None], kind: pa.DataType | None = None) -> pa.Table:
    rows = range(len(texts))
    return pa.table(
        {
            "text": pa.array(texts, type=pa.string()).cast(kind or pa.string()),
            "id": [f"row-{i}" for i in rows],
            "number": list(rows),
            "meta": [{"url": f"http://{i}", "inner": {"x": i}} if i % 3 else None for i in rows],
            "unused": ["u" * 50] * len(texts),
        }
    )


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.sampled_from([*TEXTS, None]), max_size=60),
    group=st.integers(1, 20),
    block_bytes=st.integers(1, 9000),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.binary(), pa.string_view()]),
)
def test_any_split_gives_the_same_documents(texts: list[str | None], group: int, block_bytes: int, kind: pa.DataType) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.parquet"
        pq.write_table(table(texts, kind), path, row_group_size=group)
        settings = {"id_field": "id", "order_field": "number", "metadata_fields": ("number", "meta.url")}
        found = read(path, "parquet", block_bytes, **settings)
        rows = {("a.parquet", i): text for i, text in enumerate(texts) if text is not None}
        assert found.texts == rows
        assert list(found.ids.values()) == [f"row-{i}" for _, i in rows]
        assert list(found.metadata.values()) == [{"number": i, "meta.url": f"http://{i}" if i % 3 else None} for _, i in rows]
        assert list(found.sort_value.values()) == sorted(found.sort_value.values())
        missing = [(fault.position, fault.line, fault.reason) for fault in found.faults]
        assert missing == [(i, i + 1, "no_text") for i, text in enumerate(texts) if text is None]
        plain = read(path, "parquet", block_bytes)
        assert plain.texts == rows
        assert len(set(plain.keys.values())) == len(rows), "each row is a document of its own"


def test_row_groups_are_blocks(tmp_path: pathlib.Path) -> None:
    texts = [str(i) * 500 for i in range(400)]
    pq.write_table(table(list(texts)), tmp_path / "a.parquet", row_group_size=50, compression="none")
    found = read(tmp_path, "parquet", 60_000)
    assert found.blocks == 8
    assert found.values == texts
    pq.write_table(table(list(texts)), tmp_path / "a.parquet", row_group_size=400, compression="none")
    found = read(tmp_path, "parquet", 60_000)
    assert (found.blocks, found.values) == (1, texts)
    assert found.parts > 5, "a large row group is read in parts"


def test_any_truncation_is_a_dead_letter_that_names_the_file(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(table([f"text {i}" for i in range(100)]), path, row_group_size=10)
    data = path.read_bytes()
    for cut in [*range(0, 12), *range(12, len(data), 97), len(data) - 1]:
        path.write_bytes(data[:cut])
        for block_bytes in (100, 1 << 20):
            found = read(tmp_path, "parquet", block_bytes)
            assert found.values == []
            assert [(fault.reason, fault.file) for fault in found.faults] == [("broken_file", "a.parquet")]
            assert "a.parquet: no complete Parquet file" in found.faults[0].message


@pytest.mark.parametrize("checksums", [True, False])
def test_damage_costs_no_more_than_its_row_group(tmp_path: pathlib.Path, checksums: bool) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text {i} {random.Random(i).random()}" for i in range(200)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=20, write_page_checksum=checksums, compression="zstd")
    data = path.read_bytes()
    footer = int.from_bytes(data[-8:-4], "little") + 8
    rng = random.Random(5)
    lost = 0
    for _ in range(150):
        altered = bytearray(data)
        at = rng.randrange(4, len(data) - footer)
        altered[at] ^= 1 << rng.randrange(8)
        path.write_bytes(altered)
        found = read(path, "parquet", 1)
        assert all(fault.reason in ("broken_file", "invalid_utf8") for fault in found.faults)
        if checksums:
            assert set(found.values) <= set(texts)
            lost += 200 - len(found.values)
            assert 200 - len(found.values) <= 20
            assert bool(found.faults) == (len(found.values) < 200)
        for fault in found.faults:
            if fault.reason == "broken_file" and "row group" in fault.message:
                group = fault.position // 20
                assert f"rows {fault.position} to {group * 20 + 19} (row group {group})" in fault.message
    assert lost > 1000 or not checksums, "the flips did hit pages"


def test_wrong_columns_are_errors_that_name_the_others(tmp_path: pathlib.Path) -> None:
    pq.write_table(table(["a", "b"]), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"a\.parquet: has no column 'body' .*'text', 'id', 'number', 'meta', 'unused'"):
        read(tmp_path, "parquet", text_field="body")
    with pytest.raises(SourceError, match=r"has no column 'meta.uri'"):
        read(tmp_path, "parquet", metadata_fields=("meta.uri",))
    with pytest.raises(SourceError, match=r"the column 'number' .* holds int64, not text"):
        read(tmp_path, "parquet", text_field="number")


def test_nested_columns(tmp_path: pathlib.Path) -> None:
    inner = pa.array([{"body": {"text": "a"}}, {"body": None}, None, {"body": {"text": "b"}}])
    pq.write_table(pa.table({"doc": inner, "doc.title": ["w", "x", "y", "z"]}), tmp_path / "a.parquet")
    found = read(tmp_path, "parquet", text_field="doc.body.text", metadata_fields=("doc.title",))
    assert found.texts == {("a.parquet", 0): "a", ("a.parquet", 3): "b"}
    assert [fields["doc.title"] for fields in found.metadata.values()] == ["w", "z"]
    assert found.reasons == ["no_text", "no_text"]
    assert read(tmp_path, "parquet", text_field="doc.title").values == ["w", "x", "y", "z"]


def test_values_of_every_kind_are_kept_and_sorted_by(tmp_path: pathlib.Path) -> None:
    day = datetime.date(2024, 5, 1)
    moment = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
    columns = {
        "text": ["a", "b"],
        "day": [day + datetime.timedelta(1), day],
        "moment": pa.array([moment, moment + datetime.timedelta(microseconds=1)], type=pa.timestamp("ns", "UTC")),
        "price": [decimal.Decimal("10.50"), decimal.Decimal("-3.25")],
        "tags": [["x", "y"], []],
        "raw": [b"\xff", b"ok"],
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    first, second = read(tmp_path, "parquet", metadata_fields=tuple(columns)[1:]).metadata.values()
    assert first == {
        "day": "2024-05-02",
        "moment": "2024-05-01 12:00:00.000000000Z",
        "price": "10.50",
        "tags": ["x", "y"],
        "raw": "\\xff",
    }
    assert second["moment"].endswith("00.000001000Z")
    for field, rising in (("day", False), ("moment", True), ("price", False)):
        a, b = read(tmp_path, "parquet", order_field=field).sort_value.values()
        assert (a < b) == rising, field
    found = read(tmp_path, "parquet", order_field="tags", id_field="raw")
    assert (found.values, set(found.reasons)) == ([], {"no_order"})


def test_text_that_is_no_utf8_is_a_fault_of_its_row(tmp_path: pathlib.Path) -> None:
    # Two halves of one character in a row: together they would be valid.
    column = pa.array([b"good", b"half \xc3", b"\xa9 other half", "é".encode()])
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    found = read(tmp_path, "parquet")
    assert found.texts == {("a.parquet", 0): "good", ("a.parquet", 3): "é"}
    assert [(fault.position, fault.line, fault.reason) for fault in found.faults] == [(1, 2, "invalid_utf8"), (2, 3, "invalid_utf8")]
