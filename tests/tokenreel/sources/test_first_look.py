"""Mistakes in the settings of a source are found in its first records: one message that says what there is and what to set."""

from __future__ import annotations

import gzip
import json
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import buckets
from tests.tokenreel.config.jobs import job
from tests.tokenreel.sources.readers.test_tfrecords import example
from tokenreel.config.build import JobConfig
from tokenreel.errors import SourceError
from tokenreel.format import tfrecord
from tokenreel.sources import first_look
from tokenreel.sources.listing import list_files
from tokenreel.storage import files, gcs

ROWS = [{"id": i, "content": f"document {i} of some words", "url": f"http://a/{i}"} for i in range(150)]
GOOD = [{"text": row["content"]} for row in ROWS]
FIELDS = "has the field `text`; they have `id`, `content`, `url`. Set sources.0.text_field: content."


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def table(rows: Any, kind: str) -> bytes:
    found, out = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows), pa.BufferOutputStream()
    if kind == "parquet":
        pq.write_table(found, out)
    else:
        with pa.ipc.new_stream(out, found.schema) as writer:
            writer.write_table(found)
    return out.getvalue().to_pybytes()


def csv(rows: list[dict[str, Any]], separator: str = ",") -> bytes:
    return "".join(separator.join(map(str, row)) + "\n" for row in (ROWS[0], *(row.values() for row in rows))).encode()


def look(*configs: dict[str, Any], **settings: Any) -> list[str]:
    """Looks; gives what was noted."""
    config: JobConfig = job(*configs, **settings)
    notes: list[str] = []
    first_look.check(config, [list_files(source) for source in config.sources], notes.append)
    return notes


def refusal(path: pathlib.Path | str, kind: str, **settings: Any) -> str:
    with pytest.raises(SourceError) as caught:
        look({"files": [str(path)], "format": kind, **settings})
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "data"),
    [
        ("a.jsonl", "jsonl", lines(ROWS)),
        ("a.jsonl.gz", "jsonl", gzip.compress(lines(ROWS))),
        ("a.csv", "csv", csv(ROWS)),
        ("a.tsv", "tsv", csv(ROWS, "\t")),
        ("a.parquet", "parquet", table(ROWS, "parquet")),
        ("a.arrow", "arrow", table(ROWS, "arrow")),
        ("a.tfrecord", "tfrecord", b"".join(tfrecord.frame(example(**row)) for row in ROWS)),
    ],
)
@pytest.mark.parametrize("remote", [False, True], ids=["local", "gs"])
def test_a_missing_text_field_names_those_there_are(tmp_path: pathlib.Path, name: str, kind: str, data: bytes, remote: bool) -> None:
    if not remote:
        (tmp_path / name).write_bytes(data)
        assert f"No record of {tmp_path / name} {FIELDS}" in refusal(tmp_path / name, kind)
        return
    with buckets.storage() as bucket:
        files.write_bytes(f"{bucket}/{name}", data)
        assert f"No record of {bucket}/{name} {FIELDS}" in refusal(f"{bucket}/{name}", kind)


