"""What other packages write is read exactly, or as they read it themselves."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.reading import read
from tests.writers.nasty import IDS, TEXTS, Case

pytestmark = pytest.mark.writers

ROOT = pathlib.Path(__file__).parents[2]
WRITERS = ["arrow", "datasets", "duckdb", "fastparquet", "pandas", "polars", "python", "spark"]
OLDER = sorted(path.name for path in (ROOT / ".venv-writers").glob("polars-*"))


def written(writer: str, folder: pathlib.Path) -> list[Case]:
    """Has a writer write its files, in a process of its own."""
    module, _, _ = writer.partition("-")
    paths = [str(ROOT)] if module == writer else [str(ROOT / ".venv-writers" / writer), str(ROOT)]
    environment = {**os.environ, "PYTHONPATH": ":".join(paths), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", f"tests.writers.with_{module}", str(folder)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    return [Case(**case) for case in json.loads((folder / "cases.json").read_text())]


@pytest.mark.parametrize("writer", [*WRITERS, *OLDER])
def test_every_file_is_read_as_it_was_written(tmp_path: pathlib.Path, writer: str) -> None:
    cases = written(writer, tmp_path / "files")
    assert cases
    wrong = {}
    for case in cases:
        # A row of CSV with a NUL is a dead letter: no dialect has a way to write one, and most readers stop there.
        readable = [not (case.format in ("csv", "tsv") and "\0" in text) for text in TEXTS]
        expected = {key: text for key, text, whether in zip(IDS, TEXTS, readable, strict=True) if whether}
        found = read(tmp_path / "files" / case.name, case.format, id_field="id", **case.settings)
        texts = dict(zip(found.ids.values(), found.values, strict=True))
        differing = [key for key in expected if texts.get(key) != expected[key]]
        lost = [key for key in differing if case.own is None or texts.get(key) != case.own.get(key)]
        if lost or texts.keys() - expected.keys() or len(found.faults) != readable.count(False):
            wrong[case.name] = {
                "texts": {key: (expected[key][:60], texts.get(key, "(none)")[:60]) for key in lost},
                "faults": [fault.message for fault in found.faults][:5],
                "more": sorted(texts.keys() - expected.keys()),
            }
        for key in set(differing) - set(lost):
            print(f"{writer} {case.name}: {expected[key]!r:.40} is read as its own reader has it: {texts.get(key)!r:.40}")
    assert not wrong, json.dumps(wrong, indent=1)
    print(f"{writer}: {len(cases)} files of {len(TEXTS)} texts, all read as written")


def test_three_versions_of_polars_were_tried() -> None:
    assert len(OLDER) == 2
