from __future__ import annotations

import contextlib
import gzip
import pathlib
import tempfile
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

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
