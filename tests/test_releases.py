"""Wheels and source archives of both packages, installed as users install them, in each Python that they name: `make test-releases`.

Each Python has an environment for the job and one for the trainer. The job's trains a tokenizer, builds, verifies and shows a small
dataset; the trainer's reads it. A Python that this machine does not have is skipped by name.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

import tokenreel
from tests import demo_text, releases
from tests.conftest import tree_digest

FOLDER = os.environ.get("TOKENREEL_RELEASES")  # for the environments, which `make test-releases` names
pytestmark = [pytest.mark.releases, pytest.mark.skipif(FOLDER is None, reason="makes environments of a gigabyte: `make test-releases`")]
OLDER = "3.10"
TOKENIZER = {
    "output": "tokenizer",
    "sources": [{"files": ["text"]}],
    "options": {"model_type": "unigram", "vocab_size": 800, "num_threads": 1},
}
DATASET = {
    "output": "dataset",
    "sources": [{"files": ["text"], "id_field": "id", "metadata_fields": ["module"]}],
    "vocabulary": {"path": "tokenizer/tokenizer.model"},
    "splits": {"validation": "10%"},
    "packing": {"seq_len": 128},
    "shards": {"examples": 200},
}
REPLAY = """
import hashlib, sys, tokenreel
digest = hashlib.sha256()
for batch in tokenreel.load(sys.argv[1]).batches(8, seed=0, epochs=1):
    for name in sorted(batch):
        digest.update(batch[name].tobytes())
print(tokenreel.__version__, digest.hexdigest())
"""
RECORDS = """
import importlib.metadata, json, sys
files = importlib.metadata.distribution(sys.argv[1]).files
print(json.dumps(sorted(str(file) for file in files if file.hash and ".dist-info" not in str(file) and file.suffix != ".pyc")))
"""
NAMES = "import importlib.metadata as m; print(*sorted(d.metadata['Name'] for d in m.distributions()))"


def clean() -> dict[str, str]:
    """The variables of this process, without those that name its Python or this project."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYENV_VERSION", "VIRTUAL_ENV", "TOKENREEL"))
    }


