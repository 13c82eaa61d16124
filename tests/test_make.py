"""`make` on machines that lack something: a message that says what to do."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def make(folder: pathlib.Path, tools: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs make in a copy of the Makefile, where the search path holds only what is named."""
    for name in ("Makefile", "setup.py"):
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder)
    path = folder / "path"
    path.mkdir(exist_ok=True)
    for name in ("bash", "touch", "rm", "find"):
        if not (path / name).exists():
            (path / name).symlink_to(str(shutil.which(name)))
    for name, script in tools.items():
        (path / name).write_text(script)
        (path / name).chmod(0o755)
    command = [str(shutil.which("make")), *arguments]
    return subprocess.run(command, cwd=folder, env={"PATH": str(path)}, capture_output=True, text=True, check=False)


OLD = "#!/usr/bin/env bash\nexit 1\n"  # the version check fails
NO_VENV = "#!/usr/bin/env bash\n[[ $1 == -c ]]\n"  # new enough, but -m venv fails
FAKE = """#!/usr/bin/env bash
# Stands for Python and for the environment it makes: notes what it is asked to do.
echo "$0 $*" >> calls
if [[ $1 == -m && $2 == venv ]]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; fi
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ({}, "needs Python 3.11 or later"),
        ({"python3": OLD, "python3.11": OLD}, "needs Python 3.11 or later"),
        ({"python3": NO_VENV}, "apt install python3-venv"),
    ],
    ids=["none", "old", "no_venv"],
)
def test_what_is_missing_is_said(tmp_path, tools, message):
    result = make(tmp_path, tools, "demo")
    assert result.returncode != 0
    assert message in result.stderr


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_second_run_installs_nothing_again(tmp_path):
    tools = {
        "python3": FAKE,
        "mkdir": f'#!/bin/sh\nexec {shutil.which("mkdir")} "$@"\n',
        "cp": f'#!/bin/sh\nexec {shutil.which("cp")} "$@"\n',
    }

    def calls(*arguments):
        result = make(tmp_path, tools, *arguments)
        assert result.returncode == 0, result.stderr
        lines = (tmp_path / "calls").read_text().splitlines()
        (tmp_path / "calls").unlink()
        return [line.split(" ", 1)[1] for line in lines if " -c " not in line]

    first = calls("demo")
    assert first[0] == "-m venv .venv"
    assert first[1].startswith("-m pip install") and first[1].endswith("--editable .")
    assert first[2:] == ["examples/demo.py"]
    assert calls("demo") == ["examples/demo.py"]
    third = calls("test")
    assert third[0].endswith("--editable .[dev]") and "pytest" in third[1]
    assert len(calls("test")) == 1
    os.utime(tmp_path / "setup.py", (2**31, 2**31))  # newer than everything
    assert any("pip install" in line for line in calls("demo"))