def test_a_file_below_the_working_directory_is_named_as_one_types_it(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.jsonl").write_bytes(lines(ROWS))
    monkeypatch.chdir(tmp_path)
    assert refusal("texts/a.jsonl", "jsonl") == f"No record of texts/a.jsonl {FIELDS}"


CASES = {
    "an array of texts": ("jsonl", json.dumps(["a", "b"]), {}, "1 not_an_object. The first is a line 1"),
    "objects over lines": (
        "jsonl",
        "\n".join(json.dumps(row, indent=1) for row in GOOD),
        {},
        "several lines, and jsonl is one object on each line: set its format to json",
    ),
    "no array of that name": (
        "json",
        json.dumps({"rows": GOOD}),
        {"records": "data"},
        "its fields are 'rows'. Set sources.0.records to the",
    ),
    "an array below a field": ("json", json.dumps({"rows": GOOD}), {}, "No record of"),
    "plain text": ("jsonl", "one line\n" * 200, {}, "200 invalid_json. The first is a line 1: Expecting value"),
    "a zip archive": ("jsonl", b"PK\3\4" + bytes(26), {}, "1 broken_archive. The first is a line 1: the archive is cut short or broken"),
    "a 7-Zip archive": ("jsonl", b"7z\xbc\xaf\x27\x1c" + bytes(26), {}, "is a 7-Zip archive, but source 's0' has format: jsonl. Unpack"),
    "a pointer": ("lines", b"version https://git-lfs.github.com/spec/v1\noid", {}, "Fetch the data with `git lfs pull`"),
    "UTF-16": (
        "lines",
        ("text\n" * 20).encode("utf-16"),
        {},
        "is UTF-16, but source 's0' has encoding: utf-8. Set sources.encoding",
    ),
    "Latin 1": ("lines", ("caf\xe9\n" * 20).encode("latin-1"), {}, "it looks like cp1252: set sources.encoding: cp1252. Set sources.0"),
    "a list for text": (
        "jsonl",
        lines([{"text": ["a"], "body": "b"}] * 3),
        {},
        "has text in the field `text`; they have `text`, `body`. Set",
    ),
    "ids of another type": ("jsonl", lines([{"text": "a", "id": [1]}] * 3), {"id_field": "id"}, "Set sources.0.id_field to another field"),
    "nothing to sort by": ("jsonl", lines(GOOD), {"order_field": "no"}, "Set sources.0.order_field to a field that holds numbers"),
    "another separator": ("csv", "id;text\n1;a\n", {}, "they have `id;text`. Set sources.0.delimiter: ';'."),
    "an array of JSON": ("csv", '[\n {"text": "a"}\n]\n', {}, "they have `[`. That is JSON: set sources.0.format: json."),
    "prose": ("tsv", "It reads this, quite late.\n" * 3, {}, "If its first row is no row of names, give them in sources.0.columns."),
    "lines of JSON": ("tsv", '{"text": "a", "id": 1}\n' * 3, {}, "That is JSON: set sources.0.format: json."),
    "no row of names": ("csv", "1,a text\n2,b\n", {}, "Set sources.0.text_field: 1. If its first row is no row of names"),
    "a column of numbers": (
        "parquet",
        table(pa.table({"text": [1, 2], "body": ["a", "b"]}), "parquet"),
        {},
        "has text in the field `text`; they have `text`, `body`. Set sources.0.text_field: body.",
    ),
    "no column of ids": ("parquet", table(GOOD, "parquet"), {"id_field": "no"}, "they have `text`. Set sources.0.id_field to one of them."),
    "two columns of one name": (
        "parquet",
        table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"]), "parquet"),
        {},
        "has 2 columns 'text'",
    ),
    "half a table": ("parquet", table(GOOD, "parquet")[:-9], {}, "1 broken_file. The first is a line 1: a: no complete Parquet file"),
    "no records": ("tfrecord", "some text " * 99, {}, "is text, but source 's0' has format: tfrecord. Set the source's format to that"),
    "no bytes": ("jsonl", "", {}, "source 's0' holds no record:"),
    "blank lines": ("jsonl", "\n\n", {}, "a is blank, or a header alone. Check sources.0.files."),
    "a header alone": ("csv", "id,text\n", {}, "source 's0' holds no record:"),
    "a table without rows": ("parquet", table(pa.table({"text": pa.array([], pa.string())}), "parquet"), {}, "holds no record"),
}


@pytest.mark.parametrize(("kind", "data", "settings", "message"), CASES.values(), ids=CASES.keys())
def test_what_cannot_be_used_is_said(tmp_path: pathlib.Path, kind: str, data: str | bytes, settings: dict[str, Any], message: str) -> None:
    (tmp_path / "a").write_bytes(data if isinstance(data, bytes) else data.encode())
    said = refusal(tmp_path / "a", kind, **settings)
    assert message in said and "\n" not in said and len(said) < 700


def test_text_that_can_be_used_is_passed_without_a_word(tmp_path: pathlib.Path) -> None:
    """One good document is enough: how much may be lost is for the settings to say, and counted by the build."""
    (tmp_path / "a.jsonl").write_bytes(b"[1]\n" + lines(ROWS[:3]) + lines(GOOD[:1]))
    assert look({"files": [str(tmp_path / "a.jsonl")]}) == []


def test_arrays_are_read_as_such_whatever_their_name(tmp_path: pathlib.Path) -> None:
    for number, data in enumerate([json.dumps(GOOD), json.dumps(GOOD * 2000), json.dumps(GOOD, indent=1)]):
        (tmp_path / f"{number}.jsonl").write_text(data)
        assert look({"files": [str(tmp_path / f"{number}.jsonl")]}) == []


def test_a_few_files_are_looked_at_before_a_source_is_refused(tmp_path: pathlib.Path) -> None:
    for i in range(40):
        (tmp_path / f"{i:02d}.jsonl").write_bytes(lines(GOOD if i >= 20 else ROWS))
    assert look({"files": [str(tmp_path)]}) == []
    for path in tmp_path.iterdir():
        path.write_bytes(lines(ROWS))
    assert f"No record of {tmp_path}/00.jsonl, {tmp_path}/06.jsonl and 6 more has" in refusal(tmp_path, "jsonl")


def test_every_source_that_is_wrong_is_told_at_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS))
    (tmp_path / "b.jsonl").write_bytes(lines(GOOD))
    wrong = {"files": [str(tmp_path / "a.jsonl")]}
    with pytest.raises(SourceError) as caught:
        look(wrong, {"files": [str(tmp_path / "b.jsonl")]}, wrong)
    first, second = str(caught.value).split("\n")
    assert "sources.0.text_field: content" in first and "sources.2.text_field: content" in second