def run(*command: str | os.PathLike[str], folder: pathlib.Path | str = "/") -> str:
    """Runs a command in a folder far from the clone; returns what it prints."""
    result = subprocess.run(list(map(str, command)), cwd=folder, env=clean(), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@functools.cache
def interpreter(version: str) -> str | None:
    """Finds a Python of a version that can make environments: this one, those of the search path, those of pyenv."""
    name = f"python{version}"
    places = [pathlib.Path(folder, name) for folder in os.get_exec_path()]
    pyenv = pathlib.Path(os.environ.get("PYENV_ROOT") or pathlib.Path.home() / ".pyenv")
    for path in [pathlib.Path(sys._base_executable), *places, *sorted(pyenv.glob(f"versions/{version}.*/bin/{name}"))]:  # type: ignore[attr-defined]
        try:
            command = [path, "-c", "import ensurepip, sys, venv; print('{}.{}'.format(*sys.version_info))"]
            if subprocess.run(command, env=clean(), capture_output=True, text=True, check=False).stdout.strip() == version:
                return str(path)
        except OSError:  # not there
            continue
    return None


@dataclasses.dataclass
class Environment:
    """A virtual environment with one of our packages in it."""

    folder: pathlib.Path
    version: str

    @property
    def programs(self) -> pathlib.Path:
        """Where its commands are."""
        return self.folder / "bin"

    def pip(self, *arguments: str | os.PathLike[str]) -> str:
        """Runs its pip."""
        return run(self.programs / "python", "-m", "pip", "--disable-pip-version-check", *arguments)

    def python(self, program: str, *arguments: str | os.PathLike[str], folder: pathlib.Path | str = "/") -> str:
        """Runs a program with its Python, which finds nothing but what is installed."""
        return run(self.programs / "python", "-P", "-c", program, *arguments, folder=folder)


def environment(version: str, name: str, package: pathlib.Path) -> Iterator[Environment]:
    """Makes an environment with a package and what it asks for; removes it afterwards."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this machine")
    folder = pathlib.Path(str(FOLDER)) / f"{name}-{version}"
    run(python, "-m", "venv", folder)
    made = Environment(folder, version)
    made.pip("install", "--quiet", package)
    yield made
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=releases.declared("setup.py"))
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[pathlib.Path, pathlib.Path]]:
    """(source archive, wheel) of both packages."""
    folder = tmp_path_factory.mktemp("archives")
    return {"tokenreel": releases.job(folder / "job"), "tokenreel-loader": releases.trainer(folder / "trainer")}


@pytest.fixture(scope="module")
def job(version: str, archives: dict[str, tuple[pathlib.Path, pathlib.Path]]) -> Iterator[Environment]:
    yield from environment(version, "job", archives["tokenreel"][1])


@pytest.fixture(scope="module")
def trainer(version: str, archives: dict[str, tuple[pathlib.Path, pathlib.Path]]) -> Iterator[Environment]:
    yield from environment(version, "trainer", archives["tokenreel-loader"][1])


@pytest.fixture(scope="module")
def work(job: Environment, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a dataset that the job's command made of the documentation that Python carries."""
    folder = tmp_path_factory.mktemp("work")
    demo_text.write(folder / "text")
    (folder / "tokenizer.yaml").write_text(json.dumps(TOKENIZER))
    (folder / "dataset.yaml").write_text(json.dumps(DATASET))
    run(job.programs / "tokenreel", "train-tokenizer", "tokenizer.yaml", folder=folder)
    run(job.programs / "tokenreel", "build", "dataset.yaml", "--direct_num_workers=1", folder=folder)
    return folder


@pytest.fixture(scope="module")
def shards() -> dict[str, str]:
    """The digests of the shards that the first Python made."""
    return {}


def test_the_job_builds_a_dataset(job: Environment, work: pathlib.Path, shards: dict[str, str]) -> None:
    """It is sound, and each Python writes the same bytes."""
    assert "No broken requirements" in job.pip("check")
    assert run(job.programs / "tokenreel", "--version").split() == ["tokenreel", tokenreel.__version__]
    assert "sound." in run(job.programs / "tokenreel", "verify", "dataset", folder=work)
    assert "train" in run(job.programs / "tokenreel", "inspect", "dataset", "--count", "1", "--provenance", folder=work)
    made = {name: digest for name, digest in tree_digest(work / "dataset").items() if "tfrecord" in name}
    assert len(made) > 2
    assert made == (shards or made)
    shards.update(made)


def test_the_licences_of_what_the_job_brings_are_named(job: Environment) -> None:
    table = run(job.programs / "python", "-m", "tests.licences", folder=releases.ROOT)
    assert {"apache-beam", "numba", "numpy"} <= {line.split()[0] for line in table.splitlines()}


def test_the_trainer_reads_the_dataset(trainer: Environment, job: Environment, work: pathlib.Path) -> None:
    """With NumPy and the CRC alone, and to the same batches as beside the job."""
    assert "No broken requirements" in trainer.pip("check")
    installed = set(trainer.python(NAMES).split()) - {"pip", "setuptools"}
    assert installed == {"google-crc32c", "numpy", "tokenreel-loader"}
    assert "sound." in run(trainer.programs / "tokenreel-verify", "dataset", folder=work)
    read = trainer.python(REPLAY, "dataset", folder=work)
    assert read.split()[0] == tokenreel.__version__
    assert read == job.python(REPLAY, "dataset", folder=work)


@pytest.mark.parametrize("package", ["tokenreel", "tokenreel-loader"])
def test_the_source_archive_installs_the_same_files(
    package: str, archives: dict[str, tuple[pathlib.Path, pathlib.Path]], job: Environment, trainer: Environment
) -> None:
    """pip makes a wheel of it by itself, with what pyproject.toml asks for."""
    place = job if package == "tokenreel" else trainer
    before = place.python(RECORDS, package)
    assert len(json.loads(before)) > 100
    place.pip("uninstall", "--quiet", "--yes", package)
    place.pip("install", "--quiet", archives[package][0])
    assert place.python(RECORDS, package) == before
    assert "No broken requirements" in place.pip("check")
    assert place.python("import tokenreel; print(tokenreel.__version__)").strip() == tokenreel.__version__


@pytest.mark.parametrize("package", ["tokenreel", "tokenreel-loader"])
def test_an_older_python_is_refused(package: str, archives: dict[str, tuple[pathlib.Path, pathlib.Path]], tmp_path: pathlib.Path) -> None:
    python = interpreter(OLDER)
    if python is None:
        pytest.skip(f"no Python {OLDER} on this machine")
    command = [python, "-m", "pip", "install", "--no-deps", "--target", str(tmp_path), str(archives[package][1])]
    result = subprocess.run(command, env=clean(), capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert f"requires a different Python: {OLDER}" in result.stderr
