"""Members of archives read as files of their own: the same documents, named by archive and member, and a fault for what is refused."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pathlib
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests import buckets
from tests.reading import Read, read
from tests.tokenreel.sources.readers.test_tfrecords import example
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.format import tfrecord
from tokenreel.sources import pulled, tar_members
from tokenreel.storage import files

TEXTS = {"a.txt": "one\ntwo\n\nthree", "folder/b.txt": "füür " * 3000, "empty.txt": "", "folder/deep/c.txt": "five\n"}
PACK = {"": lambda data: data, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def tar(members: Mapping[str, bytes], kind: int = tarfile.PAX_FORMAT, **fields: Any) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def found(tmp_path: pathlib.Path, name: str, data: bytes, kind: str = "text", **settings: Any) -> Read:
    (tmp_path / name).write_bytes(data)
    return read(tmp_path / name, kind, **settings)


ENCODED = {name: text.encode() for name, text in TEXTS.items()}


@pytest.mark.parametrize("kind", ["text", "lines", "paragraphs"])
@pytest.mark.parametrize("block_bytes", [100, 1 << 20])
def test_members_are_read_as_the_files_of_a_folder_are(tmp_path: pathlib.Path, kind: str, block_bytes: int) -> None:
    """With their keys, which hash the names; however the archive was made, and however small blocks are."""
    for name, data in ENCODED.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    expected = sorted(read(tmp_path / "folder", kind).texts.items())
    archives = {f"{number}.tar{end}": pack(tar(ENCODED, form)) for number, form in enumerate(FORMATS) for end, pack in PACK.items()}
    archives |= {"stored.zip": zipped(ENCODED, zipfile.ZIP_STORED), "a.zip": zipped(ENCODED), "a.TGZ": gzip.compress(tar(ENCODED))}
    archives["named.like.text"] = tar(ENCODED)
    for name, data in archives.items():
        result = found(tmp_path, name, data, kind, block_bytes=block_bytes)
        assert not result.faults
        got = {(file.removeprefix(f"{name}#"), position): text for (file, position), text in result.texts.items()}
        assert sorted(got.items()) == expected, name
        assert len(set(result.keys.values())) == len(expected)


def test_members_of_every_format_and_compressed_ones(tmp_path: pathlib.Path) -> None:
    rows = [{"text": f"text {i}"} for i in range(5)]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    shapes: dict[str, dict[str, bytes]] = {
        "jsonl": {"a": lines, "b.gz": gzip.compress(lines), "c.jsonl": json.dumps(rows, indent=1).encode()},
        "json": {"a": json.dumps(rows).encode(), "b.json.bz2": bz2.compress(json.dumps(rows).encode())},
        "csv": {"a.csv": b"text,n\n" + b"".join(f"{row['text']},1\n".encode() for row in rows)},
        "tfrecord": {"a": b"".join(tfrecord.frame(example(**row)) for row in rows)},
        "warc": {"a.wet": wet([(f"http://x/{i}", row["text"]) for i, row in enumerate(rows)])},
    }
    for kind, members in shapes.items():
        for name, data in (("a.tar.gz", gzip.compress(tar(members))), ("a.zip", zipped(members))):
            result = found(tmp_path, name, data, kind)
            assert result.values == [row["text"] for row in rows] * len(members), kind
            assert list(dict.fromkeys(file for file, _ in result.texts)) == [f"{name}#{member}" for member in members]
            assert not result.faults


def test_archives_in_a_bucket_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with buckets.storage() as bucket:
        files.write_bytes(f"{bucket}/in/a.tar", tar(ENCODED))
        files.write_bytes(f"{bucket}/in/b", zipped(ENCODED))
        result = read(f"{bucket}/in", "lines", block_bytes=500)
    assert sorted({file for file, _ in result.texts}) == [
        f"{name}#{member}" for name in ("a.tar", "b") for member in sorted(TEXTS) if TEXTS[member]
    ]
    assert len(result.values) == 2 * sum(text.count("\n") + (not text.endswith("\n")) for text in TEXTS.values() if text)


def test_names_are_those_of_a_folder(tmp_path: pathlib.Path) -> None:
    """Of any length and in any writing; hidden members are left out, as folders leave them out."""
    good = ["./a", "b/" + "x" * 300, "ünï/c", "d e#f"]
    names = [*good, "x/.hidden", "__MACOSX/a", "_temporary/a", "PaxHeaders/i"]
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        result = found(tmp_path, "a.tar", tar({name: name.encode() for name in names}, kind))
        assert [file for file, _ in result.texts] == [f"a.tar#{name}" for name in ("a", *good[1:], "PaxHeaders/i")]
        assert not result.faults
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("caf\xe9"), io.BytesIO())
        archive.addfile(tarfile.TarInfo("folder/"), None)
    assert [file for file, _ in found(tmp_path, "a.tar", out.getvalue()).texts] == ["a.tar#caf\udce9"]


def refused(result: Read) -> dict[str, str]:
    assert set(result.reasons) <= {"refused_member"}
    return {fault.file.partition("#")[2]: fault.message for fault in result.faults}


def test_members_that_are_no_plain_files_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    out = io.BytesIO()
    kinds = {"sym": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE, "new": b"Z"}
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        for name in ("/etc/abs", "a/../../up", "C:\\x", "good"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
        info = tarfile.TarInfo("holes")
        info.size, info.pax_headers = 4, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        archive.addfile(info, io.BytesIO(b"text"))
        archive.addfile(tarfile.TarInfo("last"), io.BytesIO())
    result = found(tmp_path, "a.tar", out.getvalue())
    assert list(result.texts.items()) == [(("a.tar#good", 0), "text"), (("a.tar#last", 0), "")]
    told = refused(result)
    words = ["a symbolic link", "a link to another", "a device", "a pipe", "unknown type", "absolute", "leads out", "absolute", "holes"]
    assert len(told) == len(words)
    for message, word in zip(told.values(), words, strict=True):
        assert word in message and message.startswith("the member '")


def test_members_of_zip_archives_that_are_not_read_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret", "text")
        archive.writestr("b.bz2", "text", zipfile.ZIP_BZIP2)
        archive.writestr("../up", "text")
        archive.writestr("folder/", "")
        archive.writestr("?nameless", "text")
        archive.writestr("good", "text")
    data = bytearray(out.getvalue().replace(b"?", b"\0"))
    for magic, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = data.index(b"secret") if magic == b"PK\3\4" else data.rindex(b"secret")
        data[data.rindex(magic, 0, place) + at] |= 1  # encrypted
    result = found(tmp_path, "a.zip", bytes(data))
    assert list(result.texts.items()) == [(("a.zip#good", 0), "text")]
    told = refused(result)
    assert ["link" in told, "encrypted" in told["secret"], "bzip2" in told["b.bz2"], "leads out" in told["../up"]] == [True] * 4
    assert "has no name" in told[""]


def test_archives_in_archives_and_tables_in_archives_are_refused_by_name(tmp_path: pathlib.Path) -> None:
    inner = {
        "a.tar": tar(ENCODED),
        "b.tgz": gzip.compress(tar(ENCODED)),
        "c.zip": zipped(ENCODED),
        "d.7z": b"7z\xbc\xaf\x27\x1c" + bytes(26),
    }
    for name, data in (("o.tar", tar({**inner, "z.txt": b"text"})), ("o.zip", zipped({**inner, "z.txt": b"text"}))):
        result = found(tmp_path, name, data)
        assert list(result.texts.items()) == [((f"{name}#z.txt", 0), "text")]
        assert list(refused(result)) == list(inner)
        assert all("archive" in message and "Unpack it" in message for message in refused(result).values())
    for kind in ("parquet", "arrow"):
        with pytest.raises(SourceError, match=f"is a tar archive, but source 'text' has format: {kind}. Unpack it"):
            found(tmp_path, "a.tar", tar(ENCODED), kind)
    with pytest.raises(SourceError, match="a zip archive that is compressed as a whole"):
        found(tmp_path, "a.zip.gz", gzip.compress(zipped(ENCODED)))


def test_damage_is_a_fault_and_never_an_end_in_silence(tmp_path: pathlib.Path) -> None:
    whole = tar({f"{i}.txt": f"text {i}".encode() * 200 for i in range(5)}, tarfile.GNU_FORMAT)
    member = 512 + 1536  # five of them, each a header and 1,200 bytes, padded
    damaged = bytearray(whole)
    damaged[2 * member + 10] ^= 1
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1 << 32
    cases = {
        "cut in a member": (whole[: 3 * member - 700], 2, "ends"),
        "cut between members": (whole[: 3 * member], 3, "without the mark of its end"),
        "cut in a header": (whole[: 3 * member + 100], 3, "without the mark of its end"),
        "a damaged header": (bytes(damaged), 2, f"at byte {2 * member:,} is no header"),
        "two archives in one": (whole + whole, 5, f"something lies behind its end, from byte {len(whole):,} on"),
        "a name of four gigabytes": (whole[:member] + header.tobuf(tarfile.GNU_FORMAT) + whole[member:], 1, "bytes of attributes"),
    }
    for name, (data, documents, words) in cases.items():
        for end, pack in (("", PACK[""]), (".gz", gzip.compress)):
            result = found(tmp_path, f"a.tar{end}", pack(data))
            assert len(result.values) == documents, name
            (fault,) = result.faults
            assert fault.reason == "broken_archive" and words in fault.message, name
    packed = gzip.compress(whole)
    result = found(tmp_path, "a.tar.gz", packed[:-4])  # cut behind all members
    assert (len(result.values), result.reasons) == (5, ["broken_archive"])
    assert found(tmp_path, "a.tar.gz", packed[:-8] + b"\1" + packed[-7:]).reasons == ["broken_archive"]  # a wrong checksum


@pytest.mark.parametrize("name", ["a.tar", "a.zip", "a.gz", "a.bz2", "a.xz", "a.zst", "a.tgz", "a.tar.gz"])
@pytest.mark.parametrize("data", [b"", bytes(10240)], ids=["no bytes", "zeros"])
def test_an_empty_archive_is_a_fault_of_the_file(tmp_path: pathlib.Path, name: str, data: bytes) -> None:
    """As `bzip2 -t` and `tar -t` say: nothing tells an archive without bytes from one that is lost."""
    for kind in ("jsonl", "text"):
        result = found(tmp_path, name, data, kind)
        assert not result.values
        assert result.reasons == ["broken_archive"]


def test_damaged_zip_archives(tmp_path: pathlib.Path) -> None:
    members = {f"{i}.txt": f"text {i} ".encode() * 200 for i in range(5)}
    whole = zipped(members)
    (fault,) = found(tmp_path, "a.zip", whole[:-30]).faults
    assert (fault.reason, fault.file) == ("broken_archive", "a.zip")
    altered = bytearray(whole)
    altered[whole.index(b"2.txt") + 15] ^= 0xFF
    result = found(tmp_path, "a.zip", bytes(altered))
    assert len(result.values) == 4
    assert [(fault.file, fault.reason) for fault in result.faults] == [("a.zip#2.txt", "broken_archive")]
    first = whole.index(b"PK\1\2")
    second = whole.index(b"PK\1\2", first + 1)
    overlapping = bytearray(whole)
    overlapping[second + 42 : second + 46] = struct.pack("<I", 5)
    (fault,) = found(tmp_path, "a.zip", bytes(overlapping)).faults
    assert "overlap, as those of a bomb do" in fault.message


def wet(records: list[tuple[str, str]], **extra: str) -> bytes:
    out = [record("warcinfo", b"software: x\r\n", "application/warc-fields", {})]
    for url, text in records:
        fields = {"WARC-Target-URI": url, "WARC-Date": "2026-11-29T00:00:00Z", "WARC-Identified-Content-Language": "eng,deu", **extra}
        out.append(record("conversion", text.encode(), "text/plain", fields))
    return b"".join(out)


def record(kind: str, payload: bytes, content: str, fields: Mapping[str, str], length: int | str | None = None) -> bytes:
    lines = {"WARC-Type": kind, **fields, "Content-Type": content, "Content-Length": len(payload) if length is None else length}
    header = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return b"WARC/1.0\r\n" + header.encode() + b"\r\n" + payload + b"\r\n\r\n"


PAGES = [(f"http://x/{i}", f"pagé {i}\n" * (i + 1)) for i in range(50)]


def test_wet_records_are_documents_with_url_date_and_language(tmp_path: pathlib.Path) -> None:
    data = wet(PAGES)
    each = b"".join(map(gzip.compress, [b"WARC/1.0\r\n" + part for part in data.split(b"WARC/1.0\r\n")[1:]]))
    for name, packed in (("a.warc.wet", data), ("a.warc.wet.gz", each), ("b.gz", gzip.compress(data)), ("no-ending", data)):
        for block_bytes in (200, 1 << 20):
            result = found(tmp_path, name, packed, "warc", block_bytes=block_bytes)
            assert result.values == [text for _, text in PAGES]
            assert list(result.ids.values()) == [url for url, _ in PAGES]
            assert list(result.metadata.values()) == [{"date": "2026-11-29T00:00:00Z", "language": "eng,deu"}] * 50
            assert not result.faults
            assert all(data[position:].startswith(b"WARC/1.0") for _, position in result.texts)
    result = found(tmp_path, "a", data, "warc", id_field="record_id", metadata_fields=("url", "WARC-Type"))
    assert result.reasons == ["no_id"] * 50
    result = found(tmp_path, "a", wet(PAGES, **{"WARC-Record-ID": "<urn:a>"}), "warc", id_field="record_id", metadata_fields=("WARC-Type",))
    assert set(result.ids.values()) == {"<urn:a>"}
    assert next(iter(result.metadata.values())) == {"WARC-Type": "conversion"}


def test_warc_as_text_and_text_as_warc_are_refused(tmp_path: pathlib.Path) -> None:
    for kind in ("text", "lines", "paragraphs", "jsonl", "csv"):
        with pytest.raises(SourceError, match=r"WARC file, but source 'text' has format: .*. Set the source's format to warc"):
            found(tmp_path, "a.warc.wet.gz", gzip.compress(wet(PAGES)), kind)
    with pytest.raises(SourceError, match="is text, but source 'text' has format: warc"):
        found(tmp_path, "a.txt", b"some plain words\n" * 9, "warc")


def test_pages_of_servers_are_refused_one_by_one(tmp_path: pathlib.Path) -> None:
    page = record("response", b"HTTP/1.1 200 OK\r\n\r\n<html>", "application/http; msgtype=response", {"WARC-Target-URI": "http://y"})
    result = found(tmp_path, "a.warc", page + wet(PAGES[:2]) + record("request", b"GET /", "application/http", {}) + page, "warc")
    assert result.values == [text for _, text in PAGES[:2]]
    assert result.reasons == ["not_text"] * 2
    assert "'response' that holds application/http, which is no text. Extract the text first" in result.faults[0].message


def test_damaged_records_of_warc(tmp_path: pathlib.Path) -> None:
    first = wet(PAGES[:3])
    plain = {"WARC-Target-URI": "http://y", "WARC-Date": "d"}
    cases = {
        "cut": (first[:-10], 2, "inside its"),
        "cut in a header": (first + b"WARC/1.0\r\nWARC-Type: conv", 3, "header does not end"),
        "a length too small": (
            first + record("conversion", b"some text", "text/plain", plain, 3) + first,
            3,
            "does not end after the 3 bytes",
        ),
        "a length too large": (
            first + record("conversion", b"some text", "text/plain", plain, 10**9) + first,
            3,
            "inside its 1,000,000,000",
        ),
        "a negative length": (first + record("conversion", b"some text", "text/plain", plain, "-5"), 3, "Content-Length is '-5'"),
        "no length": (first + b"WARC/1.0\r\nWARC-Type: conversion\r\n\r\ntext", 3, "Content-Length is ''"),
        "something else": (first + b"no record\r\n\r\n", 3, "does not begin as a record"),
        "an endless header": (first + b"WARC/1.0\r\n" + b"A: b\r\n" * 100_000, 3, "header takes more than 65,536"),
        "an endless line": (first + b"WARC/1.0\r\nA: " + b"x" * 1_000_000, 3, "header takes more than 65,536"),
    }
    for name, (data, documents, words) in cases.items():
        result = found(tmp_path, "a.warc", data, "warc")
        assert len(result.values) == documents, name
        (fault,) = result.faults
        assert fault.reason == "broken_file" and words in fault.message, (name, fault.message)
    result = found(tmp_path, "a.warc.gz", gzip.compress(wet(PAGES))[:-200], "warc")
    assert result.reasons == ["broken_archive"] and 0 < len(result.values) < 50
    large = wet([PAGES[0], ("http://large", "x" * 20_000), PAGES[1]])
    result = found(tmp_path, "a.warc", large, "warc", max_document_mb=0.01)
    assert (len(result.values), result.reasons) == (2, ["oversized"])


def test_an_archive_takes_no_memory_however_many_members_it_claims_to_have() -> None:
    """A million of them, one of a gigabyte of zeros among them: nothing of one is kept when the next is read."""

    def chunks() -> Iterator[bytes]:
        header = tarfile.TarInfo("a")
        header.size = 100
        small = header.tobuf() + bytes(512)
        for _ in range(50):
            yield small * 100
        header.size = 1 << 28
        yield header.tobuf()
        for _ in range(1 << 10):
            yield bytes(1 << 18)
        yield bytes(1024)

    tracemalloc.start()
    members = sum(isinstance(member, tar_members.Member) for member in tar_members.read(chunks()))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert members == 5001
    assert most < 8 << 20


def test_lines_of_a_stream_end_within_bounds() -> None:
    stream = pulled.Pulled(iter([b"ab", b"c\nd", b"e", ValueError("broken")]))
    assert [stream.readline(10), stream.readline(1), stream.peek(9), stream.readline(10), stream.readline(10)] == [
        b"abc\n",
        b"d",
        b"e",
        b"e",
        b"",
    ]
    assert stream.position == 6 and isinstance(stream.broken, ValueError)
    assert SourceConfig(files=("a",), format="warc").metadata_fields == ("date", "language")
