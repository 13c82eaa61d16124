"""Each kind of file is told from what a real writer writes, and no text is taken for one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pathlib
import sqlite3
import struct
import tarfile
import zipfile
from collections.abc import Callable

import lz4.frame
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.orc
import pyarrow.parquet as pq
import pytest
import zstandard

from tokenreel.format import tfrecord
from tokenreel.sources import kinds

TABLE = pa.table({"text": [f"document {i}" for i in range(50)]})
TEXT = b'{"text": "some words"}\n' * 50


def sink(write: Callable[[pa.BufferOutputStream], object]) -> bytes:
    out = pa.BufferOutputStream()
    write(out)
    return out.getvalue().to_pybytes()


def tar(kind: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        member = tarfile.TarInfo("a/é.txt")
        member.size = len(TEXT)
        archive.addfile(member, io.BytesIO(TEXT))
    return out.getvalue()


def v7_tar() -> bytes:
    """An archive from before POSIX: no `ustar`, zeros in its place, and the sum of the header that is left."""
    header = bytearray(tar(tarfile.USTAR_FORMAT)[:512])
    header[257:512] = bytes(255)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + TEXT


def zipped(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def arrow(opened: Callable[..., pa.ipc.RecordBatchStreamWriter]) -> bytes:
    def write(out: pa.BufferOutputStream) -> None:
        with opened(out, TABLE.schema) as writer:
            writer.write_table(TABLE)

    return sink(write)


def array(values: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, values)
    return out.getvalue()


def database(folder: pathlib.Path) -> bytes:
    connection = sqlite3.connect(folder / "a.db")
    with connection:
        connection.execute("create table t (text)")
    connection.close()
    return (folder / "a.db").read_bytes()


SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"names"
WRITTEN = {
    "gzip": gzip.compress(TEXT),
    "bzip2": bz2.compress(TEXT),
    "xz": lzma.compress(TEXT),
    "lzma": lzma.compress(TEXT, lzma.FORMAT_ALONE),
    "zstd": zstandard.compress(TEXT),
    "lz4": lz4.frame.compress(TEXT),
    "tar": tar(tarfile.GNU_FORMAT),
    "zip": zipped(a=TEXT),
    "office": zipped(**{"[Content_Types].xml": TEXT, "word/document.xml": TEXT}),
    "numpy-zip": zipped(**{"archive/data.pkl": TEXT}),
    "warc": b"WARC/1.0\r\nWARC-Type: warcinfo\r\n\r\n",
    "parquet": sink(lambda out: pq.write_table(TABLE, out)),
    "arrow": arrow(pa.ipc.new_file),
    "arrow-stream": arrow(pa.ipc.new_stream),
    "feather1": sink(lambda out: pyarrow.feather.write_feather(TABLE, out, version=1)),
    "orc": sink(lambda out: pyarrow.orc.write_table(TABLE, out)),
    "tfrecord": tfrecord.frame(b"an example"),
    "numpy": array(np.arange(5)),
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n",
    "git-annex": b"/annex/objects/SHA256E-s123--" + b"0" * 64 + b".jsonl\n",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_is_told_from_its_first_bytes(name: str) -> None:
    found = kinds.recognise(WRITTEN[name][: kinds.HEAD_BYTES])
    assert found is not None and found.name == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (bz2.compress(b""), "bzip2"),
        (gzip.compress(b""), "gzip"),
        (zipped(), "zip"),
        (tar(tarfile.USTAR_FORMAT), "tar"),
        (tar(tarfile.PAX_FORMAT), "tar"),
        (v7_tar(), "tar"),
        (SKIPPABLE + zstandard.compress(TEXT), "zstd"),
        (SKIPPABLE + lz4.frame.compress(TEXT), "lz4"),
        (zstandard.ZstdCompressor(write_content_size=False).compress(TEXT), "zstd"),
        (sink(lambda out: pq.write_table(TABLE.slice(0, 0), out)), "parquet"),
        (sink(lambda out: pq.write_table(TABLE, out, compression="none", use_dictionary=False)), "parquet"),
        (sink(lambda out: pyarrow.orc.write_table(TABLE, out, compression="zlib")), "orc"),
        (tfrecord.frame(b""), "tfrecord"),
        (b"PARE\x15\x04" + bytes(50), "encrypted-parquet"),
    ],
)
def test_whatever_the_variant(data: bytes, name: str) -> None:
    found = kinds.recognise(data[: kinds.HEAD_BYTES])
    assert found is not None and found.name == name


def test_a_database_is_told(tmp_path: pathlib.Path) -> None:
    found = kinds.recognise(database(tmp_path)[: kinds.HEAD_BYTES])
    assert found is not None and found.name == "sqlite"


@pytest.mark.parametrize("kind", kinds.KINDS, ids=lambda kind: kind.name)
def test_text_that_begins_with_the_letters_of_a_kind_is_text(kind: kinds.Kind) -> None:
    for word in [
        "PK",
        "BZh9",
        "BZh91",
        "PAR1",
        "PARE",
        "ORC",
        "ARROW1",
        "FEA1",
        "Obj",
        "Rar!",
        "7z",
        "WARC/",
        "ustar",
        "LZIP",
        "GIF89",
        "%PDF",
    ]:
        assert not kind.matches(word.encode())
        assert not kind.matches(f"{word} is how this text begins, and it goes on like that.\n".encode() * 100)


def test_a_tar_header_is_checked_by_its_sum() -> None:
    data = bytearray(tar(tarfile.GNU_FORMAT))
    data[3] ^= 1
    assert kinds.recognise(bytes(data)) is None
    text = b"ustar".join([b"x" * 257, b"  y" * 100])
    assert kinds.recognise(text) is None


def test_every_kind_that_is_not_read_has_a_way_out() -> None:
    assert len(kinds.BY_NAME) == len(kinds.KINDS)
    for kind in kinds.KINDS:
        assert (kind.way_out == "") == (kind.group == "compression"), kind.name
        assert not kind.way_out.endswith(".")


@pytest.mark.parametrize(
    ("name", "told", "bare"),
    [
        ("a.JSONL.GZ", "gzip", "a.JSONL"),
        ("a.gzip", "gzip", "a"),
        ("a.zstd", "zstd", "a"),
        ("x/a.tar.Bz2", "bzip2", "x/a.tar"),
        ("a.tgz", "gzip", "a.tar"),
        ("a.txt", None, "a.txt"),
        (".gz", None, ".gz"),
    ],
)
def test_names_are_read_in_any_case(name: str, told: str | None, bare: str) -> None:
    found = kinds.named(name)
    assert (found and found.name, kinds.bare(name)) == (told, bare)
