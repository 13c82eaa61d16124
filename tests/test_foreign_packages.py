"""A user's own `transforms/`, `pipelines/` or `tokenreel.py` on the path is not ours, and breaks none of our commands."""

from __future__ import annotations

import importlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from tests import layering, verification_datasets
from tests.releases import CODE, IGNORED, START

ROOT = layering.ROOT
THEIRS = "raise SystemExit(f'{__file__} is not the package that was meant')\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A working directory with modules of the names of our packages."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("transforms", "pipelines"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(THEIRS)
    (folder / "tokenreel.py").write_text(THEIRS)
    return folder


def install(folder: pathlib.Path, *names: str) -> pathlib.Path:
    """A folder that holds what a wheel puts into site-packages."""
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=IGNORED)
        else:
            shutil.copy(ROOT / name, folder / pathlib.PurePath(name).name)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return install(tmp_path_factory.mktemp("site"), *CODE, START)


def script(target: str) -> list[str]:
    """What a console script does: its own folder is on the path, the working directory is not."""
    return [sys.executable, "-P", "-c", f"import sys; from {START.removesuffix('.py')} import {target}; sys.exit({target}())"]


def run(command: Sequence[str], cwd: pathlib.Path, *path: pathlib.Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("mode", ["multi_processing", "in_memory"])
def test_the_command_and_its_workers_import_ours(
    mode: str, project: pathlib.Path, site: pathlib.Path, write_config: Callable[..., str], tmp_path: pathlib.Path
) -> None:
    """PYTHONPATH has the user's folders before what is installed, and the working directory has them, too."""
    workers = "2" if mode == "multi_processing" else "1"
    options = [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}"]
    result = run([*script("main"), "build", write_config(), *options], project, project, site)
    assert result.returncode == 0, result.stderr
    assert "fingerprint: " in result.stdout
    assert run([*script("main"), "verify", str(tmp_path / "dataset")], project, project, site).returncode == 0


def test_a_module_of_ours_finds_the_others(project: pathlib.Path, site: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """`python -m pipelines.build` puts the working directory before everything else. A `pipelines` there is another module altogether."""
    shutil.copytree(project / "transforms", tmp_path / "transforms")
    shutil.copy(project / "tokenreel.py", tmp_path)
    result = run([sys.executable, "-m", "pipelines.build", "--help"], tmp_path, site)
    assert result.returncode == 0, result.stderr
    assert "YAML file with the settings of the build" in result.stdout


def test_programs_of_the_trainer_import_ours(project: pathlib.Path, tmp_path: pathlib.Path) -> None:
    site = install(tmp_path / "site", "tokenreel", f"tokenreel/{START}")
    verification_datasets.make(tmp_path / "dataset")
    for program in ("verify", "inspect"):
        result = run([*script(program), str(tmp_path / "dataset")], project, project, site)
        assert result.returncode == 0, result.stderr
        assert result.stdout


def test_a_package_that_is_imported_already_is_named(project: pathlib.Path, site: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "transforms").mkdir()
    (tmp_path / "transforms/__init__.py").touch()
    for theirs, shown in (("transforms", tmp_path), ("transforms as t, pipelines", tmp_path)):
        result = run([sys.executable, "-c", f"import {theirs}; import pipelines.cli"], tmp_path, tmp_path, site)
        assert result.returncode == 1
        last = result.stderr.splitlines()[-1]
        assert last.startswith(f"ImportError: transforms is imported from {shown} already, and tokenreel needs its own"), result.stderr


def test_both_wheels_start_alike() -> None:
    assert (ROOT / "tokenreel" / START).read_bytes() == (ROOT / START).read_bytes()


def test_ours_are_preferred_once() -> None:
    own_packages = importlib.import_module("pipelines.own_packages")
    own_packages.prefer()
    assert [type(finder).__name__ for finder in sys.meta_path].count("_Beside") == 1
    assert tuple(own_packages.NAMES) == CODE
