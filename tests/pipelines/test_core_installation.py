"""The command in an environment that holds what setup.py asks for without extras, as a user installs it: `make test-core`.

Without Google's packages Beam warns when it is imported, and the tests' own environment holds some of them.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipelines.test_mistakes import GOOD, MODES, OTHER, message, write_config, write_lines

Run = Callable[..., subprocess.CompletedProcess[str]]
CORE = os.environ.get("TOKENREEL_CORE")  # the command to start; `make test-core` names it
pytestmark = [pytest.mark.core, pytest.mark.skipif(CORE is None, reason="needs an installation without extras: `make test-core`")]


@pytest.fixture
def tokenreel(tmp_path: pathlib.Path) -> Run:
    """Runs the installed command in a folder, with nothing of this environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "TOKENREEL"))}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [os.path.abspath(CORE or ""), *arguments]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300)

    return run


def test_nothing_but_core_is_installed() -> None:
    program = "import importlib.util as util; print([name for name in ('apitools', 'tokenizers', 'pytest') if util.find_spec(name)])"
    python = pathlib.Path(CORE or "").with_name("python")
    assert subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("options", [MODES["in threads"], MODES["in processes"]], ids=["threads", "processes"])
def test_a_build_says_only_what_is_ours(tokenreel: Run, tmp_path: pathlib.Path, options: list[str]) -> None:
    """It began with "WARNING:root:apitools not found, and bigquery client libraries are not available ..."."""
    write_lines(tmp_path / "a.jsonl", GOOD)
    result = tokenreel("build", write_config(tmp_path, "a.jsonl"), *options)
    assert result.returncode == 0, result.stderr
    assert all(line.startswith("tokenreel: ") for line in result.stderr.splitlines()), result.stderr


@pytest.mark.parametrize("options", [MODES["in threads"], MODES["in processes"]], ids=["threads", "processes"])
def test_what_a_worker_raises_is_one_message(tokenreel: Run, tmp_path: pathlib.Path, options: list[str]) -> None:
    pq.write_table(pa.Table.from_pylist(GOOD), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist(OTHER), tmp_path / "b.parquet")
    result = tokenreel("build", write_config(tmp_path, "*.parquet", source={"format": "parquet"}), *options)
    assert "b.parquet: has no column 'text'" in message(result, 2)
    assert all(line.startswith("tokenreel: ") for line in result.stderr.splitlines()), result.stderr
