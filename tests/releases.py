"""Builds what is released: the source archives and the wheels of the job (setup.py) and of the trainer (tokenreel/pyproject.toml)."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

ROOT = pathlib.Path(__file__).parents[1]
CODE = ("tokenreel", "transforms", "pipelines")
START = "tokenreel_command.py"  # at the top of both, where the commands begin
IGNORED = shutil.ignore_patterns("__pycache__", "build", "dist", "*.egg-info", ".*")


def _build(hook: str, folder: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """Runs a PEP 517 hook of setuptools as pip does, but with the packages of this environment: no network."""
    program = f"from setuptools import build_meta; print(build_meta.{hook}({str(out)!r}))"
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return out / result.stdout.splitlines()[-1]


def _archives(source: pathlib.Path, folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Makes the source archive of a copy of the project, and the wheel from that archive alone."""
    archive = _build("build_sdist", source, folder)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked")  # made a moment ago; early releases of 3.11 know no filter
    (unpacked,) = (folder / "unpacked").iterdir()
    return archive, _build("build_wheel", unpacked, folder)


def job(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Makes the job's source archive, which Dataflow workers install too, and its wheel, in an empty folder."""
    source = folder / "source"
    source.mkdir(parents=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", START):
        shutil.copy(ROOT / name, source)
    for name in (*CODE, "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=IGNORED)
    return _archives(source, folder)


def trainer(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Makes the trainer's source archive and wheel, from a copy of its folder and nothing else, in an empty folder."""
    shutil.copytree(ROOT / "tokenreel", folder / "source", ignore=IGNORED)
    return _archives(folder / "source", folder)


def declared(name: str) -> list[str]:
    """Reads the Pythons that a file of the two says it was tried on, such as `["3.11", "3.12"]`."""
    return re.findall(r'"Programming Language :: Python :: (\d+\.\d+)"', (ROOT / name).read_text(encoding="utf-8"))
