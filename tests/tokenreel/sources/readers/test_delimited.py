from __future__ import annotations

import csv
import gzip
import io
import pathlib
import tempfile
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import read
from tokenreel.errors import SourceError

VALUES = st.text(st.sampled_from('ab,;\t"\n\r é日\ufeff'), max_size=8)


def written(rows: list[list[str]], ending: str = "\n", delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if any("\r" in value for row in rows for value in row) else csv.QUOTE_MINIMAL
    csv.writer(out, lineterminator=ending, delimiter=delimiter, quoting=quoting).writerows(rows)
    return out.getvalue().encode()


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(VALUES, max_size=12),
    ending=st.sampled_from(["\n", "\r\n"]),
    kind=st.sampled_from(["csv", "tsv"]),
    bom=st.booleans(),
    quoted_header=st.booleans(),
    final=st.booleans(),
    part_bytes=st.integers(1, 60),
)
def test_any_values_come_back(
    texts: list[str], ending: str, kind: str, bom: bool, quoted_header: bool, final: bool, part_bytes: int
) -> None:
    delimiter = "," if kind == "csv" else "\t"
    header = [['"id"', '"text"'], ["id", "text"]][not quoted_header]
    data = (b"\xef\xbb\xbf" if bom else b"") + (delimiter.join(header) + ending).encode()
    places = []
    for number, text in enumerate(texts):
        places.append(len(data))
        data += written([[str(number), text]], ending, delimiter)
    if not final:
        data = data.removesuffix(ending.encode())
    with tempfile.TemporaryDirectory() as folder:
        for name, content in ((f"a.{kind}", data), (f"a.{kind}.gz", gzip.compress(data))):
            path = pathlib.Path(folder) / name
            path.write_bytes(content)
            found = read(path, kind, part_bytes, id_field="id", order_field="id")
            assert {at: text for (_, at), text in found.texts.items()} == dict(zip(places, texts, strict=True))
            assert list(found.ids.values()) == [str(number) for number in range(len(texts))]
            assert list(found.sort_value.values()) == sorted(found.sort_value.values())
            assert found.faults == []


