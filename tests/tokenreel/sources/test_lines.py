from __future__ import annotations

import contextlib
import gzip
import json
import pathlib
import tempfile
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reading import read as read_records
from tests.tokenreel.sources.plain import plainly, read
from tokenreel.config.corpus import SourceConfig
from tokenreel.sources import lines as documents
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.reading import read_documents
from tokenreel.storage import decompression


@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\n", b"\r\n", b" ", b"\t", b"\r", "é".encode(), b"\xef\xbb\xbf"]), max_size=60),
    kind=st.sampled_from(["lines", "paragraphs"]),
    block_bytes=st.integers(1, 40),
)
def test_blocks_change_nothing(data: list[bytes], kind: str, block_bytes: int) -> None:
    content = b"".join(data)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "a.txt"
        path.write_bytes(content)
        found, parts = read(path, kind, block_bytes)
        assert {at: text for (_, at), text in found.items()} == plainly(content, kind)
        assert not any(part.faults for part in parts)
        packed = pathlib.Path(folder) / "packed"
        packed.mkdir()
        (packed / "a.txt.gz").write_bytes(gzip.compress(content))
        assert {at: text for (_, at), text in read(packed, kind, block_bytes)[0].items()} == plainly(content, kind)


@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"a", b"bcd", b"\n", b"\n", b"\r\n", b" x", b"word" * 5, "é".encode() * 30]), max_size=60),
    kind=st.sampled_from(["lines", "paragraphs", "text"]),
    limit=st.integers(4, 40),
    block_bytes=st.integers(1, 60),
    chunk_bytes=st.integers(1, 30),
    packed=st.booleans(),
)
def test_oversized_documents_are_dead_letters_however_they_are_read(
    data: list[bytes], kind: str, limit: int, block_bytes: int, chunk_bytes: int, packed: bool
) -> None:
    content = b"".join(data)
    whole = {0: content.decode()} if kind == "text" else plainly(content, kind)
    source = {"format": kind, "max_document_mb": limit / (1 << 20)}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch.object(documents, "READ_BYTES", chunk_bytes))
        patches.enter_context(mock.patch.object(decompression, "_CHUNK_BYTES", chunk_bytes))
        path = pathlib.Path(folder) / ("a.txt.gz" if packed else "a.txt")
        path.write_bytes(gzip.compress(content) if packed else content)
        found, faults = {}, []
        made = SourceConfig(files=(str(path),), **source)
        for block in list_blocks(made, 0, block_bytes):
            lines = 0
            for part in read_documents(block, made, block_bytes):
                for i in range(len(part)):
                    found[int(part.position[i])] = part.text[part.offsets[i] : part.offsets[i + 1]].tobytes().decode()
                faults += [(fault.position, fault.reason, fault.line + lines, block.file_ranges[0].start) for fault in part.faults]
                lines += sum(part.lines)
    assert found == {at: text for at, text in whole.items() if len(text.encode()) <= limit}
    assert [(at, reason) for at, reason, *_ in faults] == [(at, "oversized") for at, text in whole.items() if len(text.encode()) > limit]
    for at, _, line, start in faults:
        if start == 0:  # lines are counted from the part of the file that was read together
            assert line == content.count(b"\n", 0, at) + 1


@settings(max_examples=100, deadline=None)
@given(
    data=st.lists(st.sampled_from([b"a", b"bc", b"\r", b"\r", b" ", b"\t", "é".encode(), b"\xef\xbb\xbf"]), max_size=60),
    kind=st.sampled_from(["lines", "paragraphs"]),
    block_bytes=st.integers(1, 40),
)
def test_carriage_returns_end_lines_where_no_line_feed_does(data: list[bytes], kind: str, block_bytes: int) -> None:
    content = b"".join(data)
    with tempfile.TemporaryDirectory() as folder:
        for name, packed in (("a.txt", content), ("a.txt.gz", gzip.compress(content))):
            path = pathlib.Path(folder) / name
            path.write_bytes(packed)
            found, parts = read(path, kind, block_bytes)
            assert {at: text for (_, at), text in found.items()} == plainly(content, kind)
            assert not any(part.faults for part in parts)


def test_records_whose_lines_end_in_carriage_returns(tmp_path: pathlib.Path) -> None:
    texts = ["one", "two\rlines", 'a "quote"', "é"]
    whole = "\r".join(json.dumps({"text": text, "id": str(i)}) for i, text in enumerate(texts))
    rows = "text,id\r" + "".join('"' + text.replace('"', '""') + f'",{i}\r' for i, text in enumerate(texts))
    for kind, content in (("jsonl", whole), ("csv", rows), ("csv", rows.replace("\r", "\n"))):
        (tmp_path / "a").write_bytes(content.encode())
        found = read_records(tmp_path / "a", kind, 20, id_field="id")
        assert (found.reasons, list(found.ids.values())) == ([], ["0", "1", "2", "3"])
        assert found.values == (texts if "\n" not in content else [text.replace("\r", "\n") for text in texts])
        assert all(at == 0 or content.encode()[at - 1 : at] in (b"\r", b"\n") for _, at in found.texts)
    (tmp_path / "a").write_text("whole\rtext\r", newline="")
    assert read_records(tmp_path / "a", "text").values == ["whole\rtext\r"]


@pytest.mark.parametrize("kind", ["lines", "paragraphs", "jsonl", "csv"])
def test_a_line_feed_behind_the_first_mebibyte_is_a_fault(kind: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tokenreel.sources.lines._LOOKED_AT", 50)
    texts = [f"text number {i}" for i in range(40)]
    lines = {
        "lines": texts,
        "paragraphs": [line for text in texts for line in (text, " ")],
        "jsonl": [json.dumps({"text": text}) for text in texts],
        "csv": ["text,n", *(f"{text},1" for text in texts)],
    }[kind]
    place = lines.index(next(line for line in lines if "number 30" in line))
    content = "\r".join(lines[:place]) + "\r" + "\n".join(lines[place : place + 2]) + "\r" + "\r".join(lines[place + 2 :]) + "\r"
    (tmp_path / "a").write_text(content, newline="")
    found = read_records(tmp_path / "a", kind, 30)
    assert found.values == texts[:30] + texts[32:]  # a paragraph lost the blank line behind it
    assert [(fault.reason, fault.position) for fault in found.faults] == [("mixed_line_ends", content.index(lines[place]))]
    (tmp_path / "a").write_text("one\rtwo\n" + content, newline="")
    assert "mixed_line_ends" not in read_records(tmp_path / "a", kind, columns=("text",) if kind == "csv" else ()).reasons
