"""Whatever bytes and names a corpus holds: nothing crashes, everything is counted, and each dead letter names its place.

The whole way of a block is tested: reading, cleaning, tokenizing, stage files, and the dead letters with their lines at the end.
"""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import json
import lzma
import os
import pathlib
import re
import tempfile
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tokenreel.assembly import dead_letters
from tokenreel.config.build import JobConfig, PackingConfig, VocabularyConfig
from tokenreel.config.corpus import ExecutionConfig, SourceConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation.filters import load_rules
from tokenreel.errors import SourceError
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.stage_table import StageTable
from tokenreel.sources import encodings, kinds
from tokenreel.sources.blocks import list_blocks
from tokenreel.staging import stage_file
from tokenreel.storage.stored_value import StoredValue
from tokenreel.vocabularies.loading import load_vocabulary
from transforms.tokenize_blocks import _TokenizeBlock

PACK = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}
BYTES = load_vocabulary("bytes", None)

# Values that JSON lets through and that some later step may not expect.
NUMBERS = ["1e400", "-1e400", "NaN", "-Infinity", "0.1e-999", str(2**64), str(-(2**63) - 1), "9" * 5000, "9" * 4000, "1" + "0" * 400 + ".5"]
DEEP = [shape * depth + close * depth for depth in (500, 990, 1023, 100_000) for shape, close in (("[", "]"), ('{"a":', "}"))]
DEEP = [text.replace('"a":}', '"a":0}') for text in DEEP]
STRINGS = [
    '"a good text"',
    '""',
    '"\\ud800"',
    '"\\udc00\\ud800 half"',
    '"\\u0000"',
    '"a\\u0000b"',
    '"../x"',
    '"\\u2028\\u0085\\ufeff"',
    json.dumps("é" * 300),
    json.dumps("long " * 2000),
    '"\\"; DROP TABLE documents; --"',
]
VALUES = st.sampled_from([*STRINGS * 3, *NUMBERS, *DEEP, "null", "true", "[]", "{}", '["text"]', '{"text": "inner"}', "-0"])
FIELDS = st.sampled_from(["text", "text", "text", "id", "n", "kept", "", "x" * 5000, "\\ud800"])
OBJECTS = st.lists(st.tuples(FIELDS, VALUES), max_size=5).map(
    lambda pairs: ("{" + ", ".join(f'"{name}": {value}' for name, value in pairs) + "}").encode()
)
GOOD = st.sampled_from([b'{"text": "some words", "id": "a", "n": 1, "kept": [1]}', '{"text": "ünïcode", "id": 7, "n": "b"}'.encode()])
RAW = st.one_of(
    st.binary(max_size=40).map(lambda data: data.replace(b"\n", b"")),
    st.sampled_from(
        [
            b"\xff\xfe{",
            b"\xed\xa0\x80",
            b"\xc0\x80",
            b"\xf8\x88\x80\x80\x80",
            b"\0" * 9,
            b"{",
            b'{"text": "cut',
            b"\xef\xbb\xbf",
            b"\r",
            b" ",
        ]
    ),
    st.sampled_from(
        ['{"text": "a"}'.encode("utf-16"), '{"text": "a"}'.encode("utf-32-be"), b'{"text": "a"}\r{"text": "b"}', b'{"text": "\xff"}']
    ),
)
LINES = st.one_of(GOOD, OBJECTS, RAW)
NAMES = st.one_of(
    st.sampled_from(
        [b"a", b"[a]", b"*", b"?", b"-rf", b"a\nb", b"'\"`$(x)", b"%00", b"%2e%2e%2f", b"x..", b"%2F..", b"\xff\xfe", b"\\", b"~", b" "]
    ),
    st.sampled_from([b"x" * 230, "\U0001f4a5".encode() * 50, "a\u202eb".encode(), b"a.gz.jsonl", b"text.txt", b"{a,b}", b"gs:"]),
    st.binary(min_size=1, max_size=20).map(lambda name: b"n" + name.replace(b"/", b"").replace(b"\0", b"")),
)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def staged(source: SourceConfig, directory: str, block_bytes: int) -> tuple[JobConfig, list[StageSelection]]:
    """Every block through `TokenizeBlocks`, as a worker does it."""
    config = JobConfig(
        output=directory,
        sources=(source,),
        vocabulary=VocabularyConfig(kind="bytes"),
        packing=PackingConfig(seq_len=16),
        execution=ExecutionConfig(block_mb=block_bytes / (1 << 20)),
    )
    work = Workspace(directory, os.path.join(directory, "stage"), "build")
    vocabulary, rules = (StoredValue.store(directory, "value", value) for value in (BYTES, [load_rules(config.filters_of(0))]))
    worker = _TokenizeBlock(config, vocabulary, rules, work)
    worker.setup()
    return config, [item for block in list_blocks(source, 0, block_bytes) for item in worker.process(block)]


