"""Text that a job cannot read: how much of it is too much, for each source, in documents and in bytes, and where it is told."""

from __future__ import annotations

import collections
import gzip
import io
import json
import pathlib
import tarfile
from typing import Any

import pytest
import yaml

from pipelines import cli
from tests.conftest import tree_digest
from tokenreel.format import manifest

Capture = pytest.CaptureFixture[str]


def good(count: int, begin: int = 0) -> bytes:
    return b"".join(json.dumps({"text": f"document {i} of some words"}).encode() + b"\n" for i in range(begin, begin + count))


def wrong_key(count: int) -> bytes:
    return good(count).replace(b'"text"', b'"body"')


def lay(folder: pathlib.Path, **contents: bytes) -> list[dict[str, Any]]:
    """Writes sources of one file each: `web` has `web.jsonl`."""
    for name, content in contents.items():
        (folder / f"{name}.jsonl").write_bytes(content)
    return [{"name": name, "files": [str(folder / f"{name}.jsonl")]} for name in contents]


def job(folder: pathlib.Path, command: str, sources: list[dict[str, Any]], **execution: Any) -> int:
    settings: dict[str, Any] = {"output": str(folder / "out"), "sources": sources, "execution": execution}
    if command == "build":
        settings |= {"vocabulary": {"kind": "bytes"}, "packing": {"seq_len": 64, "last_example": "pad"}}
    else:
        weights = {source["name"]: 0.5 for source in sources}
        settings |= {"options": {"vocab_size": 300, "hard_vocab_limit": False}, "weights": weights}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    return cli.main([command, str(folder / "config.yaml"), "--direct_num_workers=1"])


def letters(folder: pathlib.Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "out/dead_letters/dead_letters.jsonl").read_text().splitlines()]


COMMANDS = ["build", "train-tokenizer"]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_limit_holds_for_each_source(tmp_path: pathlib.Path, capsys: Capture, command: str) -> None:
    """Of the other source there is so much that all documents together are within the limit."""
    sources = lay(tmp_path, many=good(400), few=good(1) + wrong_key(20))
    assert job(tmp_path, command, sources) == 1
    error = capsys.readouterr().err
    assert "source 'few': 20 of 21 documents could not be read (20 no_text" in error
    assert "more than execution.max_dead_letter_fraction = 0.1 allows." in error and "few: few.jsonl " in error
    assert "source 'many'" not in error
    assert len(letters(tmp_path)) == 20
    assert f"All of them are in {tmp_path / 'out/dead_letters/dead_letters.jsonl'}. The first:" in error


@pytest.mark.parametrize("command", COMMANDS)
def test_a_source_without_a_document_is_an_error_whatever_may_be_lost(tmp_path: pathlib.Path, capsys: Capture, command: str) -> None:
    sources = lay(tmp_path, many=good(400), wrong=wrong_key(20))
    assert job(tmp_path, command, sources, max_dead_letter_fraction=1.0) == 1
    assert "source 'wrong' gave no document: 20 of 20 documents could not be read (20 no_text)" in capsys.readouterr().err
    assert job(tmp_path, command, sources, max_dead_letter_fraction=1.0, allow_empty_files=True) == 0
    assert "tokenreel: source 'wrong' gave no document" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_whose_records_are_one_line_counts_by_its_bytes(tmp_path: pathlib.Path, capsys: Capture, command: str) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.jsonl").write_bytes(good(200))
    # An object in which the documents lie, which no reader takes for lines.
    whole = b'{"rows": [' + good(5000).replace(b"\n", b",").rstrip(b",") + b"]}"
    (tmp_path / "texts/b.jsonl").write_bytes(whole)
    size = len(good(200)) + len(whole)
    assert job(tmp_path, command, [{"name": "web", "files": [str(tmp_path / "texts")]}]) == 1
    share = f"about {len(whole) / size:.2%} of the {size:,} bytes"
    assert f"1 of 201 documents could not be read (1 no_text, {share})" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_archives_that_cannot_be_read_are_told_by_number(tmp_path: pathlib.Path, capsys: Capture, command: str) -> None:
    (tmp_path / "texts").mkdir()
    for i in range(10):
        packed = bytearray(gzip.compress(good(60, 60 * i)))
        if i % 2:
            packed[10:] = bytes(255 - byte for byte in packed[10:])
        (tmp_path / f"texts/{i}.jsonl.gz").write_bytes(packed)
    sources = [{"name": "web", "files": [str(tmp_path / "texts")]}]
    assert job(tmp_path, command, sources) == 1
    assert "5 of 305 documents could not be read (5 broken_archive, about 5" in capsys.readouterr().err
    assert job(tmp_path, command, sources, max_dead_letter_fraction=1.0) == 1
    said = "5 of 10 files of source 'web' gave nothing: 1.jsonl.gz (1 broken_archive), 3.jsonl.gz (1 broken_archive), 5.jsonl.gz"
    error = capsys.readouterr().err
    assert said in error and " and 2 more" in error and "execution.allow_empty_files: true goes on without them" in error
    assert job(tmp_path, command, sources, max_dead_letter_fraction=1.0, allow_empty_files=True) == 0
    assert f"tokenreel: {said}" in capsys.readouterr().err


