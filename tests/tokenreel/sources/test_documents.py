from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import pathlib
import tempfile
import tracemalloc
from unittest import mock

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import reading
from tokenreel.config.corpus import SourceConfig
from tokenreel.sources import lines as documents
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.documents import Documents
from tokenreel.sources.reading import read_documents
from tokenreel.storage import decompression

COMPRESS = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
}


def read(path: pathlib.Path, kind: str, block_bytes: int) -> tuple[dict[tuple[str, int], str], list[Documents]]:
    """All documents of a file or directory by (file, position), and what they were read in."""
    source = SourceConfig(files=(str(path),), format=kind)  # type: ignore[arg-type]
    parts = [part for block in list_blocks(source, 0, block_bytes) for part in read_documents(block, source, block_bytes)]
    found = {}
    for part in parts:
        for i in range(len(part)):
            place = (part.files[part.file[i]], int(part.position[i]))
            assert place not in found
            found[place] = part.text[part.offsets[i] : part.offsets[i + 1]].tobytes().decode()
    return found, parts


def plainly(data: bytes, kind: str) -> dict[int, str]:
    """What a file holds, in the plainest code there is."""
    position = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    lines = []
    for line in data[position:].split(b"\n"):
        lines.append((position, line.removesuffix(b"\r")))
        position += len(line) + 1
    if lines[-1][1] == b"" and data.endswith(b"\n"):
        lines.pop()
    if kind == "lines":
        return {at: line.decode() for at, line in lines if at < len(data)}
    found: dict[int, list[tuple[int, bytes]]] = {}
    current = None
    for at, line in lines:
        if not line.strip():
            current = None
        elif current is None:
            current = at
            found[current] = [(at, line)]
        else:
            found[current].append((at, line))
    return {at: data[at : group[-1][0] + len(group[-1][1])].decode() for at, group in found.items()}


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


