"""Ids that several documents have, given to the command."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines import cli
from tests.pipelines.test_lost_text import job
from tokenreel.curation import hash_tables
from tokenreel.planning.repeated_ids import Repeated, add

Capture = pytest.CaptureFixture[str]
LEAK = "what validation should hold out may be trained on"


def documents(ids: Iterator[str] | range, text: str = "words") -> list[tuple[str, str]]:
    return [(f"d{i}", f"{text} of the document {i}") for i in ids]


def lay(folder: pathlib.Path, held_out: float = 0.3, **contents: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Writes sources of one file each, of documents with an id and a text."""
    sources: list[dict[str, Any]] = []
    for name, found in contents.items():
        rows = (json.dumps({"id": own, "text": text}) + "\n" for own, text in found)
        (folder / f"{name}.jsonl").write_text("".join(rows))
        splits = {"splits": {"validation": held_out}} if held_out else {}
        sources.append({"name": name, "files": [str(folder / f"{name}.jsonl")], "id_field": "id", **splits})
    return sources


@pytest.fixture(params=[1 << 20, 50], ids=["one range", "ranges"])
def ranges(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hash_tables, "_RANGE_ENTRIES", request.param)


@pytest.mark.usefixtures("ranges")
def test_ids_of_two_sources_are_an_error_with_held_out_splits(tmp_path: pathlib.Path, capsys: Capture) -> None:
    sources = lay(tmp_path, a=documents(range(200)), b=documents(range(190, 300), "text"), c=documents(range(195, 197)))
    assert job(tmp_path, "build", sources) == 2
    error = capsys.readouterr().err
    for names, count in (("'a' and 'b'", 10), ("'a' and 'c'", 2), ("'b' and 'c'", 2)):
        assert re.search(f"  *{count} ids are in both sources {names}, such as 'd19[0-9]': {LEAK}\n", error)
    assert "execution.allow_leaks: true goes on with them, as where each source numbers its own documents" in error
    assert "reads of" not in error and not list(tmp_path.glob("out/*.tfrecord"))  # before anything is planned
    assert job(tmp_path, "build", sources, allow_leaks=True) == 0
    assert "10 ids are in both sources 'a' and 'b', such as 'd19" in capsys.readouterr().err


def test_without_held_out_splits_they_are_only_told(tmp_path: pathlib.Path, capsys: Capture) -> None:
    assert job(tmp_path, "build", lay(tmp_path, 0, a=documents(range(200)), b=documents(range(199, 300), "text"))) == 0
    assert "tokenreel: 1 id is in both sources 'a' and 'b', such as 'd199'" in capsys.readouterr().err


@pytest.mark.usefixtures("ranges")
def test_ids_that_repeat_within_a_source_are_counted(tmp_path: pathlib.Path, capsys: Capture) -> None:
    again = [*documents(range(200)), *documents(range(7, 9), "more"), *documents(range(8, 9), "most")]
    # Blocks of a few documents: those of one id lie in several stage files, and some in one.
    assert job(tmp_path, "build", lay(tmp_path, a=again, b=documents(range(200, 400))), block_mb=0.003) == 0
    error = capsys.readouterr().err
    assert re.search("tokenreel: source 'a': 2 ids repeat, 5 documents have them, such as 'd[78]'; all are taken\n", error)
    assert "source 'b'" not in error and "both sources" not in error


@pytest.mark.parametrize("files", [2, 16])
def test_merge_levels_change_nothing_that_is_said(
    tmp_path: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """Of tables of ids."""
    monkeypatch.setattr(hash_tables, "_RANGE_ENTRIES", 50)
    again = [*documents(range(200)), *documents(range(7, 9), "more"), *documents(range(8, 9), "most")]
    sources = lay(tmp_path, 0, a=again, b=documents(range(195, 300)))
    said = []
    for limits in ({}, {"max_reads": 60, "merge_files": files}):
        assert job(tmp_path, "build", sources, block_mb=0.001, **limits) == 0
        said.append(capsys.readouterr().err)
        shutil.rmtree(tmp_path / "out")
    told = [[line for line in each.splitlines() if " ids " in line] for each in said]
    assert told[0] == told[1] and len(told[0]) == 2
    assert "comparison of ids: " in said[1] and "comparison of ids: " not in said[0]


def test_ids_of_documents_that_are_taken_out_are_none(tmp_path: pathlib.Path, capsys: Capture) -> None:
    for folder, text, code in ((tmp_path / "same", "words", 0), (tmp_path / "other", "text", 2)):
        folder.mkdir()
        sources = lay(folder, a=documents(range(200)), b=[*documents(range(150, 160), text), *documents(range(300, 400))])
        assert job(folder, "build", sources) == 2
        assert "Take them out of one source, or set duplicates.remove: documents; " in capsys.readouterr().err
        again = ["build", str(folder / "config.yaml"), "--set", "duplicates.remove=documents", "--overwrite", "--direct_num_workers=1"]
        assert cli.main(again) == code
        error = capsys.readouterr().err
        assert ("10 ids are in both sources 'a' and 'b'" in error and "Take them out of one source; " in error) == bool(code)


def test_nothing_is_compared_without_an_id_field(tmp_path: pathlib.Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.build.CheckIds", None)
    sources = lay(tmp_path, a=documents(range(200)), b=documents(range(190, 300), "text"))
    for source in sources:
        del source["id_field"]
    assert job(tmp_path, "build", sources) == 0
    assert " id" not in capsys.readouterr().err


def test_what_ranges_found_adds_up_in_any_order() -> None:
    one = {(0, 1): Repeated(ids=2, documents=0, place=(3, 1), example="late")}
    two = {
        (0, 1): Repeated(ids=1, documents=0, place=(0, 9), example="early"),
        (1, 1): Repeated(ids=1, documents=4, place=(5, 5), example="x"),
    }
    assert add([one, two]) == add([two, {}, one])
    assert add([one, two])[0, 1] == Repeated(ids=3, documents=0, place=(0, 9), example="early")
    assert add([]) == {}