@settings(max_examples=200, deadline=None)
@given(texts=st.lists(st.text("ab,\"' é", max_size=6), max_size=15), block_bytes=st.integers(1, 30), header=st.booleans())
def test_without_line_ends_in_values_files_are_split(texts: list[str], block_bytes: int, header: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.csv"
        rows = [[str(i), text] for i, text in enumerate(texts)]
        rows.insert(len(rows) // 2, ["a row", "of too", "many"])
        path.write_bytes(written([["n", "text"]] * header + rows))
        settings = {"columns": () if header else ("n", "text"), "metadata_fields": ("n",)}
        whole = read(path, "csv", **settings)
        split = read(path, "csv", block_bytes, embedded_newlines=False, **settings)
        assert split.texts == whole.texts
        assert split.values == texts
        assert split.metadata == whole.metadata
        assert split.faults == whole.faults
        assert [(fault.reason, fault.line) for fault in whole.faults] == [("wrong_columns", header + len(texts) // 2 + 1)]
        if path.stat().st_size > 2 * block_bytes:
            assert split.blocks > 1


BAD = b"""id,text
1,good
2,too,many
3
4,"spans
lines"
6,\xff not UTF-8
7,a\x00b

8,"a ""quote"" here"
9,5" disk,,
10,"broken" quoting
11,lost
"""


def test_each_bad_row_has_its_line_position_and_reason(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_bytes(BAD)
    found = read(tmp_path, "csv")
    assert found.values == ["good", "spans\nlines", 'a "quote" here', '5" disk']
    lines = BAD.split(b"\n")
    starts = [sum(len(line) + 1 for line in lines[:i]) for i in range(len(lines))]
    expected = [(3, "wrong_columns"), (4, "no_text"), (7, "invalid_utf8"), (8, "nul_byte"), (12, "invalid_csv")]
    assert [(fault.line, fault.reason) for fault in found.faults] == expected
    assert [fault.position for fault in found.faults] == [starts[line - 1] for line, _ in expected]
    assert found.faults[-1].excerpt == '10,"broken" quoting\n'
    rest = len(BAD) - starts[11]
    assert f"{rest:,} bytes from here to the end of the file cannot be told from a value" in found.faults[-1].message
    assert "sources.escape" in found.faults[-1].message and "sources.quoting: none" in found.faults[-1].message
    (tmp_path / "a.csv").write_bytes(BAD.replace(b'"broken" quoting', b'"never closed'))
    assert "the file ends 2 lines later" in read(tmp_path, "csv").faults[-1].message
    (tmp_path / "a.csv").write_bytes(BAD.replace(b"lines", b'li"es'))
    found = read(tmp_path, "csv")
    assert (found.values, found.reasons) == (["good"], ["wrong_columns", "no_text", "invalid_csv"])


def test_only_where_every_line_is_a_row_reading_goes_on_behind_a_broken_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_bytes(BAD)
    found = read(tmp_path, "csv", embedded_newlines=False)
    assert found.values == ["good", 'a "quote" here', '5" disk', "lost"]
    reasons = ["wrong_columns", "no_text", "invalid_csv", "no_text", "invalid_utf8", "nul_byte", "invalid_csv"]
    assert found.reasons == reasons


@pytest.mark.parametrize("packed", [False, True])
def test_any_truncation_keeps_what_came_before(tmp_path: pathlib.Path, packed: bool) -> None:
    texts = ["plain", "with, comma", 'a "quote"', "two\nlines\n", "日本語", "x" * 50] * 3
    data = written([["number", "text", "end"], *([str(i), text, "."] for i, text in enumerate(texts))])
    archive = gzip.compress(data) if packed else data
    path = tmp_path / f"a.csv{'.gz' * packed}"
    path.write_bytes(archive)
    whole = read(path, "csv")
    assert whole.values == texts
    for cut in range(len(archive)):
        path.write_bytes(archive[:cut])
        found = read(path, "csv", block_bytes=40)
        assert found.texts.items() <= whole.texts.items()
        assert len(found.faults) <= 1
        if packed:
            assert found.reasons == ["broken_archive"]
        if len(found.texts) < len(texts) and not found.faults and not packed:
            behind_text = data[:cut].endswith((b"\n", b",", b"."))
            assert behind_text or cut <= data.index(b"\n"), "only a cut behind the last text goes unseen"


def test_headers_are_checked(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"id;body\n1;a\n")
    with pytest.raises(SourceError, match=r"a\.csv: has no column 'text' .* between ',', are 'id;body'"):
        read(path, "csv")
    assert read(path, "csv", delimiter=";", text_field="body").values == ["a"]
    path.write_bytes(b"text,text\n1,a\n")
    with pytest.raises(SourceError, match="has 2 columns 'text'"):
        read(path, "csv")
    assert read(path, "csv", columns=("id", "text")).values == ["text", "a"]
    path.write_bytes(b"")
    assert read(path, "csv") == read(path, "csv", embedded_newlines=False)
    path.write_bytes(b"id,te")
    assert read(path, "csv").reasons == ["broken_file"]


def test_values_of_a_megabyte_and_a_stray_quote(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    big = "line\n" * 300_000
    path.write_bytes(written([["text", "x"], [big, "1"], ["after", "2"]]))
    assert read(path, "csv", block_bytes=10_000).values == [big, "after"]
    monkeypatch.setattr("tokenreel.sources.readers.delimited._MOST_QUOTED", 1000)
    path.write_bytes(b'text,x\n"stray,1\n' + b"good,1\n" * 500)
    found = read(path, "csv", max_document_mb=0.0001)
    assert (found.values, [(fault.line, fault.reason) for fault in found.faults]) == ([], [(2, "invalid_csv")])
    assert f"{9 + 500 * 7:,} bytes" in found.faults[0].message
    found = read(path, "csv", max_document_mb=0.0001, embedded_newlines=False)
    assert found.values == ["good"] * 500
    assert [(fault.line, fault.reason) for fault in found.faults] == [(2, "invalid_csv")]


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("ended", [True, False])
def test_an_endless_line_takes_no_endless_memory(
    embedded: bool, ended: bool, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenreel.sources.readers.delimited._LONGEST_LINE", 1 << 20)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text\ngood\n" + bytes(50 << 20) + (b"\nafter\n" * 3) * ended, 1))
    tracemalloc.start()
    found = read(path, "csv", 1 << 20, embedded_newlines=embedded, max_document_mb=0.5)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()
    after = 10 + (50 << 20) + 1
    assert [at for _, at in found.texts] == ([5, after, after + 7, after + 14] if ended else [5])
    (fault,) = found.faults
    assert (fault.reason, fault.position, fault.line) == ("oversized", 10, 3)
    assert f"a line of {(50 << 20) + ended:,} bytes" in fault.message


@pytest.mark.parametrize(
    ("line", "values", "faults"),
    [
        (b"x", ["one\n1", 'three\n"3"', "four"], [(4, "oversized")]),
        (b'x""', ["one\n1", 'three\n"3"', "four"], [(4, "oversized")]),
        (b'x"', ["one\n1"], [(4, "invalid_csv")]),  # it may end in quotes
        (b'"open,2\nx', ["one\n1"], [(4, "invalid_csv")]),
    ],
)
def test_behind_an_endless_line_reading_goes_on_where_its_quotes_are_closed(
    line: bytes, values: list[str], faults: list[tuple[int, str]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokenreel.sources.readers.delimited._LONGEST_LINE", 1 << 12)
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,n\n"one\n1",1\n' + line + b"x" * 600_000 + b'\n"three\n""3""",3\nfour,4\n')
    found = read(path, "csv", max_document_mb=0.001)
    assert found.values == values
    assert [(fault.line, fault.reason) for fault in found.faults] == faults


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=12), data=st.data())
def test_a_row_that_lost_a_quote_yields_no_document_of_its_remaining_lines(rows: list[tuple[str, str]], data: st.DataObject) -> None:
    """What is read before it is as it was written; behind it, only what cannot be told from rows that somebody wrote."""
    whole = quoted([("text", "n"), *rows])
    broken = data.draw(st.integers(1, len(rows)))
    begins = len(quoted([("text", "n"), *rows[: broken - 1]]))
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.csv"
        rest = '"stray" quote,' + whole[begins:]
        path.write_text(whole[:begins] + rest, newline="")
        found = read(path, "csv", data.draw(st.integers(1, 60)))
        assert found.values == [text for text, _ in rows[: broken - 1]]
        assert found.reasons == ["invalid_csv"]
        assert f" {len(rest.encode()):,} bytes" in found.faults[0].message


def quoted(rows: list[tuple[str, str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return out.getvalue()


def test_missing_values_are_null_and_empty_ones_too_many_are_dropped(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv"
    rows = b'text,n,lang\na,1,en\nb\nc,3\nd,4,de,,\n\ne,5,fr,,more\n"f\nf",6,it\n' + b"g\n" * 5000
    path.write_bytes(rows + b"h,7")
    for settings_of in ({}, {"embedded_newlines": False}):
        found = read(path, "csv", 4000, metadata_fields=("n", "lang"), **settings_of)
        whole = [text for text in found.values if text != "g"]
        assert whole == (["a", "b", "c", "d", "f\nf"] if not settings_of else ["a", "b", "c", "d", 'f"'])
        kept = [fields for fields, text in zip(found.metadata.values(), found.values, strict=True) if text != "g"]
        assert kept[:4] == [{"n": n, "lang": lang} for n, lang in (("1", "en"), (None, None), ("3", None), ("4", "de"))]
        assert [reason for reason in found.reasons if reason != "invalid_csv"] == ["wrong_columns"] * 2
        assert "the file ends inside the row, behind 2 of 3 values" in found.faults[-1].message
    path.write_bytes(b'text,n,lang\n"lost\nits quotes"\nb,2,en\n')
    assert read(path, "csv").reasons == ["invalid_csv"]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_lone_carriage_return_is_a_character(kind: str, tmp_path: pathlib.Path) -> None:
    texts = ["a\rb", "\r", "a\r", 'q"\rr', "\rb", "a\r\nb", "a\n\rb", "\r\r"]
    mark = {"csv": ",", "tsv": "\t"}[kind]
    for ending in ("\n", "\r\n"):
        rows = [mark.join(["text", "n"])] + [mark.join([text if "\n" not in text else f'"{text}"', "1"]) for text in texts]
        (tmp_path / f"a.{kind}").write_bytes((ending.join(rows) + ending).encode())
        for block_bytes in (1, 1 << 20):
            found = read(tmp_path / f"a.{kind}", kind, block_bytes)
            assert (found.values, found.reasons) == (texts, [])