@pytest.mark.parametrize("ending", COMPRESS)
@pytest.mark.parametrize("kind", ["lines", "paragraphs", "text"])
def test_archives_cut_anywhere_keep_what_came_before(tmp_path: pathlib.Path, ending: str, kind: str) -> None:
    text = b"".join(b"line number %d\n%s" % (i, b"\n" * (i % 3 == 0)) for i in range(20_000))
    packed = COMPRESS[ending](text)
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(packed)
    whole, _ = read(path, kind, 50_000)
    if kind != "text":
        assert {at: document for (_, at), document in whole.items()} == plainly(text, kind)
    for cut in (5, len(packed) // 2, len(packed) - 1):
        path.write_bytes(packed[:cut])
        found, parts = read(path, kind, 50_000)
        faults = [fault for part in parts for fault in part.faults]
        assert [fault.reason for fault in faults] == ["broken_archive"]
        assert found.items() <= whole.items()
        assert all(at < faults[0].position for _, at in found)
    path.write_bytes(b"no archive at all")
    assert [fault.reason for part in read(path, kind, 50_000)[1] for fault in part.faults] == ["broken_archive"]


@pytest.mark.parametrize("ending", COMPRESS)
def test_archives_of_several_members(tmp_path: pathlib.Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(COMPRESS[ending](b"one\ntw") + COMPRESS[ending](b"o\nthree") + b"\0" * 512 * (ending == ".gz"))
    assert list(read(path, "lines", 1000)[0].values()) == ["one", "two", "three"]


def test_lines_are_counted_for_the_dead_letters(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"good\n\nbad \xff\ngood\n\xfe bad\n")
    _, (part,) = read(path, "lines", 1000)
    assert [(fault.line, fault.position) for fault in part.faults] == [(3, 6), (5, 17)]
    assert part.lines == [5]


def test_a_document_has_one_key_wherever_its_corpus_lies(tmp_path: pathlib.Path) -> None:
    keys = []
    for folder in ("a", "b/c"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.txt").write_bytes(b"one\ntwo\n")
        (tmp_path / folder / "y.txt").write_bytes(b"one\n")
        source = SourceConfig(files=(str(tmp_path / folder),), format="lines")
        keys.append([int(key) for block in list_blocks(source, 0, 4) for part in read_documents(block, source, 4) for key in part.key])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 3


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


def bomb(ending: str, megabytes: int) -> bytes:
    """An archive of zeros, made of one megabyte that is repeated as members; the first is a good line."""
    pack = COMPRESS[ending]
    return pack(b"good\n") + pack(bytes(1 << 20)) * megabytes + pack(b"\nlast\n")


@pytest.mark.parametrize("ending", COMPRESS)
def test_an_archive_bomb_is_one_dead_letter(tmp_path: pathlib.Path, ending: str) -> None:
    path = tmp_path / f"a.txt{ending}"
    path.write_bytes(bomb(ending, 60))
    source = SourceConfig(files=(str(path),), format="lines", max_document_mb=1)
    tracemalloc.start()
    (block,) = list_blocks(source, 0, 1 << 20)
    parts = list(read_documents(block, source, 1 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 24 << 20  # of which the dictionary of .xz is 8
    assert b"".join(part.text.tobytes() for part in parts) == b"goodlast"
    assert [(fault.position, fault.reason) for part in parts for fault in part.faults] == [(5, "oversized")]
    assert sum(line for part in parts for line in part.lines) == 3


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_member_is_unpacked_in_small_chunks(ending: str) -> None:
    """However little of the archive holds it all."""
    packed = COMPRESS[ending](bytes(100 << 20))
    sizes = [len(chunk) for chunk in decompression.decompress(io.BytesIO(packed), ending) if isinstance(chunk, bytes)]
    assert sum(sizes) == 100 << 20
    assert max(sizes) <= 33 << 20


WHOLE = {"19 digits": 2**63, "20 digits": 2**64, "308 digits": 10**307, "400 digits": 10**399, "4,000 digits": 10**3999}


@pytest.mark.parametrize("number", WHOLE)
@pytest.mark.parametrize("sign", [1, -1])
def test_huge_whole_numbers_order_documents_or_are_dead_letters(tmp_path: pathlib.Path, number: str, sign: int) -> None:
    """Python converts none beyond 1.8e308 to a float, and none of more than 4,300 digits to text."""
    value = sign * WHOLE[number]
    lines = [f'{{"text": "{name}", "n": {n}, "kept": {n}}}' for name, n in (("huge", value), ("one", 1), ("longer", "9" * 5000))]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = SourceConfig(files=(str(tmp_path),), order_field="n", metadata_fields=("n", "kept"))
    ((found,),) = ([*read_documents(block, source, 1 << 20)] for block in list_blocks(source, 0, 1 << 20))
    faults = {fault.line: (fault.reason, fault.message) for fault in found.faults}
    assert faults.pop(3)[0] == "invalid_json"
    if abs(value) < 1.7e308:
        assert not faults
        assert found.sort_value is not None
        assert (found.sort_value[0] > found.sort_value[1]) == (sign > 0)
    else:
        assert faults == {1: ("no_order", "the field 'n' holds a number beyond all range")}
        assert len(found) == 1
    assert found.metadata is not None
    assert len(found.metadata) == len(found)


def nested(depth: int, value: str = "0") -> str:
    return '{"a": [' * (depth // 2) + "[" * (depth % 2) + value + "]" * (depth % 2) + "]}" * (depth // 2)


def test_how_deep_fields_may_be_nested_is_a_rule_of_the_data(tmp_path: pathlib.Path) -> None:
    """And not of the stack of the runner, which Python's own limit counts in: other workers would leave other documents out."""
    brackets = '"' + "[{" * 300 + '\\"' + "[" * 300 + '"'  # text is no nesting
    depths = {199: "kept", 200: "bad_metadata", 900: "bad_metadata", 975: "bad_metadata", 1020: "bad_metadata"}  # one is the record's own
    lines = [f'{{"text": "a", "kept": {nested(depth)}}}' for depth in depths]
    lines += [f'{{"text": "a", "kept": {nested(199, brackets)}}}', f'{{"text": "a", "other": {nested(1000)}}}']
    lines += [f'{{"text": "a", "other": {nested(199, "NaN")}}}', f'{{"text": "a", "other": {nested(200, "NaN")}}}', "[" * 200_000]
    expected = [*depths.values(), "kept", "kept", "kept", "invalid_json", "invalid_json"]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = SourceConfig(files=(str(tmp_path),), metadata_fields=("kept",))
    (block,) = list_blocks(source, 0, 1 << 20)

    def at_depth(depth: int) -> list[Documents]:
        return list(read_documents(block, source, 1 << 20)) if depth == 0 else at_depth(depth - 1)

    for depth in (0, 400):
        (found,) = at_depth(depth)
        reasons = {fault.line: fault.reason for fault in found.faults}
        assert [reasons.get(line + 1, "kept") for line in range(len(lines))] == expected
        assert found.metadata is not None
        assert json.loads(found.metadata[0])["kept"] == json.loads(nested(199))
        assert json.loads(found.metadata[1])["kept"] == json.loads(nested(199, brackets))


def test_a_number_too_large_to_sort_by_is_a_dead_letter(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"text": "{i}", "n": {n}}}\n' for i, n in enumerate(("9" * 400, "-" + "9" * 400, "1" * 300, "-1"))))
    found = reading.read(path, "jsonl", order_field="n")
    assert found.values == ["2", "3"] and found.reasons == ["no_order"] * 2
    assert all("a number beyond all range" in fault.message for fault in found.faults)
