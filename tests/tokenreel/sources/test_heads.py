"""All files are looked at before a job starts: one that the format cannot be ends it, one that is not what its name says is told."""

from __future__ import annotations

import gzip
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import buckets
from tests.reading import read
from tests.tokenreel.config.jobs import job
from tokenreel.config.corpus import SourceConfig
from tokenreel.curation.inputs import survey
from tokenreel.errors import SourceError
from tokenreel.sources import heads
from tokenreel.sources.listing import list_files
from tokenreel.storage import files, gcs

LINES = b'{"text": "some words"}\n' * 40
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


def surveyed(path: pathlib.Path | str, **settings: object) -> list[str]:
    notes: list[str] = []
    survey(job({"files": [str(path)], **settings}), notes.append)
    return notes


def test_one_pointer_among_many_files_is_found(tmp_path: pathlib.Path) -> None:
    for i in range(60):
        (tmp_path / f"{i:02d}.jsonl").write_bytes(POINTER if i in (33, 34) else LINES)
    with pytest.raises(SourceError) as caught:
        surveyed(tmp_path)
    first, more = str(caught.value).split("\n")
    assert first.startswith(f"{tmp_path}/33.jsonl: is a pointer of Git LFS in place of the data (source 's0'). Fetch the data with")
    assert more == "  Refused for its first bytes too: 1 other file of the source."


def test_files_that_are_not_what_their_names_say_are_told_in_a_line(tmp_path: pathlib.Path) -> None:
    for name, data in {"a.jsonl": LINES, "b.jsonl": gzip.compress(LINES), "c.jsonl.gz": LINES, "d.GZIP": gzip.compress(LINES)}.items():
        (tmp_path / name).write_bytes(data)
    (said,) = surveyed(tmp_path)
    assert said == (
        f"source 's0': read as what the first bytes say, not the names: {tmp_path}/b.jsonl is a gzip archive, "
        f"{tmp_path}/c.jsonl.gz is not compressed."
    )


def test_a_table_under_another_name_is_read_and_told(tmp_path: pathlib.Path) -> None:
    for i in range(5):
        pq.write_table(pa.table({"text": ["a"]}), tmp_path / f"{i}.jsonl")
    (said,) = surveyed(f"{tmp_path}/*.jsonl", format="parquet")
    assert "0.jsonl is a Parquet file" in said and said.endswith(", and 2 more.")


def test_an_object_that_its_bucket_calls_gzip_is_gzip_whatever_its_name() -> None:
    """A bucket unpacks such objects for those who do not ask for their bytes; size, checksum and ranges are those of the bytes."""
    packed = gzip.compress(LINES * 1000)
    with buckets.storage() as bucket:
        blob = gcs.handle_of(f"{bucket}/a.jsonl")
        blob.content_encoding = "gzip"
        blob.upload_from_string(packed)
        (said,) = surveyed(f"{bucket}/a.jsonl")
        assert said.endswith(f"{bucket}/a.jsonl is a gzip archive.")
        (file,) = list_files(SourceConfig(files=(f"{bucket}/a.jsonl",)))
        assert file.size == len(packed) and files.read_bytes(file.path) == packed
        assert len(read(file.path, "jsonl", 100).texts) == 40_000


def test_the_first_objects_of_a_bucket_are_looked_at_and_the_others_by_who_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "OBJECTS", 5)
    with buckets.server() as server:
        for i in range(8):
            files.write_bytes(f"gs://bucket/{i}.jsonl", LINES if i < 6 else POINTER)
        server.log.clear()
        assert surveyed("gs://bucket/*.jsonl") == []
        files.write_bytes("gs://bucket/4.jsonl", POINTER)
        with pytest.raises(SourceError, match=r"4\.jsonl: is a pointer of Git LFS"):
            surveyed("gs://bucket/*.jsonl")
