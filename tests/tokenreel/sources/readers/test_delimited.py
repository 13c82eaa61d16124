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
5,"broken" quoting
6,\xff not UTF-8
7,a\x00b

8,"a ""quote"" here"
9,5" disk
10,"never closed
11,lost
"""


def test_each_bad_row_has_its_line_position_and_reason(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.csv").write_bytes(BAD)
    found = read(tmp_path, "csv")
    assert found.values == ["good", "spans\nlines", 'a "quote" here', '5" disk']
    lines = BAD.split(b"\n")
    starts = [sum(len(line) + 1 for line in lines[:i]) for i in range(len(lines))]
    expected = [(3, "wrong_columns"), (4, "wrong_columns"), (7, "invalid_csv"), (8, "invalid_utf8"), (9, "nul_byte"), (13, "invalid_csv")]
    assert [(fault.line, fault.reason) for fault in found.faults] == expected
    assert [fault.position for fault in found.faults] == [starts[line - 1] for line, _ in expected]
    assert found.faults[2].excerpt == '5,"broken" quoting\n'
    assert "the file ends 2 lines later" in found.faults[-1].message
    (tmp_path / "a.csv").write_bytes(BAD.replace(b"lines", b'li"es'))
    assert "8" not in read(tmp_path, "csv").values


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
            assert found.reasons == ["broken_archive"] * bool(cut)
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


def test_what_follows_an_endless_line_is_as_it_would_be_without_it(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenreel.sources.readers.delimited._LONGEST_LINE", 1 << 12)
    path = tmp_path / "a.csv"
    path.write_bytes(b'text,n\n"one\n1",1\n"open,2\n' + b"x" * 600_000 + b'\n"three\n""3""",3\nfour,4\n')
    found = read(path, "csv", max_document_mb=0.001)
    assert found.values == ["one\n1", 'three\n"3"', "four"]
    assert [(fault.line, fault.reason) for fault in found.faults] == [(4, "invalid_csv"), (5, "oversized")]


@pytest.mark.parametrize("head", ['"te\nxt",text\n', '"te"x,text\n', "\n\n", ""])
def test_a_damaged_header_means_the_same_to_every_piece(head: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(head + "id,text\n" + "".join(f"{i},value {i}\n" for i in range(50)))
    whole, pieces = (read(path, "csv", block_bytes, embedded_newlines=False) for block_bytes in (1 << 20, 100))
    assert pieces.blocks > 3 and (pieces.texts, pieces.faults) == (whole.texts, whole.faults)
    assert len(whole.faults) == ("te" in head)
