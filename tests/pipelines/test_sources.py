"""A format is only a wrapping: the same documents make the same dataset from every one of them."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import pathlib
import tarfile
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines import cli
from tests.conftest import tree_digest
from tests.nasty_texts import NASTY
from tests.pipelines.test_build import provenance, records
from tests.tokenreel.sources.readers.test_tfrecords import example
from tests.tokenreel.sources.test_archives import PAGES, record, tar, wet, zipped
from tokenreel.format import manifest, tfrecord


def _csv(rows: Sequence[dict[str, Any]], delimiter: str) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(["id", "text", "number"])
    writer.writerows([row["id"], row["text"], row["number"]] for row in rows)
    return out.getvalue().encode()


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out, row_group_size=60)
    return out.getvalue()


def _arrow(rows: Sequence[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    table = pa.Table.from_pylist(list(rows))
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=60)
    return out.getvalue()


def _records(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(tfrecord.frame(example(**row)) for row in rows)


def _halves(rows: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    half = len(rows) // 2
    lines = [b"".join(json.dumps(row).encode() + b"\n" for row in part) for part in (rows[:half], rows[half:])]
    return {"a/first.jsonl": lines[0], "second.jsonl.gz": gzip.compress(lines[1])}


FORMATS = {
    "a.jsonl": ("jsonl", lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows)),
    "a.json": ("json", lambda rows: json.dumps(rows).encode()),
    "array.jsonl": ("jsonl", lambda rows: json.dumps(rows, indent=1).encode()),
    "a.tar.gz": ("jsonl", lambda rows: gzip.compress(tar(_halves(rows)))),
    "a.zip": ("json", lambda rows: zipped(_halves(rows))),
    "a.csv": ("csv", lambda rows: _csv(rows, ",")),
    "a.tsv.gz": ("tsv", lambda rows: gzip.compress(_csv(rows, "\t"))),
    "a.csv.bz2": ("csv", lambda rows: bz2.compress(_csv(rows, ","))),
    "a.parquet": ("parquet", _parquet),
    "a.arrow": ("arrow", _arrow),
    "a.tfrecord": ("tfrecord", _records),
    "a.tfrecord.gz": ("tfrecord", lambda rows: gzip.compress(_records(rows))),
}


@pytest.fixture(scope="module")
def rows(texts: list[str]) -> list[dict[str, Any]]:
    return [{"id": f"document {i}", "text": text, "number": (i * 7919) % 1009} for i, text in enumerate(texts[:400])]


def build(folder: pathlib.Path, name: str, sources: list[dict[str, Any]], **settings: Any) -> pathlib.Path:
    config = {
        "output": str(folder / name),
        "sources": sources,
        "vocabulary": {"kind": "bytes"},
        "packing": {"seq_len": 256},
        "execution": {"block_mb": 0.03, "max_dead_letter_fraction": 1.0},
        **settings,
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    assert cli.main(["build", str(path), "--direct_num_workers=1"]) == 0
    return folder / name


FIELDS = {"id_field": "id", "order_field": "number", "metadata_fields": ["number"]}


@pytest.mark.parametrize("order", ["shuffle", "field", "source"])
def test_every_format_makes_the_same_dataset(tmp_path: pathlib.Path, rows: list[dict[str, Any]], order: str) -> None:
    expected: dict[str, str] = {}
    for name, (kind, write) in FORMATS.items():
        (tmp_path / name).write_bytes(write(rows))
        source = {"name": "docs", "files": [str(tmp_path / name)], "format": kind, **FIELDS}
        output = build(tmp_path, f"from-{name}", [source], order={"mode": order}, splits={"validation": 0.1})
        found = {file: digest for file, digest in tree_digest(output).items() if "tfrecord" in file or file.startswith("provenance")}
        if kind in ("csv", "tsv"):  # whose numbers are text: in provenance both are
            assert provenance(output)["meta.number"] == provenance(tmp_path / "from-a.jsonl")["meta.number"]
        expected = expected or found
        assert found == expected, name
        assert manifest.read(str(output)).totals["documents_dead_lettered"] == 0


def test_sources_of_every_format_in_one_dataset(tmp_path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    sources, share = [], len(rows) // len(FORMATS)
    for i, (name, (kind, write)) in enumerate(FORMATS.items()):
        (tmp_path / name).write_bytes(write(rows[i * share : (i + 1) * share]))
        sources.append({"name": name, "files": [str(tmp_path / name)], "format": kind})
    (tmp_path / "whole.jsonl").write_bytes(FORMATS["a.jsonl"][1](rows[: share * len(FORMATS)]))
    order = {"mode": "source"}
    mixed = build(tmp_path, "mixed", sources, order=order)
    whole = build(tmp_path, "whole", [{"files": [str(tmp_path / "whole.jsonl")]}], order=order)
    assert records(mixed)["tokens"].tolist() == records(whole)["tokens"].tolist()
    named = set(provenance(mixed)["doc_id"])
    assert {name.partition("#")[0] for name in named} == set(FORMATS)
    assert {name.rpartition("#")[0] for name in named if name.startswith("a.tar")} == {"a.tar.gz#a/first.jsonl", "a.tar.gz#second.jsonl.gz"}
    assert {f"a.parquet#{row}" for row in range(share)} <= named


def _spark(rows: Sequence[dict[str, Any]]) -> bytes:
    texts = [row["text"].replace("\\", "\\\\").replace('"', '\\"') for row in rows]
    lines = [f'{row["id"]},"{text}",{row["number"]}\n' for row, text in zip(rows, texts, strict=True)]
    return "".join(["id,text,number\n", *lines]).encode()


def _nested(rows: Sequence[dict[str, Any]]) -> bytes:
    halves = [{"id": row["id"], "number": row["number"], "a": [row["text"][:9]], "b": {"c": row["text"][9:]}} for row in rows]
    return "".join(json.dumps(half) + "\r" for half in halves).encode("utf-16-be")


def test_dialects_encodings_and_templates_make_the_same_dataset(tmp_path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    rows = [*rows[:60], *({"id": f"nasty {i}", "text": f"{text} ", "number": i} for i, text in enumerate(NASTY))]
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "a.jsonl": (FORMATS["a.jsonl"][1], {}),
        "a.csv": (_spark, {"format": "csv", "escape": "\\"}),
        "b.jsonl": (_nested, {"text": "{a}{b.c}", "joiner": "", "encoding": "utf-16-be"}),
    }
    expected: dict[str, str] = {}
    for name, (write, settings) in kinds.items():
        (tmp_path / name).write_bytes(write(rows))
        output = build(tmp_path, f"from-{name}", [{"name": "docs", "files": [str(tmp_path / name)], **settings, "id_field": "id"}])
        found = {file: digest for file, digest in tree_digest(output).items() if "tfrecord" in file}
        expected = expected or found
        assert found == expected, name
        assert manifest.read(str(output)).totals["documents_dead_lettered"] == 0


def test_a_crawl_becomes_documents_named_by_their_url(tmp_path: pathlib.Path) -> None:
    page = record("response", b"HTTP/1.1 200 OK\r\n\r\n<html>", "application/http; msgtype=response", {"WARC-Target-URI": "http://y"})
    (tmp_path / "a.warc.wet.gz").write_bytes(gzip.compress(wet(PAGES) + page))
    source = {"files": [str(tmp_path / "a.warc.wet.gz")], "format": "warc"}
    output = build(tmp_path, "crawl", [source], packing={"seq_len": 256, "last_example": "pad"})
    table = provenance(output)
    assert set(table["doc_id"]) == {url for url, _ in PAGES}
    assert set(table["meta.date"]) == {"2026-11-29T00:00:00Z"}
    assert set(table["meta.language"]) == {"eng,deu"}
    (letter,) = [json.loads(line) for line in (output / "dead_letters/dead_letters.jsonl").read_text().splitlines()]
    assert (letter["file"], letter["reason"], letter["line"]) == ("a.warc.wet.gz", "not_text", len(PAGES) + 2)
    assert cli.main(["verify", str(output)]) == 0


def test_hostile_archives_end_as_dead_letters(tmp_path: pathlib.Path) -> None:
    """Beside documents that are kept: links, archives in archives, blanks without end, one text a hundred times, and nothing at all."""
    (tmp_path / "in").mkdir()
    good = b'{"text": "some good text"}\n'
    links = tar({"link": b""}, type=tarfile.SYMTYPE, linkname="/etc/passwd")[:512] + tar({"good": good * 20, "inner": tar({"a": good})})
    (tmp_path / "in/links.tar").write_bytes(links)
    (tmp_path / "in/blank.gz").write_bytes(gzip.compress(good * 20 + b"\n" * (20 << 20), 1))
    (tmp_path / "in/empty.zip").write_bytes(b"")
    table = pa.table({"text": ["x" * 100_000] * 40})
    pq.write_table(table, tmp_path / "bomb.parquet", compression="zstd", store_schema=False)
    sources = [
        {"name": "archives", "files": [str(tmp_path / "in")]},
        {"name": "bomb", "files": [str(tmp_path / "bomb.parquet")], "format": "parquet", "max_document_mb": 0.1},
    ]
    execution = {"block_mb": 0.03, "max_dead_letter_fraction": 1.0, "allow_empty_files": True}
    output = build(tmp_path, "hostile", sources, packing={"seq_len": 8192, "last_example": "pad"}, execution=execution)
    letters = [json.loads(line) for line in (output / "dead_letters/dead_letters.jsonl").read_text().splitlines()]
    assert {(letter["file"], letter["reason"]) for letter in letters} == {
        ("links.tar#link", "refused_member"),
        ("links.tar#inner", "refused_member"),
        ("blank.gz", "oversized"),
        ("empty.zip", "broken_archive"),
        ("bomb.parquet", "oversized"),
    }
    totals = manifest.read(str(output)).totals
    assert totals["documents_dead_lettered"] == 5 and 40 < totals["documents_written"] <= 40 + 16


def test_dead_letters_of_every_format_name_their_place(tmp_path: pathlib.Path) -> None:
    rows = [{"text": f"text number {i} " * 9, "bad": b""} for i in range(300)]
    texts = [row["text"] for row in rows]
    column = pa.array([None if i == 250 else text for i, text in enumerate(texts)])
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet", row_group_size=50)
    pq.write_table(pa.table({"text": column}), tmp_path / "cut.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-9])
    lines = [f'"{text}\n",1\n' if i != 250 else f"{text},1,2\n" for i, text in enumerate(texts)]
    (tmp_path / "a.csv").write_text("text,n\n" + "".join(lines))
    frames = [tfrecord.frame(example(text=text) if i != 250 else b"\xff") for i, text in enumerate(texts)]
    (tmp_path / "a.tfrecord").write_bytes(b"".join(frames))
    sources = [{"name": kind, "files": [str(tmp_path / f"*.{kind}")], "format": kind} for kind in ("parquet", "csv", "tfrecord")]
    output = build(tmp_path, "dataset", sources, execution={"block_mb": 0.01, "max_dead_letter_fraction": 1.0, "allow_empty_files": True})
    letters = [json.loads(line) for line in (output / "dead_letters/dead_letters.jsonl").read_text().splitlines()]
    start = sum(map(len, frames[:250]))
    assert {(letter["file"], letter["line"], letter["reason"]) for letter in letters} == {
        ("a.parquet", 251, "no_text"),
        ("cut.parquet", 1, "broken_file"),
        ("a.csv", 502, "wrong_columns"),
        ("a.tfrecord", 251, "no_example"),
    }
    assert {letter["file"]: letter["position"] for letter in letters} | {"a.csv": 0} == {
        "a.parquet": 250,
        "cut.parquet": 0,
        "a.csv": 0,
        "a.tfrecord": start,
    }
    totals = manifest.read(str(output)).totals
    assert totals["documents_written"] + totals["documents_dropped"] == 3 * 299
