"""What the image holds, tested outside of it: the lock file, the source archive, and `main.py` as a user without rights or a home.

`make test-templates` makes the environment: what `lock.txt` names, and the package from an archive that is made as Beam makes it.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import pytest

from pipelines import cli
from pipelines.templates import launching
from tests import buckets, cloud, layering
from tests.conftest import tree_digest
from tokenreel.storage import files

FOLDER = layering.ROOT / "dataflow_templates"
INSTALLED = os.environ.get("TOKENREEL_TEMPLATES")  # the environment, which `make test-templates` names
NOBODY = 65534
SETTINGS = {
    "output": "made",
    "sources": [{"files": ["text.jsonl"]}],
    "vocabulary": {"path": "some.model"},
    "packing": {"seq_len": 64},
    "shards": {"examples": 60},
    "execution": {"block_mb": 0.02},
}
Run = Callable[..., subprocess.CompletedProcess[str]]
needs_installation = pytest.mark.skipif(INSTALLED is None, reason="needs an installation of the lock file: make test-templates")


def pinned() -> dict[str, str]:
    """The versions in the lock file, by package."""
    text = (FOLDER / "lock.txt").read_text(encoding="utf-8")
    return {normal(name): version for name, version in re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^ ;]+)", text, re.MULTILINE)}


def normal(name: str) -> str:
    """The name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_lock_file_and_the_image_name_the_same_beam() -> None:
    """What is installed over the Beam of the base image is that Beam; every line has hashes, since pip refuses the whole otherwise."""
    text = (FOLDER / "lock.txt").read_text(encoding="utf-8")
    (base,) = re.findall(r"^FROM apache/beam_python3.11_sdk:(\S+)$", (FOLDER / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned()["apache-beam"] == base
    entries = re.split(r"\n(?=\w)", text)
    assert len(entries) > 100 and all("--hash=sha256:" in entry for entry in entries if "==" in entry)
    assert {"google-cloud-dataflow-client", "numba", "sentencepiece", "setuptools", "tokenizers", "wheel"} <= set(pinned())


def test_the_lock_file_is_within_what_the_package_asks_for() -> None:
    """A new bound in setup.py without a new lock file fails here, where `packaging` comes with pytest."""
    from packaging.requirements import Requirement

    wanted = re.findall(
        r'^    "([a-z0-9-]+(?:\[gcp\])?[<>=~!][^"]+)"', (layering.ROOT / "setup.py").read_text(encoding="utf-8"), re.MULTILINE
    )
    locked, checked = pinned(), 0
    for requirement in map(Requirement, wanted):
        if requirement.name in ("apache-beam", "google-cloud-storage", "numba", "numpy", "pyarrow", "sentencepiece", "zstandard", "psutil"):
            assert requirement.specifier.contains(locked[requirement.name]), requirement
            checked += 1
    assert checked >= 8


def test_the_image_copies_all_that_the_package_is_made_of() -> None:
    copied = {word for line in re.findall(r"^COPY (?!--)(.*)$", (FOLDER / "Dockerfile").read_text(), re.MULTILINE) for word in line.split()}
    assert {"tokenreel", "transforms", "pipelines", "configs", "setup.py", "pyproject.toml", "tokenreel_command.py"} <= copied
    assert all((layering.ROOT / name).exists() for name in copied if not name.startswith("/"))


def test_no_worker_asks_a_package_index() -> None:
    """Dataflow installs what these variables name, in each launch and in each worker."""
    lines = [line for line in (FOLDER / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    assert not any("REQUIREMENTS_FILE" in line or "SETUP_FILE" in line for line in lines)
    assert not list(FOLDER.glob("requirements*"))


@pytest.mark.templates
@needs_installation
def test_a_linter_finds_nothing_in_the_dockerfile(tmp_path: pathlib.Path) -> None:
    """Among its rules: images with a tag, a pinned pip, no caches left behind, no last user root."""

    def lint(path: pathlib.Path) -> str:
        found = subprocess.run([f"{INSTALLED}/linter/bin/hadolint", "--no-color", str(path)], capture_output=True, text=True, check=False)
        assert not found.stderr and (found.returncode == 0) == (not found.stdout)
        return found.stdout

    assert lint(FOLDER / "Dockerfile") == ""
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian\nRUN pip install numpy\nUSER root\n")
    assert all(rule in lint(bad) for rule in ("DL3006", "DL3013", "DL3042", "DL3002")), "it finds what is wrong"


@pytest.fixture(scope="module")
def loops() -> Iterator[pathlib.Path]:
    """The loops of the tokenizer, compiled as the image has them, where others can read them, which they cannot in pytest's folders."""
    with tempfile.TemporaryDirectory() as top:
        folder = pathlib.Path(top) / "loops"
        compile_loops(folder)
        subprocess.run(["chmod", "-R", "a+rX", top], check=True)
        yield folder


def compile_loops(folder: pathlib.Path) -> str:
    command = [f"{INSTALLED}/bin/python", "-m", "tokenreel.vocabularies.unit_memo.kernels"]
    environment = {**image_environment(folder), "PATH": os.environ["PATH"]}
    return subprocess.run(command, env=environment, cwd=folder.parent, capture_output=True, text=True, check=True).stdout


def image_environment(loops: pathlib.Path) -> dict[str, str]:
    """The variables that the Dockerfile sets."""
    text = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    found = dict(re.findall(r'(\w+)="?([^\s"]*)"?', " ".join(re.findall(r"^ENV (NUMBA.*)$", text, re.MULTILINE))))
    assert set(found) == {"NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_CACHE_DIR"}
    return {**found, "NUMBA_CACHE_DIR": str(loops)}


@pytest.fixture
def as_nobody(loops: pathlib.Path) -> Iterator[Run]:
    """Runs a program of the environment as a user who owns nothing and has an empty home, where the tests may change users."""
    work = pathlib.Path(tempfile.mkdtemp())
    (work / "home").mkdir()
    shutil.copy(FOLDER / "main.py", work)
    subprocess.run(["chmod", "-R", "a+rX", str(work)], check=True)
    other = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    kept = {name: value for name, value in os.environ.items() if name.startswith(("GCE_", "STORAGE_", "PATH"))}

    def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**kept, **image_environment(loops), "HOME": str(work / "home"), **variables}
        return subprocess.run(
            [*other, f"{INSTALLED}/bin/python", *command],
            cwd=work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    try:
        yield run
    finally:
        assert not list((work / "home").iterdir()), "nothing was written to the home"
        shutil.rmtree(work)


@pytest.mark.templates
@needs_installation
def test_the_lock_file_is_what_is_installed() -> None:
    assert subprocess.run([f"{INSTALLED}/bin/python", "-m", "pip", "check"], capture_output=True, check=False).returncode == 0
    listing = subprocess.run([f"{INSTALLED}/bin/python", "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    installed = {normal(package["name"]): package["version"] for package in json.loads(listing.stdout)}
    assert pinned().items() <= installed.items() and "tokenreel" in installed and "pytest" not in installed


@pytest.mark.templates
@needs_installation
def test_a_worker_compiles_nothing(as_nobody: Run, loops: pathlib.Path) -> None:
    shown = as_nobody("-m", "tokenreel.vocabularies.unit_memo.kernels")
    assert shown.returncode == 0 and " 0 compiled" in shown.stdout, shown


@pytest.mark.templates
@needs_installation
def test_main_submits_a_job_whose_workers_run_in_the_environment(
    as_nobody: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, texts: list[str], unigram_model: str
) -> None:
    """`main.py` returns once the job is taken; the staged pipeline, run by workers of the installed archive, gives the local dataset."""
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:100]))
    (tmp_path / "some.model").write_bytes(pathlib.Path(unigram_model).read_bytes())
    (tmp_path / "config.yaml").write_text(json.dumps(SETTINGS))
    assert cli.main(["build", str(tmp_path / "config.yaml"), "--direct_num_workers=1"]) == 0
    with cloud.dataflow(monkeypatch) as service:
        for name in ("text.jsonl", "some.model", "config.yaml"):
            cloud.upload(tmp_path / name)
        names = ("GCE_METADATA_HOST", "GCE_METADATA_IP", "STORAGE_EMULATOR_HOST", launching.IMAGE)
        cloud_environment = {name: os.environ[name] for name in names}
        launched = as_nobody(
            "main.py", *(f"--{parameter}" for parameter in service.parameters(f"config={cloud.ROOT}/config.yaml")), **cloud_environment
        )
        assert launched.returncode == 0, launched.stderr
        assert f"job {service.identity(0)} on DataflowRunner https://console.cloud.google.com/dataflow/jobs/" in launched.stderr
        assert service.images() == {cloud.IMAGE}
        files.remove(f"{cloud.ROOT}/made/.tokenreel.lock")
        built = as_nobody(
            *("-m", "pipelines.build", f"{cloud.ROOT}/config.yaml", "--direct_running_mode=multi_processing", "--direct_num_workers=2"),
            **cloud_environment,
        )
        assert built.returncode == 0, built.stderr
        assert "compil" not in built.stderr
        buckets.download(f"{cloud.ROOT}/made", tmp_path / "copy")
    assert tree_digest(tmp_path / "copy") == tree_digest(tmp_path / "made")