def letters(config: JobConfig, found: list[StageSelection]) -> list[dict[str, Any]]:
    list(dead_letters.DeadLetters(config, StageTable.of(found), Workspace.of(config, "build")).write())
    path = pathlib.Path(config.output) / "dead_letters" / "dead_letters.jsonl"
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def count(found: list[StageSelection]) -> int:
    return sum(item.info.documents + item.info.dead_letters + sum(item.info.filtered.values()) for item in found)


def places(content: bytes) -> dict[int, tuple[int, bytes]]:
    """Where documents begin in JSON lines: byte to line number and bytes."""
    start = 3 if content.startswith(b"\xef\xbb\xbf") else 0
    found = {}
    for number, line in enumerate(content[start:].split(b"\n"), 1):
        if line.strip():
            found[start] = (number, line)
        start += len(line) + 1
    return found


def check_lines(files: dict[bytes, bytes], ending: str, fields: dict[str, Any], block_bytes: int) -> None:
    """Files of lines: every line that is not blank is a document, a filtered one or a dead letter, and the letters lie where they say."""
    with tempfile.TemporaryDirectory() as folder:
        text = os.fsencode(folder) + b"/text"
        os.mkdir(text)
        for name, content in files.items():
            pathlib.Path(os.fsdecode(text + b"/" + name + ending.encode())).write_bytes(PACK[ending](content))
        config, found = staged(SourceConfig(files=(os.fsdecode(text),), **fields), folder, block_bytes)
        expected = {os.fsdecode(name) + ending: places(content) for name, content in files.items()}
        assert count(found) == sum(map(len, expected.values()))
        dead = letters(config, found)
        assert len(dead) == sum(item.info.dead_letters for item in found)
        for letter in dead:
            line, data = expected[letter["file"]].pop(letter["position"])
            assert letter["line"] == line
            assert data[:800].decode("utf-8", "replace").startswith(letter["excerpt"])
            assert letter["reason"] and letter["message"]
            assert len(letter["message"]) < 1000
        for item in found:
            file = stage_file.StageFile(item.info)
            names = file.header()["files"]
            for index, position in zip(file.read("file").tolist(), file.read("position").tolist(), strict=True):
                expected[names[index]].pop(position)
        left = sum(sum(item.info.filtered.values()) for item in found)
        assert sum(map(len, expected.values())) == left


FIELD_SETS = st.fixed_dictionaries(
    {},
    optional={"id_field": st.just("id"), "order_field": st.just("n"), "metadata_fields": st.just(("kept", "n"))},
)
FILES = st.dictionaries(
    NAMES, st.tuples(st.booleans(), st.lists(LINES, max_size=6), st.sampled_from([b"\n", b"\n", b"\r\n", b"\n\n"])), min_size=1, max_size=3
)


def contents(files: dict[bytes, tuple[bool, list[bytes], bytes]]) -> dict[bytes, bytes]:
    return {name: b"\xef\xbb\xbf" * bom + end.join(lines) + end * bool(lines) for name, (bom, lines, end) in files.items()}


def bad_lines(examples: int) -> Any:
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
        derandomize=True,
    )
    @given(files=FILES, ending=st.sampled_from(["", "", *PACK]), fields=FIELD_SETS, parts=st.sampled_from([1, 1, 2, 5]))
    def check(files: Any, ending: str, fields: dict[str, Any], parts: int) -> None:
        made = contents(files)
        assume(not any(map(kinds.recognise, made.values())))  # other files than text are refused; see test_kinds.py
        block_bytes = 1 + max(map(len, made.values())) // parts
        if any(map(encodings.wide, made.values())):  # as UTF-16 is: a whole file that begins with its mark, whatever follows
            with pytest.raises(SourceError, match=r"(is|holds) UTF-.*Set sources\.encoding: utf-"):
                check_lines(made, ending, fields, block_bytes)
        else:
            check_lines(made, ending, fields, block_bytes)

    return check


