"""`make` on machines that lack something: a message that says what to do."""

import ast
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import yaml

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
if [[ $1 == -m && $2 == venv ]]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; fi
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
        "grep": f'#!/bin/sh\nexec {shutil.which("grep")} "$@"\n',
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
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests/test_it.py").write_text("pytestmark = pytest.mark.torch\n")
    (tmp_path / "tests/test_other.py").write_text("")
    fourth = calls("test-torch")
    assert fourth[0] == "-m venv .venv-torch" and fourth[1].endswith("--editable .[dev-torch]")
    assert fourth[2].endswith("-m torch or everywhere tests/test_it.py") and len(fourth) == 3
    assert len(calls("test-torch")) == 1
    (tmp_path / "tests/test_trainer.py").write_text("pytestmark = pytest.mark.trainers\n")
    (fifth,) = calls("test-trainers")  # in the environment of Torch
    assert fifth.endswith("-m trainers and not slow tests/test_trainer.py")
    os.utime(tmp_path / "setup.py", (2**31, 2**31))  # newer than everything
    assert any("pip install" in line for line in calls("demo"))


GO = """#!/usr/bin/env bash
# Stands for Go: notes where it is asked to install what, and does so unless the file `offline` is there.
echo "go $* to $GOBIN" >> calls
[[ ! -e offline ]]
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_engines_are_tested_where_go_is(tmp_path):
    tools = {"python3": FAKE, **{name: f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n' for name in ("mkdir", "cp", "grep", "timeout")}}

    def calls():
        result = make(tmp_path, tools, "test-engines")
        assert result.returncode == 0, result.stderr
        lines = (tmp_path / "calls").read_text().splitlines()
        (tmp_path / "calls").unlink()
        return result.stdout, [line for line in lines if line.startswith("go ") or " -m pytest " in line]

    said, found = calls()
    assert "Go is missing" in said and "Nothing was tested" in said and not found
    tools["go"] = GO
    (tmp_path / "offline").touch()
    said, found = calls()
    assert "Prism could not be built" in said and len(found) == 1
    (tmp_path / "offline").unlink()
    _, (go, tests) = calls()
    assert re.fullmatch(rf"go install github.com/apache/beam/sdks/v2/go/cmd/prism@v\S* to {tmp_path}/.venv/bin", go)
    assert tests.endswith("-m engines tests/pipelines/test_engines.py")
    assert len(calls()[1]) == 1  # built once


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_target_without_tests_fails(tmp_path):
    """A marker that was renamed in the tests alone leaves nothing to run, which must not look like success."""
    tools = {"python3": FAKE, **{name: f'#!/bin/sh\nexec {shutil.which(name)} "$@"\n' for name in ("mkdir", "cp", "grep")}}
    (tmp_path / "tests").mkdir()
    assert make(tmp_path, tools, "test-tensorflow").returncode != 0


def targets() -> dict[str, dict[str, str]]:
    """{target: its row} of the table in CONTRIBUTING.md."""
    lines = [line for line in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    names, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in lines[next(i for i, line in enumerate(lines) if "| target |" in line) :]
    )
    cells = [dict(zip(names, row, strict=True)) for row in rows if row[0].startswith("`make ")]
    return {row["target"].strip("`").removeprefix("make "): row for row in cells}


def test_the_table_of_targets_is_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert set(targets()) == set(phony.split()) - {"help"} == set(re.findall(r"echo 'make (\S+) ", makefile))


def test_the_table_says_what_continuous_integration_runs():
    run = re.findall(r"^make (.*)$", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name, row in targets().items() if row["in `.ci/run`"] == "yes"] == run
    minutes = [sum(map(int, targets()[name]["minutes: to install, to run"].split("+"))) for name in run]
    assert 0 < sum(minutes) <= 60


def test_what_is_light_is_under_three_gigabytes():
    assert all(float(targets()[name]["GB"]) < 3 for name in ("demo", "test", "check"))


FRAMEWORK_TEST = "import pytest\n@pytest.mark.torch\ndef test_it(): import torch\n"
WITHOUT_TORCH = """
import importlib.util
import sys
sys.modules["torch"] = None
importlib.util.find_spec = lambda name: None
from tests.conftest import pytest_collection_modifyitems
def pytest_configure(config): config.addinivalue_line("markers", "torch: t")
"""


@pytest.mark.parametrize(("required", "outcome", "code"), [("", "1 skipped", 0), ("tensorflow", "1 skipped", 0), ("torch", "1 failed", 1)])
def test_a_missing_framework_fails_where_it_is_required(tmp_path, required, outcome, code):
    (tmp_path / "conftest.py").write_text(WITHOUT_TORCH)
    (tmp_path / "test_it.py").write_text(FRAMEWORK_TEST)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKENREEL_REQUIRES": required, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, outcome in result.stdout) == (code, True), result.stdout


def test_no_test_hides_a_missing_installation():
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Attribute) and node.attr == "importorskip"), f"{path.name}:{node.lineno}"


def test_tests_import_what_their_environment_holds():
    """A test that another environment would have run fails in continuous integration alone: nobody has only what its target installs."""
    extras = {}
    for line in importlib.metadata.requires("tokenreel"):
        name = re.match(r"[\w-]+", line).group().replace("-", "_")
        extras.setdefault(name, set()).update(re.findall(r'extra == "(dev\S*)"', line))
    for path in (ROOT / "tests").rglob("test_*.py"):
        for test in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(test, ast.FunctionDef):
                continue
            marks = re.findall(r"pytest\.mark\.(\w+)", " ".join(map(ast.unparse, test.decorator_list)))
            targets = {f"dev-{mark}" for mark in marks if f"dev-{mark}" in extras["pytest"]}
            imported = [alias.name for node in ast.walk(test) if isinstance(node, ast.Import) for alias in node.names]
            imported += [node.module or "" for node in ast.walk(test) if isinstance(node, ast.ImportFrom)]
            for name in imported:
                holders = extras.get(name.partition(".")[0])
                assert not holders or targets <= holders, f"{path.name}: {test.name} imports {name}, which only {sorted(holders)} install"


def test_the_hooks_are_local_and_run_what_the_gate_runs():
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local" and {hook["language"] for hook in repository["hooks"]} == {"system"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(BIN)", ".venv/bin")
    for hook in repository["hooks"]:
        arguments = hook["entry"].replace(" --force-exclude", "").split()
        if hook["id"] == "layering":
            assert (ROOT / arguments[-1]).exists()
        else:
            assert " ".join(arguments) in makefile
