"""Builds of a few documents: begun with less, and the same dataset."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest

from pipelines import build
from tests.conftest import tree_digest
from tokenreel.vocabularies.sentencepiece import vocabulary

# Not loaded by a build of a few documents: what compiles and what reads the model for the memo.
BUILD = """
import sys
from pipelines import build
assert build.main(sys.argv[1:]) == 0
print(sorted({"numba", "llvmlite", "scipy"} & set(sys.modules)))
"""


@pytest.fixture
def twenty(tmp_path: pathlib.Path, texts: list[str]) -> pathlib.Path:
    path = tmp_path / "twenty.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:20]))
    return path


def test_a_small_build_is_that_of_threads_and_of_the_memo(
    twenty: pathlib.Path,
    write_config: Callable[..., str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_config(sources=[{"files": [str(twenty)]}])
    found = subprocess.run([sys.executable, "-c", BUILD, config], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert "in this process" in found.stderr and found.stdout.splitlines()[-1] == "[]"
    small = tree_digest(tmp_path / "dataset")

    monkeypatch.setattr(vocabulary, "_FEW_BYTES", 0)
    arguments = ["--output", str(tmp_path / "other"), "--direct_num_workers=2", "--direct_running_mode=multi_threading"]
    assert build.main([config, *arguments]) == 0
    assert "in 2 threads" in capsys.readouterr().err
    assert tree_digest(tmp_path / "other") == small
