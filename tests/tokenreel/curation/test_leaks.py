"""The same text in two sources, given to the command."""

from __future__ import annotations

import os
import pathlib
import random
from typing import Any

import pytest

from tests.pipelines.test_lost_text import good, job

Capture = pytest.CaptureFixture[str]


def sources(folder: pathlib.Path, **more: Any) -> list[dict[str, Any]]:
    found = []
    for name, content in (("a", good(300)), ("b", good(200, 300))):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"{name}.jsonl").write_bytes(content)
        found.append({"name": name, "files": [str(folder / name)], "splits": {"validation": 0.3}, **more})
    return found


@pytest.mark.parametrize("command", ["build", "train-tokenizer"])
@pytest.mark.parametrize("kind", ["link", "copy", "both name it"])
def test_a_file_in_two_sources_is_an_error_with_held_out_splits(tmp_path: pathlib.Path, capsys: Capture, command: str, kind: str) -> None:
    given = sources(tmp_path)
    path = tmp_path / "a/a.jsonl"
    if kind == "link":
        os.symlink(path, tmp_path / "b/x.jsonl")
    elif kind == "copy":
        (tmp_path / "b/x.jsonl").write_bytes(path.read_bytes())
    else:
        given[1]["files"].append(str(path))
    assert job(tmp_path, command, given) == 2
    error = capsys.readouterr().err
    assert f"1 file is in both sources 'a' and 'b', such as {path} and " in error
    assert "what validation should hold out may be trained on" in error and "execution.allow_leaks: true" in error
    assert not (tmp_path / "out").exists()


def test_what_is_shared_without_a_leak_is_only_told(tmp_path: pathlib.Path, capsys: Capture) -> None:
    given = sources(tmp_path)
    (tmp_path / "b/x.jsonl").write_bytes((tmp_path / "a/a.jsonl").read_bytes())
    assert job(tmp_path, "build", given, allow_leaks=True) == 0
    assert "1 file is in both sources 'a' and 'b'" in capsys.readouterr().err
    for source in given:
        del source["splits"]
    (tmp_path / "plain").mkdir()
    assert job(tmp_path / "plain", "build", given) == 0
    assert "1 file is in both sources 'a' and 'b'" in capsys.readouterr().err


def test_large_files_of_one_size_are_told_apart(tmp_path: pathlib.Path) -> None:
    from tokenreel.config.corpus import SourceConfig
    from tokenreel.curation.leaks import _alike
    from tokenreel.sources.listing import list_files

    data = random.Random(1).randbytes(3 << 20)
    other = bytearray(data)
    other[-1] ^= 1
    for name, content in (("a", data), ("b", data), ("c", bytes(other))):
        (tmp_path / name).write_bytes(content)
    found = [list_files(SourceConfig(files=(str(tmp_path / name),), name=name, format="lines")) for name in "abc"]
    assert [[source for source, _ in files] for files in _alike(found)] == [[0, 1]]
    assert list(_alike(found[:1] * 1)) == []
