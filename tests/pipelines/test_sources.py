"""A format is only a wrapping: the same documents make the same dataset from every one of them."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import pathlib
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


FORMATS = {
    "a.jsonl": ("jsonl", lambda rows: b"".join(json.dumps(row).encode() + b"\n" for row in rows)),
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
    assert {name.rpartition("#")[0] for name in named} == set(FORMATS)
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
    output = build(tmp_path, "dataset", sources, execution={"block_mb": 0.01, "max_dead_letter_fraction": 1.0})
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
