"""What the tests beside SeqIO share: the lines of counts at the end of a run, and SeqIO's own tests."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest

_COUNTED = "of SeqIO"


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[[str, int, int], None]:
    """Adds to a line at the end of the run: `counted("converters", 83, 84)` becomes `converters: 83 of 84`."""

    def count(name: str, done: int, total: int) -> None:
        request.node.user_properties.append((_COUNTED, (name, done, total)))

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints the counts; with several processes they come with the reports."""
    lines: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0])
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for key, value in report.user_properties:
                if key == _COUNTED:
                    name, done, total = value
                    lines[name][0] += done
                    lines[name][1] += total
    for name, (done, total) in lines.items():
        terminalreporter.write_line(f"{name}: {done:,} of {total:,}")


@pytest.fixture(scope="module")
def run_seqios_tests(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, str]]:
    """Runs tests that SeqIO was installed with, under one of the plugins of this folder: their outcomes by name.

    Takes the plugin's module and the tests, `file.py` or `file.py::Class`.
    """
    folder = tmp_path_factory.mktemp("seqio")

    def run(plugin: str, *tests: str) -> dict[str, str]:
        import seqio

        installed = pathlib.Path(seqio.__file__).parent
        command = [sys.executable, "-m", "pytest", "-q", "-p", f"tests.interop.{plugin}", "-p", "no:cacheprovider", "--noconftest"]
        command += ["--rootdir", str(folder), *(str(installed / test) for test in tests)]
        outcomes = folder / "outcomes.json"
        environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2]), "TOKENREEL_OUTCOMES": str(outcomes)}
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=600)
        assert outcomes.exists(), f"{result.stdout[-4000:]}{result.stderr[-4000:]}"
        found: dict[str, str] = json.loads(outcomes.read_text(encoding="utf-8"))
        return found

    return run
