from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nasty_texts import NASTY
from tests.reading import read
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import ConfigError
from tokenreel.sources.readers import dialects

VALUES = st.text(st.sampled_from('ab,\t"\\\n\r nN0'), max_size=7)
Rows = Sequence[Sequence[str]]


def of_python(**dialect: Any) -> Callable[[Rows, str], str]:
    def write(rows: Rows, separator: str) -> str:
        out = io.StringIO(newline="")
        csv.writer(out, delimiter=separator, lineterminator="\n", **dialect).writerows(rows)
        return out.getvalue()

    return write


def of_spark(rows: Rows, separator: str) -> str:
    """As Spark, DuckDB (`ESCAPE '\\'`) and PostgreSQL (`FORMAT csv`) write: a backslash counts inside of quotes alone."""

    def value(text: str) -> str:
        needs_quotes = any(mark in text for mark in (separator, '"', "\n", "\r"))
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' if needs_quotes else text

    return "".join(separator.join(map(value, row)) + "\n" for row in rows)


def of_postgres(rows: Rows, separator: str) -> str:
    """As PostgreSQL's text format and ClickHouse's TSV: letters for what ends lines and values."""
    named = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", separator: f"\\{separator}" if separator != "\t" else "\\t"}
    return "".join(separator.join("".join(named.get(mark, mark) for mark in text) for text in row) + "\n" for row in rows)


def of_mysql(rows: Rows, separator: str) -> str:
    """As MySQL's `INTO OUTFILE`: a backslash before what ends lines and values, and before itself."""
    marks = {"\\", "\n", separator}
    return "".join(separator.join("".join(f"\\{mark}" if mark in marks else mark for mark in text) for text in row) + "\n" for row in rows)


DIALECTS: dict[str, tuple[Callable[[Rows, str], str], dict[str, Any]]] = {
    "doubled": (of_python(quoting=csv.QUOTE_ALL), {}),
    "spark": (of_spark, {"escape": "\\"}),
    "python, escaped": (of_python(escapechar="\\", doublequote=False), {"escape": "\\", "escape_unquoted": True}),
    "python, escaped and quoted": (of_python(escapechar="\\", doublequote=False, quoting=csv.QUOTE_ALL), {"escape": "\\"}),
    "python, escaped and doubled": (of_python(escapechar="\\"), {"escape": "\\", "escape_unquoted": True}),
    "python, no quotes": (of_python(escapechar="\\", quoting=csv.QUOTE_NONE), {"escape": "\\", "quoting": "none"}),
    "python, another escape": (of_python(escapechar="^", doublequote=False, quoting=csv.QUOTE_ALL), {"escape": "^"}),
    "postgres": (of_postgres, {"escape": "\\", "quoting": "none"}),
    "mysql": (of_mysql, {"escape": "\\", "quoting": "none"}),
}


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_nasty_texts_come_back_from_every_dialect(name: str, kind: str, tmp_path: pathlib.Path) -> None:
    write, dialect = DIALECTS[name]
    path, separator = tmp_path / f"a.{kind}", {"csv": ",", "tsv": "\t"}[kind]
    path.write_text(write([("id", "text", "n"), *((f"a{i}", text, "") for i, text in enumerate(NASTY))], separator), newline="")
    for block_bytes in (30, 1 << 20):
        found = read(path, kind, block_bytes, id_field="id", **dialect)
        assert (found.reasons, found.values) == ([], list(NASTY))
        assert list(found.ids.values()) == [f"a{i}" for i in range(len(NASTY))]


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.lists(VALUES, min_size=2, max_size=3), max_size=6), name=st.sampled_from(list(DIALECTS)), tabs=st.booleans())
def test_any_values_come_back_from_every_dialect(rows: list[list[str]], name: str, tabs: bool) -> None:
    write, dialect = DIALECTS[name]
    source = SourceConfig(files=("a",), format="tsv" if tabs else "csv", **dialect)
    rows = [[*row, "."] for row in rows]  # a carriage return before the line feed would be part of the line end
    written = write(rows, source.separator)
    assert list(dialects.parse(io.StringIO(written, newline="\n"), source)) == rows
    assert list(dialects.parse_text(written, source)) == rows


def test_without_quotes_a_quote_is_a_character_and_large_files_are_split(tmp_path: pathlib.Path) -> None:
    texts = ['"', 'a "b', "", '"quoted"', "c\\"] * 20
    (tmp_path / "a.tsv").write_text("text\tn\n" + "".join(f"{text}\t{i}\n" for i, text in enumerate(texts)))
    found = read(tmp_path, "tsv", 50, quoting="none", metadata_fields=("n",))
    assert (found.values, found.reasons) == (texts, [])
    assert found.blocks > 5


def test_nulls_and_escaped_line_ends_of_values_without_quotes(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("text\tn\none\\\ntwo\t\\N\n\\N\t2\nthree\\\\N\\0\t\\\\N\n")
    found = read(path, "tsv", quoting="none", escape="\\", metadata_fields=("n",))
    assert found.values == ["one\ntwo", "three\\N\0"]
    assert list(found.metadata.values()) == [{"n": None}, {"n": "\\N"}]
    assert [(fault.line, fault.reason) for fault in found.faults] == [(4, "no_text")]
    found = read(path, "tsv", quoting="none", escape="\\", embedded_newlines=False)
    assert found.reasons == ["invalid_csv", "no_text"]
    assert "sources.embedded_newlines: true allows" in found.faults[0].message
    path.write_text("text\tn\none\ttwo\\")
    assert "the file ends with an escape" in read(path, "tsv", quoting="none", escape="\\").faults[0].message


def test_an_escape_that_was_not_told_loses_the_rest_and_names_the_settings(tmp_path: pathlib.Path) -> None:
    rows = [("text", "n"), *((f"text {i}", str(i)) for i in range(10)), ('say "hi", all', "10"), *((text, "x") for text in NASTY)]
    path = tmp_path / "a.csv"
    path.write_text(of_spark(rows, ","), newline="")
    found = read(path, "csv", 100)
    assert found.values == [f"text {i}" for i in range(10)]
    (fault,) = found.faults
    assert (fault.reason, fault.line) == ("invalid_csv", 12)
    assert "Set sources.escape to" in fault.message and "sources.quoting: none" in fault.message
    assert read(path, "csv", 100, escape="\\").values == [text for text, _ in rows[1:]]
    path.write_text(of_python(escapechar="\\", doublequote=False)(rows, ","), newline="")
    found = read(path, "csv", 100, escape="\\")
    assert found.values[:10] == [f"text {i}" for i in range(10)] and len(found.faults) == 1
    assert "sources.escape_unquoted: true reads it" in found.faults[0].message
    assert read(path, "csv", 100, escape="\\", escape_unquoted=True).values == [text for text, _ in rows[1:]]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"format": "jsonl", "quoting": "none"}, "sources.quoting needs format: csv or tsv"),
        ({"format": "lines", "escape": "\\"}, "sources.escape needs format: csv or tsv"),
        ({"format": "csv", "escape": '"'}, r"doubled quotes need no setting"),
        ({"format": "csv", "escape": ","}, "sources.escape is one character, and no quote, delimiter"),
        ({"format": "csv", "escape": "ab"}, "sources.escape is one character"),
        ({"format": "csv", "escape_unquoted": True}, "sources.escape_unquoted needs sources.escape"),
    ],
)
def test_settings_of_dialects_are_checked(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        SourceConfig(files=("a",), **settings)
