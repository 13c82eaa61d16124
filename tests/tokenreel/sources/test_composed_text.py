from __future__ import annotations

import csv
import json
import pathlib
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.nasty_texts import NASTY
from tests.reading import read
from tests.tokenreel.sources.readers.test_tfrecords import example
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import ConfigError, SourceError
from tokenreel.format import tfrecord

ROWS: list[dict[str, Any]] = [
    {
        "meta": {"url": f"u{i}", "at": {"n": i}, "text": text},
        "meta.lang": "en",
        "title": f"title {i}",
        "year": 1900 + i,
        "body": text,
        "parts": [text, "and", text],
        "chat": [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}],
    }
    for i, text in enumerate(NASTY)
]


def write(folder: pathlib.Path, kind: str, rows: list[dict[str, Any]]) -> pathlib.Path:
    path = folder / f"a.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "arrow":
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table)
    elif kind == "tfrecord":
        names = ("title", "body", "parts", "year")
        records = [{name: [part.encode() for part in row[name]] if name == "parts" else row[name] for name in names} for row in rows]
        path.write_bytes(b"".join(tfrecord.frame(example(**record)) for record in records))
    else:
        names = ["title", "year", "body"]
        with path.open("w", newline="") as file:
            csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(
                [names, *([row[name] for name in names] for row in rows)]
            )
    return path


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_nested_fields_are_read_and_a_key_of_the_very_name_comes_first(kind: str, tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, kind, ROWS)
    settings: dict[str, Any] = {"text_field": "meta.text", "id_field": "meta.url", "order_field": "meta.at.n"}
    found = read(path, kind, metadata_fields=("meta.at", "meta.at.n", "meta.lang", "title"), **settings)
    assert (found.values, found.reasons) == (list(NASTY), [])
    assert list(found.ids.values()) == [f"u{i}" for i in range(len(NASTY))]
    assert list(found.sort_value.values()) == sorted(found.sort_value.values())
    assert list(found.metadata.values())[3] == {"meta.at": {"n": 3}, "meta.at.n": 3, "meta.lang": "en", "title": "title 3"}
    both = [{"a.b": "named so", "a": {"b": "nested"}}, {"a.b": "named so", "a": {"b": "nested"}}]
    assert read(write(tmp_path, kind, both), kind, text_field="a.b").values == ["named so"] * 2


def test_of_a_nested_key_that_is_missing_the_message_lists_the_fields(tmp_path: pathlib.Path) -> None:
    rows = [{"meta": {"text": "a"}}, {"meta": {}}, {"meta": "b"}, {"meta": {"text": 3}}, {"meta.text": None, "meta": {"text": "a"}}]
    found = read(write(tmp_path, "jsonl", rows), "jsonl", text_field="meta.text")
    assert found.values == ["a"]
    assert found.reasons == ["no_text", "no_text", "text_not_a_string", "text_not_a_string"]
    assert found.faults[0].message == "no field 'meta.text'; the fields are 'meta'"
    found = read(write(tmp_path, "jsonl", [{"text": "a", "x": {"id": "1"}}, {"text": "b", "x": 1}]), "jsonl", id_field="x.id")
    assert (list(found.ids.values()), found.reasons) == (["1"], ["no_id"])


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow", "tfrecord", "csv", "tsv"])
def test_text_from_a_template(kind: str, tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, kind, ROWS)
    settings: dict[str, Any] = {"delimiter": ","} if kind == "tsv" else {}
    found = read(path, kind, text="{{{title}}} of {year}:\n\n{body}", **settings)
    assert found.values == [f"{{title {i}}} of {1900 + i}:\n\n{text}" for i, text in enumerate(NASTY)]
    assert found.reasons == []


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow", "tfrecord"])
def test_text_from_a_list_of_strings(kind: str, tmp_path: pathlib.Path) -> None:
    path = write(tmp_path, kind, ROWS)
    found = read(path, kind, text_field="parts", joiner="\n\n")
    assert (found.values, found.reasons) == ([f"{text}\n\nand\n\n{text}" for text in NASTY], [])
    assert read(path, kind, text="{title}: {parts}", joiner="").values[0] == "title 0: plainandplain"
    if kind in ("parquet", "arrow"):
        with pytest.raises(SourceError, match="or joiner or messages_field where it holds a list of strings or a chat"):
            read(path, kind, text_field="parts")
    if kind == "jsonl":
        assert "(sources.joiner joins the strings of a list)" in read(path, kind, text_field="parts").faults[0].message
        assert "(sources.messages_field renders a chat)" in read(path, kind, text_field="chat").faults[0].message


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_text_from_a_chat(kind: str, tmp_path: pathlib.Path) -> None:
    found = read(write(tmp_path, kind, ROWS), kind, messages_field="chat", metadata_fields=("title",))
    assert (found.values, found.reasons) == ([f"user: {text}\n\nassistant: yes" for text in NASTY], [])
    sharegpt = [{"c": {"turns": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "ho"}]}}]
    assert read(write(tmp_path, kind, sharegpt), kind, messages_field="c.turns").values == ["human: hi\n\ngpt: ho"]