def packed(*members: bytes) -> bytes:
    """Packs files called 0.jsonl, 1.jsonl and so on."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number, member in enumerate(members):
            about = tarfile.TarInfo(f"{number}.jsonl")
            about.size = len(member)
            archive.addfile(about, io.BytesIO(member))
    return buffer.getvalue()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("members", [1, 0])
def test_an_archive_gave_what_its_members_gave(tmp_path: pathlib.Path, capsys: Capture, command: str, members: int) -> None:
    """Cut behind so many members, it is damaged itself; that a member has nothing but dead letters is told of the member."""
    whole = packed(good(50), good(50, begin=50))
    (tmp_path / "a.tar").write_bytes(whole[: 512 + members * (len(whole) // 512 // 2 * 512)][: -40 if members == 0 else None])
    (tmp_path / "b.jsonl").write_bytes(good(50, begin=100))
    sources = [{"name": "docs", "files": [str(tmp_path / name) for name in ("a.tar", "b.jsonl")]}]
    assert job(tmp_path, command, sources, max_dead_letter_fraction=1.0) == (0 if members else 1)
    assert ("1 of 2 files of source 'docs' gave nothing: a.tar (1 " in capsys.readouterr().err) == (not members)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_member_that_gave_nothing_is_told(tmp_path: pathlib.Path, capsys: Capture, command: str) -> None:
    (tmp_path / "a.tar").write_bytes(packed(good(50), wrong_key(5)))
    assert job(tmp_path, command, [{"name": "docs", "files": [str(tmp_path / "a.tar")]}], max_dead_letter_fraction=1.0) == 1
    assert "gave nothing: a.tar#1.jsonl (5 no_text)" in capsys.readouterr().err


def test_files_that_are_empty_or_filtered_are_no_error(tmp_path: pathlib.Path) -> None:
    (tmp_path / "texts").mkdir()
    contents = {
        "a.csv": b"text\n" + b"some words of a document\n" * 300,
        "b.csv": b"",
        "c.csv": b"text\n",
        "d.csv": b"text\nx\ny\n",
        "e.csv": b"\n\n",
    }
    for name, content in contents.items():
        (tmp_path / "texts" / name).write_bytes(content)
    source = {"name": "web", "files": [str(tmp_path / "texts")], "format": "csv", "filters": {"min_characters": 5}}
    assert job(tmp_path, "build", [source]) == 0


def test_a_source_of_which_everything_is_filtered_is_no_error(tmp_path: pathlib.Path) -> None:
    sources = lay(tmp_path, many=good(400), short=good(20))
    sources[1]["filters"] = {"min_characters": 1000}
    assert job(tmp_path, "build", sources) == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_of_which_a_later_block_gives_documents_gave_something(tmp_path: pathlib.Path, command: str) -> None:
    sources = lay(tmp_path, web=wrong_key(300) + good(300))
    assert job(tmp_path, command, sources, max_dead_letter_fraction=0.6, block_mb=0.001) == 0


def test_both_commands_list_the_same_dead_letters(tmp_path: pathlib.Path, capsys: Capture) -> None:
    """Wherever blocks end: their lines are counted from the beginning of each file, and each reason is listed as often as a source says."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.tar").write_bytes(packed(good(50), wrong_key(2) + good(50) + b"{\n"))
    (tmp_path / "texts/b.jsonl").write_bytes(good(400) + wrong_key(1) + good(300) + b"[]\n" * 9)
    (tmp_path / "texts/c.jsonl").write_bytes(good(3) + wrong_key(1))
    sources = [{"name": "web", "files": [str(tmp_path / "texts")], "dead_letters_kept": 5}]
    expected = b""
    for command, block_mb in (("build", 16), ("train-tokenizer", 16), ("train-tokenizer", 0.002)):
        folder = tmp_path / f"{command}-{block_mb}"
        folder.mkdir()
        assert job(folder, command, sources, block_mb=block_mb) == 0
        assert "tokenreel: 10 of 14 dead letters are listed, the first of each reason" in capsys.readouterr().err
        found = (folder / "out/dead_letters/dead_letters.jsonl").read_bytes()
        expected = expected or found
        assert found == expected
        assert not [path for path in (folder / "out").iterdir() if path.name.startswith(".")]
    assert [(letter["file"], letter["line"]) for letter in letters(folder)[:5]] == [
        *(("a.tar#1.jsonl", line) for line in (1, 2, 53)),
        ("b.jsonl", 401),
        ("b.jsonl", 702),
    ]
    assert job(folder, "train-tokenizer", sources, block_mb=16) == 0
    assert "is complete already" in capsys.readouterr().err


