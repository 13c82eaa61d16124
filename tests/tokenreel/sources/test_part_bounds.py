from __future__ import annotations

import json
import pathlib

import pytest

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources import part_bounds
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.documents import Documents
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.lines import TextRange
from tokenreel.sources.reading import read_documents

MOST = 7
TEXTS = [f"text {i}" * (i % 4) or "x" for i in range(100)]
CONTENTS = {
    "lines": "\n".join(TEXTS).encode() + b"\n\xff\n\nlast",
    "paragraphs": "\n \t\n\n".join(f"{text}\r\nmore" for text in TEXTS).encode() + b"\n\n\xff\n\n" + b"line\n" * 3 * MOST,
    "jsonl": b"\n".join(json.dumps({"text": text}).encode() for text in TEXTS) + b"\n{\n",
    "json": json.dumps([{"text": text} for text in TEXTS]).encode(),
    "csv": b"text\n" + "\n".join(TEXTS).encode(),
}


def read(path: pathlib.Path, kind: str) -> list[Documents]:
    source = SourceConfig(files=(str(path),), format=kind)  # type: ignore[arg-type]
    (block,) = list_blocks(source, 0, 1 << 20)
    return list(read_documents(block, source, 1 << 20))


def found_in(parts: list[Documents]) -> list[tuple[object, ...]]:
    """Lists documents and faults with their places; lines are counted through all parts."""
    found: list[tuple[object, ...]] = []
    lines = 0
    for part in parts:
        for i in range(len(part)):
            text = part.text[part.offsets[i] : part.offsets[i + 1]].tobytes()
            found.append((part.files[part.file[i]], int(part.position[i]), int(part.key[i]), text))
        found += [(fault.file, fault.position, fault.line + lines, fault.reason) for fault in part.faults]
        lines += sum(part.lines)
    return [*sorted(found), (lines,)]


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_part_holds_no_more_documents_than_the_bound(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENTS[kind])
    whole = read(path, kind)
    assert [part.bound for part in whole] == [0]
    monkeypatch.setattr(part_bounds, "MOST_DOCUMENTS", MOST)
    parts = read(path, kind)
    assert found_in(parts) == found_in(whole) and len(found_in(whole)) > 100
    assert {part.bound for part in parts} == {MOST}
    if kind != "csv":  # which hands over what it has read at once
        assert max(len(part) + len(part.faults) for part in parts) <= MOST
        assert len(parts) >= 100 // MOST


@pytest.mark.parametrize("first", [0, 1])
def test_the_bound_is_told_from_where_it_cut(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    for i, lines in enumerate((3, 3, 2)):
        (tmp_path / f"{i}").write_text("line\n" * lines)
    monkeypatch.setattr(part_bounds, "MOST_DOCUMENTS", 6 + 2 * first)
    parts = read(tmp_path, "lines")
    assert [(len(part), part.bound) for part in parts] == ([(8, 0)] if first else [(6, 6), (2, 6)])


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("lines", range(1, 12))
def test_pieces_join_to_what_was_cut(lines: int, end: bytes) -> None:
    whole = TextRange(InputFile("a", "a", 0, 0), 100, b"\n".join(b"%d" % i for i in range(lines)) + end)
    pieces = list(part_bounds.cut(whole, "lines", 3))
    assert b"".join(piece.data for piece in pieces if isinstance(piece, TextRange)) == whole.data
    assert [part_bounds.count(piece, "lines") for piece in pieces] == [3] * (lines // 3) + [lines % 3] * (lines % 3 > 0)
    assert all(isinstance(piece, TextRange) and piece.position == 100 + whole.data.index(piece.data) for piece in pieces)