def test_chats_that_are_none_are_dead_letters(tmp_path: pathlib.Path) -> None:
    chats: list[Any] = [
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        [],
        "user: hi",
        [{"role": "user"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
        [{"role": "assistant", "content": None, "tool_calls": []}],
        None,
    ]
    found = read(write(tmp_path, "jsonl", [{"chat": chat} for chat in chats] + [{}]), "jsonl", messages_field="chat")
    assert found.values == ["user: ab", ""]
    assert found.reasons == ["bad_messages"] * 4 + ["no_text"] * 2
    assert found.faults[1].message.startswith("message 0 of the field 'chat' is no object with role and content")


def test_what_a_template_lacks_is_named(tmp_path: pathlib.Path) -> None:
    rows: list[dict[str, Any]] = [{"a": "x", "b": {"c": "y"}}, {"a": "x"}, {"a": None, "b": {"c": "y"}}, {"a": ["x"], "b": {"c": "y"}}]
    for kind, reasons in (("jsonl", ["no_text", "no_text", "text_not_a_string"]), ("parquet", ["no_text", "no_text"])):
        found = read(write(tmp_path, kind, rows[: len(reasons) + 1]), kind, text="{a} and {b.c}")
        assert (found.values, found.reasons) == (["x and y"], reasons)
    (tmp_path / "a.csv").write_text("a,b\nx,y\nx\n")
    found = read(tmp_path / "a.csv", "csv", text="{a} and {b}")
    assert (found.values, found.reasons) == (["x and y"], ["no_text"])
    assert "no value for 'b'" in found.faults[0].message
    with pytest.raises(SourceError, match="has no column 'c'"):
        read(tmp_path / "a.csv", "csv", text="{a} and {c}")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"text": "{a}", "text_field": "b"}, "give one of text_field, text and messages_field"),
        ({"text": "{a}", "messages_field": "b"}, "give one of text_field, text and messages_field"),
        ({"text": "no field {{}}"}, "sources.text names no field"),
        ({"text": "{a"}, "is no template .* braces of the text itself are doubled"),
        ({"text": "{}"}, "is no template"),
        ({"text": "{a:>3}"}, "is no template"),
        ({"text": "{a}", "format": "lines"}, "sources.text needs format: jsonl or another with fields"),
        ({"joiner": " ", "format": "csv"}, "sources.joiner needs values that are lists"),
        ({"messages_field": "a", "format": "tsv"}, "sources.messages_field needs values that are lists"),
        ({"messages_field": "a", "joiner": " "}, "sources.joiner joins strings, not the messages"),
        ({"text": "{a}", "format": "csv", "columns": ("b",)}, r"sources.columns \['b'\] lacks 'a'"),
    ],
)
def test_settings_of_text_are_checked(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        SourceConfig(files=("a",), **settings)