def test_a_source_without_records_stops_a_job_unless_it_is_allowed_and_there_is_another(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD))
    (tmp_path / "b.jsonl").write_bytes(b"")
    sources = [{"files": [str(tmp_path / name)]} for name in ("a.jsonl", "b.jsonl")]
    with pytest.raises(SourceError, match="source 's1' holds no record"):
        look(*sources)
    (said,) = look(*sources, execution={"allow_empty_files": True})
    assert "source 's1' holds no record" in said
    with pytest.raises(SourceError, match="source 's0' holds no record"):
        look(sources[1], execution={"allow_empty_files": True})


def test_whoever_allows_that_all_is_lost_is_only_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS))
    (said,) = look({"files": [str(tmp_path / "a.jsonl")]}, execution={"max_dead_letter_fraction": 1.0})
    assert FIELDS in said


@pytest.mark.parametrize("kind", ["jsonl", "lines", "paragraphs", "text", "csv", "tfrecord"])
def test_a_look_at_a_terabyte_reads_a_few_megabytes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A file of one endless line: what does not end within the look is left for the build."""
    with open(tmp_path / "a", "wb") as file:
        file.write(b'text\n"' if kind == "csv" else b"[")
        file.truncate(1 << 40)
    size, opened = 0, files.open_read

    class Counted:
        def __init__(self, path: str, version: int | None = None, size: int | None = None) -> None:
            self._file = opened(path, version, size)

        def __enter__(self) -> Counted:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def read(self, count: int) -> bytes:
            nonlocal size
            size += count
            return self._file.read(count)

    monkeypatch.setattr(files, "open_read", Counted)
    if kind == "tfrecord":
        assert "broken_file" in refusal(tmp_path / "a", kind)
    else:
        assert look({"files": [str(tmp_path / "a")], "format": kind}) == []
    assert size < 5 << 20


def test_a_look_into_a_bucket_costs_a_request_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, read = [], gcs.read

    def counted(*arguments: Any) -> bytes:
        sizes.append(len(data := read(*arguments)))
        return data

    with buckets.storage() as bucket:
        files.write_bytes(f"{bucket}/a.jsonl", lines(GOOD) * 2000)
        monkeypatch.setattr(gcs, "read", counted)
        assert look({"files": [f"{bucket}/a.jsonl"]}) == []
    assert len(sizes) <= 2 and sum(sizes) < 1 << 20


def test_a_kept_field_that_no_record_has_is_an_error(tmp_path: pathlib.Path) -> None:
    notes: list[str] = []
    for number in range(3):
        rows = [{"text": f"text {i}", "meta": {"url": "u"}, "lang": None} for i in range(300)]
        if number == 2:
            rows[-1]["late"] = 1
        (tmp_path / f"{number}.jsonl").write_bytes(lines(rows))
    config = job({"files": [str(tmp_path)], "metadata_fields": ["meta.url", "lang", "late"]})
    first_look.check(config, [list_files(source) for source in config.sources], notes.append)
    config = job({"files": [str(tmp_path)], "metadata_fields": ["meta.url", "meta.lang", "url"]})
    with pytest.raises(SourceError) as raised:
        first_look.check(config, [list_files(source) for source in config.sources], notes.append)
    expected = "has the fields `meta.lang`, `url`. Set sources.0.metadata_fields to fields that there are."
    assert str(raised.value).endswith(expected)
    assert notes == []
    (tmp_path / "1.jsonl").write_bytes(lines([{"text": "x" * 1000}] * 6000))
    first_look.check(config, [list_files(source) for source in config.sources], notes.append)
    assert len(notes) == 1 and "has `meta.lang`, `url`, which sources.0.metadata_fields names" in notes[0]
