"""Lists of files, names that tell of another format, and objects in a bucket."""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.buckets import storage
from tests.reading import read
from tests.tokenreel.sources.readers.test_tfrecords import example
from tokenreel.errors import SourceError
from tokenreel.format import tfrecord
from tokenreel.storage import files


def lines(folder: pathlib.Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"from {name}\n")


def test_lists_name_files_relative_to_themselves(tmp_path: pathlib.Path) -> None:
    lines(tmp_path, "a/1.txt", "a/2.txt", "b/3.txt", "b/4.log", "c d.txt")
    listed = tmp_path / "lists"
    listed.mkdir()
    (listed / "all.txt").write_bytes(f"\ufeff# a comment\n\n../a\n  ../b/*.txt  \r\n{tmp_path}/c d.txt".encode())
    found = read(f"@{listed / 'all.txt'}", "lines")
    assert [file for file, _ in found.texts] == ["a/1.txt", "a/2.txt", "b/3.txt", "c d.txt"]
    whole = read(tmp_path / "*" / "*.txt", "lines")
    assert {place: key for place, key in found.keys.items() if "/" in place[0]}.items() <= whole.keys.items(), "a list changes no names"


def test_lines_of_lists_end_at_line_feeds_alone(tmp_path: pathlib.Path) -> None:
    odd = ["a\x0bb.txt", "a\x85b.txt", "a\u2028b.txt", "a\x1cb.txt", "\u3000a.txt", "a\rb.txt"]
    lines(tmp_path, *odd)
    (tmp_path / "list").write_bytes("\r\n".join(odd).encode())
    assert sorted(file for file, _ in read(f"@{tmp_path / 'list'}", "lines").texts) == sorted(odd)


def test_lists_that_are_wrong_name_their_line(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# one\n\nmissing*.txt\n")
    with pytest.raises(SourceError, match=r"missing\*\.txt: no file matches \(.*list\.txt line 3, source 'text'\)"):
        read(f"@{path}", "lines")
    path.write_text("@other.txt\n")
    with pytest.raises(SourceError, match=r"list\.txt line 1: a list cannot name another list"):
        read(f"@{path}", "lines")
    path.write_text("# nothing\n")
    with pytest.raises(SourceError, match="the list names no file"):
        read(f"@{path}", "lines")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match="the list cannot be read"):
        read(f"@{path}", "lines")
    with pytest.raises(SourceError, match="there is no list"):
        read(f"@{tmp_path / 'none.txt'}", "lines")


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("a.parquet", "jsonl", "parquet"),
        ("a.csv", "jsonl", "csv"),
        ("a.CSV.gz", "jsonl", "csv"),
        ("a.arrow", "lines", "arrow"),
        ("a.jsonl", "parquet", "jsonl"),
        ("a.tfrecord", "text", "tfrecord"),
        ("a.parquet", "csv", "parquet"),
    ],
)
def test_a_name_of_another_format_is_an_error(tmp_path: pathlib.Path, name: str, kind: str, told: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match=f"{name}: is named like a {told} file, but source 'text' has format: {kind}. Set its format to"):
        read(tmp_path / name, kind)


def test_names_that_tell_nothing_are_read_as_asked(tmp_path: pathlib.Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "table")
    assert read(tmp_path / "table", "parquet").values == ["a"]
    (tmp_path / "rows.tsv").write_text("text\tx\na\tb\n")
    assert read(tmp_path / "rows.tsv", "lines").values == ["text\tx", "a\tb"]
    assert read(tmp_path / "rows.tsv", "csv", delimiter="\t").values == ["a"]
    (tmp_path / "a.parquet.gz").write_bytes(b"")
    with pytest.raises(SourceError, match="compressed parquet file cannot be read from its middle"):
        read(tmp_path / "a.parquet.gz", "parquet")


def test_tables_are_picked_out_of_a_folder(tmp_path: pathlib.Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "README.md").write_text("about")
    assert read(tmp_path, "parquet").values == ["a"]
    with pytest.raises(SourceError, match="no file matches"):
        read(tmp_path, "arrow")


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "csv"])
def test_folders_of_partitions_are_fields(tmp_path: pathlib.Path, kind: str) -> None:
    """As Hive, Spark and Polars write them: the value stands in the folder's name alone, and a column of that name gives way."""
    for folder, row in {"lang=en/day=1%2F2": "a", "lang=__HIVE_DEFAULT_PARTITION__/day=2": "b"}.items():
        path = tmp_path / folder / f"part-0.{kind}"
        path.parent.mkdir(parents=True)
        rows = {"parquet": b"", "jsonl": json.dumps({"text": row, "n": 1, "day": 0}).encode(), "csv": f"text,n\n{row},1\n".encode()}
        path.write_bytes(rows[kind])
        if kind == "parquet":
            pq.write_table(pa.table({"text": [row], "n": [1]}), path)
    found = read(tmp_path, kind, metadata_fields=("lang", "n", "day"))
    n = "1" if kind == "csv" else 1
    kept = {file: fields for (file, _), fields in found.metadata.items()}
    assert kept == {
        f"lang=en/day=1%2F2/part-0.{kind}": {"lang": "en", "day": "1/2", "n": n},
        f"lang=__HIVE_DEFAULT_PARTITION__/day=2/part-0.{kind}": {"lang": None, "day": "2", "n": n},
    }
    only = read(tmp_path / "lang=en", kind, metadata_fields=("lang",))
    assert list(only.metadata.values()) == [{"lang": "en"}]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with storage() as address:
        yield address


def test_every_format_is_read_from_a_bucket(bucket: str) -> None:
    texts = [f"text {i} " * 20 for i in range(300)]
    table = pa.table({"text": texts})
    parquet, stream = io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet, row_group_size=30)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table, max_chunksize=30)
    contents = {
        "parquet": parquet.getvalue(),
        "arrow": stream.getvalue(),
        "csv": "".join(f'"{text}"\n' for text in ["text", *texts]).encode(),
        "jsonl": "".join(json.dumps({"text": text}) + "\n" for text in texts).encode(),
        "tfrecord": b"".join(tfrecord.frame(example(text=text)) for text in texts),
    }
    for kind, data in contents.items():
        files.write_bytes(f"{bucket}/{kind}/data.{kind}", data)
        files.write_bytes(f"{bucket}/lists/{kind}.txt", f"../{kind}/*.{kind}".encode())
        for where in (f"{bucket}/{kind}", f"@{bucket}/lists/{kind}.txt"):
            found = read(where, kind, 10_000)
            assert found.values == texts
            assert {file for file, _ in found.texts} == {f"data.{kind}"}
            assert (found.blocks > 1) == (kind in ("parquet", "jsonl"))
