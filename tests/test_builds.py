"""The two wheels: the Beam job's (setup.py) and the trainer's (tokenreel/pyproject.toml) hold the same `tokenreel`."""

import configparser
import email
import importlib
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import tokenreel

ROOT = pathlib.Path(__file__).parents[1]
CODE = ("tokenreel", "transforms", "pipelines")
IGNORED = shutil.ignore_patterns("__pycache__", "build", "dist", "*.egg-info", ".*")


def build(hook: str, folder: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """Runs a PEP 517 hook of setuptools as pip does, but with the packages of this environment: no network."""
    program = f"from setuptools import build_meta; print(build_meta.{hook}({str(out)!r}))"
    result = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return out / result.stdout.splitlines()[-1]


def contents(wheel: pathlib.Path) -> tuple[set[str], email.message.Message, str]:
    """(files below the packages, metadata, entry points) of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        return {name for name in names if not name.startswith(info)}, metadata, archive.read(f"{info}/entry_points.txt").decode()


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The job's wheel, by way of the source archive that Dataflow workers install."""
    folder = tmp_path_factory.mktemp("job")
    source = folder / "source"
    source.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in CODE:
        shutil.copytree(ROOT / name, source / name, ignore=IGNORED)
    archive = build("build_sdist", source, folder)
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "unpacked")  # made a moment ago; early releases of 3.11 know no filter
    (unpacked,) = (folder / "unpacked").iterdir()
    return contents(build("build_wheel", unpacked, folder))


@pytest.fixture(scope="module")
def loader(tmp_path_factory):
    """The trainer's wheel, from a copy of its folder and nothing else."""
    folder = tmp_path_factory.mktemp("loader")
    shutil.copytree(ROOT / "tokenreel", folder / "tokenreel", ignore=IGNORED)
    return contents(build("build_wheel", folder / "tokenreel", folder))


def sources(*packages: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".typed"} and not {"build", "__pycache__"} & set(path.relative_to(ROOT).parts)
    }


def test_the_job_holds_every_module(job):
    assert job[0] == sources(*CODE)


def test_both_builds_hold_the_same_tokenreel(job, loader):
    assert loader[0] == {name for name in job[0] if name.startswith("tokenreel/")} == sources("tokenreel")


def test_both_have_the_version_of_the_package(job, loader):
    assert job[1]["Version"] == loader[1]["Version"]
    assert job[1]["Version"] == tokenreel.__version__
    assert (job[1]["Name"], loader[1]["Name"]) == ("tokenreel", "tokenreel-loader")


def commands(entry_points: str) -> dict[str, tuple[str, str]]:
    parser = configparser.ConfigParser()
    parser.read_string(entry_points)
    return {name: tuple(target.split(":")) for name, target in parser["console_scripts"].items()}


def test_the_commands_are_there(job, loader):
    assert set(commands(job[2])) == {"tokenreel"}
    own = {"inspect", "report", "verify", "when", "where"}
    assert set(commands(loader[2])) == {f"tokenreel-{name}" for name in own}
    for names, _, entry_points in (job, loader):
        for module, function in commands(entry_points).values():
            assert f"{module.replace('.', '/')}.py" in names
            assert callable(getattr(importlib.import_module(module), function))


def requirements(metadata: email.message.Message) -> dict[str, str]:
    """{name: range} of what is installed without any extra."""
    found = {}
    for line in metadata.get_all("Requires-Dist", []):
        requirement, _, marker = line.partition(";")
        if "extra" not in marker:
            name = requirement.rstrip("0123456789.,<>=! ")
            found[name] = requirement.removeprefix(name)
    return found


def test_the_trainer_needs_numpy_and_the_crc_alone(job, loader):
    wanted = requirements(loader[1])
    assert set(wanted) == {"numpy", "google-crc32c"}
    assert wanted.items() <= requirements(job[1]).items(), "the two builds ask for different ranges"