def bad_archives(examples: int) -> Any:
    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        phases=[Phase.generate],
        derandomize=True,
    )
    @given(
        lines=st.lists(LINES, min_size=1, max_size=8),
        ending=st.sampled_from([".gz", ".bz2", ".xz", ".zst"]),
        kind=st.sampled_from(["jsonl", "lines", "paragraphs", "text"]),
        cut=st.floats(0, 1),
        flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 7)), max_size=3),
        inserted=st.binary(max_size=5),
        parts=st.sampled_from([1, 3]),
    )
    def check(lines: list[bytes], ending: str, kind: Any, cut: float, flips: Any, inserted: bytes, parts: int) -> None:
        text = b"\n".join(lines)
        assume(kinds.recognise(text) is None)
        packed = bytearray(PACK[ending](text))
        for place, bit in flips:
            packed[int(place * len(packed))] ^= 1 << bit
        at = int(cut * len(packed))
        packed = packed[:at] + inserted if cut < 0.9 else packed
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / f"a{ending}"
            path.write_bytes(packed)
            try:
                config, found = staged(SourceConfig(files=(str(path),), format=kind), folder, 1 + len(text) // parts)
            except SourceError as error:  # what can be unpacked of it looks like UTF-16
                assert re.search(r"(is|holds) UTF-.*Set sources\.encoding: utf-", str(error))
                assert b"\0" in text or text.startswith((b"\xff\xfe", b"\xfe\xff")), "no other text is refused"
                return
            assert encodings.wide(text) is None or cut < 0.9 or flips, "all of it looks so, and is read"
            dead = letters(config, found)
            assert len(dead) == sum(item.info.dead_letters for item in found)
            broken = [letter for letter in dead if letter["reason"] == "broken_archive"]
            assert len(broken) <= 1
            assert broken == dead[len(dead) - len(broken) :], "what is broken ends the file"
            whole = {position for item in found for position in stage_file.StageFile(item.info).read("position").tolist()}
            for letter in dead:
                assert letter["file"] == f"a{ending}"
                assert letter["line"] >= 1
                assert letter["position"] not in whole
            assert all(position < letter["position"] for position in whole for letter in broken)
            if not flips and not inserted and cut >= 0.9:
                assert not broken
            elif not flips and cut < 0.9:
                assert broken, "a shortened archive is noticed, one of no bytes and of zeros too"

    return check


def test_some_bad_lines() -> None:
    bad_lines(200)()


def test_some_bad_archives() -> None:
    bad_archives(200)()


@pytest.mark.slow
def test_thousands_of_bad_lines() -> None:
    bad_lines(6000)()


@pytest.mark.slow
def test_thousands_of_bad_archives() -> None:
    bad_archives(4000)()


def test_what_is_no_file_is_refused_at_once(tmp_path: pathlib.Path) -> None:
    (tmp_path / "good.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "folder.jsonl").mkdir()  # holds nothing, is nothing
    source = SourceConfig(files=(str(tmp_path),))
    assert [file_range.file.name for block in list_blocks(source, 0, 100) for file_range in block.file_ranges] == ["good.jsonl"]
    odd = tmp_path / "odd.jsonl"
    os.mkfifo(odd)
    for files in ((str(tmp_path),), (str(odd),)):
        with pytest.raises(SourceError, match="not a regular file"):
            list(list_blocks(dataclasses.replace(source, files=files), 0, 100))
    odd.unlink()
    odd.symlink_to(odd)
    with pytest.raises(SourceError, match="symbolic links"):
        list(list_blocks(source, 0, 100))
    odd.unlink()
    odd.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SourceError, match=r"odd\.jsonl: .*a symbolic link to nothing"):
        list(list_blocks(source, 0, 100))
    odd.unlink()
    odd.symlink_to(tmp_path)  # a folder within itself: links to folders are not followed
    assert [file_range.file.name for block in list_blocks(source, 0, 100) for file_range in block.file_ranges] == ["good.jsonl"]
