"""Fields that are kept beside the text: an error where no document has one, and the same whatever tells them."""

from __future__ import annotations

import gzip
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines import cli
from tests.pipelines.test_build import provenance
from tests.tokenreel.sources.test_archives import tar, zipped
from tokenreel.sources import first_look


def build(folder: pathlib.Path, *sources: dict[str, Any]) -> int:
    config = {
        "output": str(folder / "out"),
        "sources": [{"name": "docs", **source} for source in sources],
        "vocabulary": {"kind": "bytes"},
        "packing": {"seq_len": 64, "last_example": "pad"},
        "execution": {"block_mb": 0.01},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return cli.main(["build", str(folder / "config.yaml"), "--direct_num_workers=1"])


def lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def test_a_kept_field_that_no_record_has_is_an_error_where_the_first_look_ends_early(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a field that the last record alone has is kept."""
    monkeypatch.setattr(first_look, "_BYTES", 4096)
    rows = [{"text": f'document {i} says "late" and "never"', "language": "en"} for i in range(1000)]
    (tmp_path / "a.jsonl").write_bytes(lines([*rows, {"text": "the last", "late": [1]}]))
    assert build(tmp_path, {"files": [str(tmp_path / "a.jsonl")], "metadata_fields": ["language", "late", "never"]}) == 1
    message = capsys.readouterr().err
    assert "records of source 'docs' has `late`, `never`, which sources.0.metadata_fields names" in message
    expected = "no record of source 'docs' has the field `never`. Set sources.0.metadata_fields to fields that there are."
    assert expected in message and "1,001 documents" in message
    assert not (tmp_path / "out/manifest.json").exists()
    assert build(tmp_path, {"files": [str(tmp_path / "a.jsonl")], "metadata_fields": ["language", "late"]}) == 0
    table = provenance(tmp_path / "out")
    assert {value for value in table["meta.late"] if value is not None} == {"[1]"}


ROWS = [{"title": f"Título {i}", "body": [f"naïve {i}", "ünd"], "meta": {"url": f"u{i}"}} for i in range(40)]
LANGUAGES = {"en": "en", "pt%2Fbr": "pt/br", "__HIVE_DEFAULT_PARTITION__": None}


def _json_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-16")


def _parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows)), out, row_group_size=9)
    return bytes(out.getvalue())


def _csv(rows: Sequence[dict[str, Any]]) -> bytes:
    table = [f"{row['title']};{'+'.join(row['body'])};{row['meta']['url']}\r\n" for row in rows]
    return "".join(["title;body;meta.url\r\n", *table]).encode("cp1252")


def folders(folder: pathlib.Path, made: dict[str, bytes]) -> pathlib.Path:
    for name, data in made.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


CSV = {"format": "csv", "delimiter": ";", "encoding": "cp1252", "joiner": None}
SETTINGS = {"text": "{title}\n\n{body}", "joiner": "+", "metadata_fields": ["lang", "meta.url"]}


def split() -> dict[str, Sequence[dict[str, Any]]]:
    """The rows of each folder, which a field of the folder's name contradicts."""
    rows = [{**row, "lang": "wrong"} for row in ROWS]
    return {f"part/lang={name}": rows[number::3] for number, name in enumerate(LANGUAGES)}


def _packed(pack: Any) -> Any:
    return lambda: {"all": pack({f"{name}/a.jsonl": lines(rows) for name, rows in split().items()})}


WRAPPINGS: dict[str, tuple[Any, dict[str, Any]]] = {
    "jsonl": (lambda: {f"{name}/a.jsonl": lines(rows) for name, rows in split().items()}, {}),
    "utf-16": (lambda: {f"{name}/a.jsonl": _json_lines(rows) for name, rows in split().items()}, {"encoding": "utf-16"}),
    "json": (lambda: {f"{name}/a.json.gz": gzip.compress(json.dumps(rows).encode()) for name, rows in split().items()}, {"format": "json"}),
    "parquet": (lambda: {f"{name}/a.parquet": _parquet(rows) for name, rows in split().items()}, {"format": "parquet"}),
    "csv": (
        lambda: {f"{name}/a.csv": _csv(rows) for name, rows in split().items()},
        CSV,
    ),
    "archives": (lambda: {f"{name}/a.tar": tar({"b.jsonl": lines(rows)}) for name, rows in split().items()}, {}),
    "tar": (_packed(lambda members: gzip.compress(tar(members))), {}),
    "zip": (_packed(zipped), {}),
    "csv in a zip": (
        lambda: {"all": zipped({f"{name}/a.csv": _csv(rows) for name, rows in split().items()})},
        CSV,
    ),
}


def test_folders_templates_and_encodings_tell_the_same_in_one_dataset(tmp_path: pathlib.Path) -> None:
    sources = []
    for name, (make, settings) in WRAPPINGS.items():
        folder = folders(tmp_path / "in" / name, make())
        sources.append({"name": name, "files": [str(folder)], **SETTINGS, **settings})
    assert build(tmp_path, *sources) == 0
    expected = set()
    for folder_name, rows in split().items():
        language = LANGUAGES[folder_name.partition("=")[2]]
        for row in rows:
            expected.add((row["meta"]["url"], language, len(f"{row['title']}\n\n{'+'.join(row['body'])}".encode()) + 1))  # with its eos
    found: dict[str, set[Any]] = {name: set() for name in WRAPPINGS}
    table = provenance(tmp_path / "out")
    columns = (table[name] for name in ("source", "meta.meta.url", "meta.lang", "doc_tokens"))
    for source, *document in zip(*columns, strict=True):
        found[source].add(tuple(document))
    assert found == dict.fromkeys(WRAPPINGS, expected)
    assert all(name.startswith("all#part/lang=") for name, source in zip(table["doc_id"], table["source"], strict=True) if source == "zip")


def test_folders_tell_of_lines_and_of_some_files_alone(tmp_path: pathlib.Path) -> None:
    rows = {"lang=en/a.jsonl": ["a", "b"], "none/b.jsonl": ["c"], "z/lang=de/c.jsonl": ["d", "e"]}
    folder = folders(tmp_path / "in", {name: lines([{"text": text} for text in texts]) for name, texts in rows.items()})
    assert build(tmp_path, {"files": [str(folder)], "metadata_fields": ["lang"]}) == 0
    table = provenance(tmp_path / "out")
    found = {name.partition("#")[0]: lang for name, lang in zip(table["doc_id"], table["meta.lang"], strict=True)}
    assert found == {"lang=en/a.jsonl": "en", "none/b.jsonl": None, "z/lang=de/c.jsonl": "de"}


@pytest.mark.parametrize(
    "settings", [{"format": "lines"}, {"format": "paragraphs"}, {"format": "text"}, {"format": "csv", "columns": ["text"]}]
)
def test_folders_tell_of_text_without_fields(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]) -> None:
    ending = ".csv" if settings["format"] == "csv" else ".txt"
    texts = {f"{folder}a{ending}": b"one\ntwo\n" for folder in ("lang=en/", "lang=pt%2Fbr/", "")}
    source = {"files": [str(folders(tmp_path / "in", texts))], "metadata_fields": ["lang"], **settings}
    assert build(tmp_path, source) == (2 if ending == ".csv" else 0)
    if ending == ".csv":  # the file of no such folder has no column of that name either
        assert "a.csv has the field `lang`" in capsys.readouterr().err
        (tmp_path / "in/a.csv").unlink()
        assert build(tmp_path, source) == 0
    table = provenance(tmp_path / "out")
    found = {name.rpartition("/")[0]: lang for name, lang in zip(table["doc_id"], table["meta.lang"], strict=True)}
    assert found == {"lang=en": "en", "lang=pt%2Fbr": "pt/br", **({"": None} if ending == ".txt" else {})}
    assert build(tmp_path, {**source, "metadata_fields": ["language"]}) == 2
    assert ("has the field `language`" if ending == ".csv" else "names of folders, such as `lang`") in capsys.readouterr().err
