"""Each cell of the table of formats in docs/sources.md.

Tested are tokenreel/sources/reading.py, opening.py, archives.py and split_names.py together.
"""

from __future__ import annotations

import csv
import io
import json
import pathlib
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.reading import read
from tests.tokenreel.sources.readers.test_tfrecords import example
from tests.tokenreel.sources.test_archives import zipped
from tokenreel.errors import ConfigError, SourceError
from tokenreel.format import tfrecord

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "sources.md"
ROWS = [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ") and line.count("|") == 7]
COLUMNS = ROWS[0][1:]
CELLS = [
    (kind, column, cell == "yes")
    for row in ROWS[2:]
    for kind in row[0].replace("`", "").split(", ")
    for column, cell in zip(COLUMNS, row[1:], strict=True)
]
TEXTS = [f"It reads number {number}, é." for number in range(200)]
SETTINGS = {"csv": {"embedded_newlines": False}, "tsv": {"embedded_newlines": False}, "warc": {"metadata_fields": ()}}


def write(kind: str, texts: Sequence[str], *, nested: bool = False) -> bytes:
    """A file of a format that holds some texts."""
    out = io.BytesIO()
    records = [{"a": {"text": text}} if nested else {"text": text} for text in texts]
    if kind == "jsonl":
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    if kind == "json":
        return json.dumps(records, ensure_ascii=False).encode()
    if kind in ("lines", "paragraphs", "text"):
        return {"lines": "\n", "paragraphs": "\n\n", "text": ""}[kind].join(texts).encode()
    if kind in ("csv", "tsv"):
        rows = io.StringIO()
        writer = csv.writer(rows, delimiter="," if kind == "csv" else "\t")
        writer.writerows([["text"], *([text] for text in texts)])
        return rows.getvalue().encode()
    if kind == "parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(records), out, row_group_size=20)
    elif kind == "arrow":
        table = pa.Table.from_pylist(records)
        with pa.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table, max_chunksize=20)
    elif kind == "tfrecord":
        return b"".join(tfrecord.frame(example(text=text)) for text in texts)
    else:
        for number, text in enumerate(texts):
            data = text.encode()
            head = f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: u{number}\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n"
            head += f"WARC-Record-ID: <urn:uuid:{number:032x}>\r\nContent-Type: text/plain\r\nContent-Length: {len(data)}\r\n\r\n"
            out.write(head.encode() + data + b"\r\n\r\n")
    return out.getvalue()


def texts_of(kind: str, texts: Sequence[str]) -> list[str]:
    return ["".join(texts)] if kind == "text" else list(texts)


def test_the_table_names_every_format() -> None:
    named = {kind for kind, _, _ in CELLS}
    assert {*named, "tfds"} == {*SETTINGS, "jsonl", "json", "lines", "paragraphs", "text", "parquet", "arrow", "tfrecord", "tfds"}
    assert len(CELLS) == len(named) * 5


@pytest.mark.parametrize(("kind", "column", "holds"), CELLS, ids=["-".join((kind, column.strip("`"))) for kind, column, _ in CELLS])
def test_a_cell_of_the_table(tmp_path: pathlib.Path, kind: str, column: str, holds: bool) -> None:
    settings = dict(SETTINGS.get(kind, {}))
    content, expected = write(kind, TEXTS), texts_of(kind, TEXTS)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    if column == "blocks inside a file":
        found = read(path, kind, 1500, **settings)
        assert (found.values, found.blocks > 3) == (expected, holds)
    elif column == "nested fields":
        if not holds:
            return  # such formats have no values in values
        path.write_bytes(write(kind, TEXTS, nested=True))
        assert read(path, kind, text_field="a.text", **settings).values == expected
    elif column == "members of archives":
        path.write_bytes(zipped({"one": content, "two/three": content}))
        if holds:
            assert read(path, kind, **settings).values == expected * 2
        else:
            with pytest.raises(SourceError, match="zip archive"):
                read(path, kind, **settings)
    elif column == "`encoding`":
        if holds:
            path.write_bytes(content.decode().encode("utf-16"))
            assert read(path, kind, encoding="utf-16", **settings).values == expected
        else:
            with pytest.raises(ConfigError, match=r"sources\.encoding needs a format of text"):
                read(path, kind, encoding="utf-16", **settings)
    else:
        assert column == "`split`" and holds
        path.unlink()
        by_split = {"train": TEXTS[:5], "test": TEXTS[5:]}
        for split, texts in by_split.items():
            (tmp_path / f"{split}-00000.{kind}").write_bytes(write(kind, texts))
        for split, texts in by_split.items():
            assert read(tmp_path, kind, split=split, **settings).values == texts_of(kind, texts)