def test_the_first_of_each_reason_are_listed_and_all_are_counted(tmp_path: pathlib.Path, capsys: Capture) -> None:
    lines = [b'{"body": 1}\n', b"{\n", good(1), b'{"text": 1}\n']
    sources = lay(tmp_path, other=good(20) + b"[]\n" * 2, web=b"".join(lines[i * 7 % 4] for i in range(4000)))
    sources[1]["dead_letters_kept"] = 7
    expected: dict[str, str] = {}
    for block_mb in (16, 0.004):
        (tmp_path / str(block_mb)).mkdir()
        assert job(tmp_path / str(block_mb), "build", sources, max_dead_letter_fraction=1.0, block_mb=block_mb) == 0
        found = tree_digest(tmp_path / str(block_mb) / "out")
        expected = expected or found
        assert found == expected
        assert "tokenreel: 23 of 3,002 dead letters are listed, the first of each reason" in capsys.readouterr().err
    listed = collections.Counter((letter["source"], letter["reason"]) for letter in letters(tmp_path / "16") if "file" in letter)
    reasons = ("no_text", "invalid_json", "text_not_a_string")
    assert listed == {("other", "not_an_object"): 2} | {("web", reason): 7 for reason in reasons}
    assert [letter["line"] for letter in letters(tmp_path / "16") if letter["reason"] == "no_text" and "file" in letter] == [
        *range(1, 29, 4)
    ]
    rest = {letter["reason"]: letter["not_listed"] for letter in letters(tmp_path / "16") if "file" not in letter}
    assert rest == dict.fromkeys(reasons, 993)
    totals = manifest.read(str(tmp_path / "16/out")).totals
    assert totals["documents_dead_lettered"] == 3002 and totals["documents_read"] == 3002 + 1020 == 3002 + totals["documents_written"]
    assert cli.main(["verify", str(tmp_path / "16/out")]) == 0
