"""A file is read as what its first bytes say it is, whatever its name, its place and the range that a worker was given."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pathlib

import lz4.frame
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests import buckets
from tests.reading import read
from tokenreel.errors import SourceError
from tokenreel.storage import files

COMPRESS = {
    "gz": gzip.compress,
    "GZ": gzip.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": zstandard.compress,
    "lz4": lz4.frame.compress,
}
TEXTS = [f"document {i} of some words" for i in range(5000)]
LINES = "".join(f"{text}\n" for text in TEXTS).encode()


@pytest.mark.parametrize("ending", COMPRESS)
def test_compression_is_told_by_the_bytes(tmp_path: pathlib.Path, ending: str) -> None:
    packed = COMPRESS[ending](LINES)
    for name in (f"a.txt.{ending}", "a.txt", "a.zst"):
        (tmp_path / name).write_bytes(packed)
        found = read(tmp_path / name, "lines", 10_000)
        assert found.values == TEXTS and not found.reasons, name


def test_text_is_text_whatever_its_name(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(LINES)
    found = read(tmp_path / "a.jsonl.gz", "lines", 10_000)
    assert found.values == TEXTS and found.blocks > 1, "and is split like text"
    (tmp_path / "a.txt.gz").write_bytes(("naïve\n" * 20).encode("utf-16"))
    assert read(tmp_path / "a.txt.gz", "lines", encoding="utf-16").values == ["naïve"] * 20


def test_archives_in_archives_are_unpacked_but_not_for_ever(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(lzma.compress(bz2.compress(LINES))))
    assert read(tmp_path / "a", "lines").values == TEXTS
    (tmp_path / "a").write_bytes(gzip.compress(gzip.compress(gzip.compress(gzip.compress(LINES)))))
    with pytest.raises(SourceError, match="is compressed more than 3 times"):
        read(tmp_path / "a", "lines")


@pytest.mark.parametrize(("kind", "settings"), [("lines", {}), ("csv", {"embedded_newlines": False, "text_field": "document"})])
def test_ranges_of_an_object_that_is_compressed_in_secret_are_one_stream(kind: str, settings: dict[str, object]) -> None:
    """What cuts a bucket's objects knows their names alone: the first range holds all, the others nothing."""
    rows = b"document\n" + LINES if kind == "csv" else LINES
    with buckets.storage() as bucket:
        files.write_bytes(f"{bucket}/a.txt", gzip.compress(rows))
        found = read(f"{bucket}/a.txt", kind, 1000, **settings)
        assert found.values == TEXTS and found.blocks > 1
        files.write_bytes(f"{bucket}/b.txt", rows)
        assert read(f"{bucket}/b.txt", kind, 1000, **settings).values == TEXTS


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("parquet", b"PK\3\4" + bytes(50), "is a zip archive, but source 'text' has format: parquet. Unpack it with `unzip`, or leave"),
        ("lines", gzip.compress(b"PK\3\4" + bytes(50)), "holds a zip archive that is compressed as a whole, which is not read."),
        ("parquet", LINES, "is text, but source 'text' has format: parquet. Set the source's format to that of the text"),
        ("tfrecord", LINES, "is text, but source 'text' has format: tfrecord"),
        ("arrow", b"FEA1" + bytes(100), "is a Feather file of version 1, but source 'text' has format: arrow. Write it as version 2"),
        ("parquet", b"PARE\x15" + bytes(100), "is an encrypted Parquet file, but source 'text' has format: parquet. No keys can be given"),
        ("parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a pointer of Git LFS in place of the data"),
    ],
)
def test_what_the_format_cannot_be_is_refused_by_name(tmp_path: pathlib.Path, kind: str, data: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(SourceError) as caught:
        read(tmp_path / "a", kind)
    assert message in str(caught.value)


def test_a_table_that_is_compressed_as_a_whole_is_refused(tmp_path: pathlib.Path) -> None:
    out = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": TEXTS}), out)
    (tmp_path / "a.parquet").write_bytes(gzip.compress(out.getvalue().to_pybytes()))
    with pytest.raises(SourceError, match="a compressed parquet file cannot be read from its middle"):
        read(tmp_path / "a.parquet", "parquet")
