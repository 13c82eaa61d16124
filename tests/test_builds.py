"""The two wheels: the Beam job's (setup.py) holds all of `tokenreel`, the trainer's (tokenreel/pyproject.toml) what reads datasets."""

import configparser
import email
import importlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import zipfile

import pytest

import tokenreel
from tests import demo_text, layering, releases, verification_datasets
from tests.releases import CODE, ROOT, START
from tokenreel.vocabularies import character_fitting


def contents(wheel: pathlib.Path) -> tuple[set[str], email.message.Message, str]:
    """(files below the packages, metadata, entry points) of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        return {name for name in names if not name.startswith(info)}, metadata, archive.read(f"{info}/entry_points.txt").decode()


@pytest.fixture(scope="module")
def job_wheel(tmp_path_factory):
    return releases.job(tmp_path_factory.mktemp("job"))[1]


@pytest.fixture(scope="module")
def job(job_wheel):
    return contents(job_wheel)


@pytest.fixture(scope="module")
def loader_wheel(tmp_path_factory):
    return releases.trainer(tmp_path_factory.mktemp("loader"))[1]


@pytest.fixture(scope="module")
def loader(loader_wheel):
    return contents(loader_wheel)


def sources(*packages: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix()
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".typed"} and not {"build", "__pycache__"} & set(path.relative_to(ROOT).parts)
    }


def recipes(*folders: str) -> list[str]:
    """The recipes and the configs of tokenizers, or only those of a pattern, by their paths."""
    return [
        path.relative_to(ROOT).as_posix()
        for pattern in folders or ("*", "tokenizers/*")
        for path in (ROOT / "configs").glob(f"{pattern}.yaml")
    ]


def test_the_job_holds_every_module(job):
    assert job[0] == sources(*CODE) | {START} | {f"pipelines/{name}" for name in recipes()}


def test_the_job_holds_every_recipe(job_wheel):
    with zipfile.ZipFile(job_wheel) as archive:
        for name in recipes():
            assert archive.read(f"pipelines/{name}") == (ROOT / name).read_bytes()


def test_a_recipe_runs_from_the_wheel(job_wheel, tmp_path):
    """Unpacked far from the clone, `tokenreel init` writes what the other commands run."""
    with zipfile.ZipFile(job_wheel) as archive:
        archive.extractall(tmp_path / "site")
    work = tmp_path / "work"
    demo_text.write(work / "books/texts")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    start = [sys.executable, "-P", "-c", "import sys; from tokenreel_command import main; sys.exit(main())"]

    def run(*arguments):
        result = subprocess.run([*start, *arguments], cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout

    assert re.findall(r"^(\S+)  ", run("init"), re.MULTILINE) == sorted({pathlib.Path(n).stem for n in recipes("*")} - {"demo"})
    run("init", "bert", "other")
    assert sorted(path.relative_to(work / "other").as_posix() for path in (work / "other").rglob("*.yaml")) == [
        "bert.yaml",
        "tokenizers/bert.yaml",
    ]
    # The one recipe that needs no compiled kernels, which a fresh installation would have to make first.
    commands = [shlex.split(line) for line in re.findall(r"^  tokenreel (.*)$", run("init", "characters", "books"), re.MULTILINE)]
    assert [command[0] for command in commands] == ["train-tokenizer", "build", "verify", "inspect"]
    # Its tokenizer, without TensorFlow.
    text = next((work / "books/texts").iterdir()).read_text(encoding="utf-8").splitlines()
    (work / "books/tokenizers/characters").mkdir()
    model = work / "books/tokenizers/characters/tokenizer.json"
    character_fitting.fit(map(json.loads, text), model, specials=["<mask>", "<cls>"], normalizer="nfkc")
    run(*commands[1], "--direct_num_workers=1")
    assert "sound." in run(*commands[2])
    assert next(iter(tokenreel.load(work / "books/characters").batches(4, seed=0)))["tokens"].shape == (4, 512)


def test_the_trainers_wheel_holds_the_trainers_side(job, loader):
    rooms = layering.TRAINER_SIDE - {layering.GROUND}
    ground = {name for name in sources("tokenreel") if name.count("/") == 1}
    assert loader[0] == ground | {START} | {name for room in rooms for name in sources(f"tokenreel/{room}")}
    assert loader[0] < job[0]
    assert sources("tokenreel") - loader[0], "the job has rooms of its own"


def test_the_trainers_wheel_reads_a_dataset_alone(loader_wheel, tmp_path):
    """Installed without the job's rooms, every module of the wheel can be imported, and batches come out."""
    with zipfile.ZipFile(loader_wheel) as archive:
        archive.extractall(tmp_path / "site")
    verification_datasets.make(tmp_path / "dataset")
    program = (
        "import importlib, pathlib, sys\n"
        "import tokenreel, tokenreel.commands\n"
        "assert pathlib.Path(tokenreel.__file__).is_relative_to(sys.argv[1]), tokenreel.__file__\n"
        "for path in pathlib.Path(sys.argv[1]).rglob('*.py'):\n"
        "    if 'kernels' not in path.parts:\n"
        "        importlib.import_module('.'.join(path.relative_to(sys.argv[1]).with_suffix('').parts))\n"
        "assert not {'numba', 'pyarrow', 'sentencepiece', 'yaml'} & set(sys.modules)\n"
        "print(sum(len(batch['tokens']) for batch in tokenreel.load(sys.argv[2]).batches(8, seed=0, epochs=1)))\n"
        "print(tokenreel.commands.main('verify', [sys.argv[2]]))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "site"), str(tmp_path / "dataset")]
    result = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] == "152"
    assert result.stdout.splitlines()[-1] == "0"


def test_both_have_the_version_of_the_package(job, loader):
    assert job[1]["Version"] == loader[1]["Version"]
    assert job[1]["Version"] == tokenreel.__version__
    assert (job[1]["Name"], loader[1]["Name"]) == ("tokenreel", "tokenreel-loader")


def test_the_version_is_written_once():
    """Whatever else shows it reads it from there: the wheels, the commands, manifests, records of tokenizers."""
    folders = (*CODE, "configs", "dags", "dataflow_templates", "docs", "examples", "benchmarks")
    found = [*ROOT.glob("*"), *(path for folder in folders for path in (ROOT / folder).rglob("*") if "build" not in path.parts)]
    texts = [path for path in found if path.suffix in {".py", ".md", ".toml", ".yaml", ".json", ".txt", ".in"} or path.name == "Dockerfile"]
    holders = [path for path in texts if tokenreel.__version__ in path.read_text(encoding="utf-8")]
    assert len(texts) > 400
    assert [path.relative_to(ROOT).as_posix() for path in holders] == ["tokenreel/version.py"]


def test_both_declare_what_was_tried(job, loader):
    """The classifiers are the Pythons that `make test-releases` installs in; no other is let in, and the Makefile takes no other."""
    tried = releases.declared("setup.py")
    low, high = tried[0], f"3.{int(tried[-1].removeprefix('3.')) + 1}"
    for _, metadata, _ in (job, loader):
        assert metadata.get_all("Classifier") == [
            "Operating System :: POSIX :: Linux",
            *(f"Programming Language :: Python :: {version}" for version in tried),
        ]
        assert sorted(metadata["Requires-Python"].split(",")) == [f"<{high}", f">={low}"]
    bounds = f"({low.replace('.', ', ')}) <= sys.version_info < ({high.replace('.', ', ')})"
    assert bounds in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"Python {', '.join(tried[:-1])} and {tried[-1]}, on Linux." in (ROOT / "docs/running.md").read_text(encoding="utf-8")


def test_both_bring_the_licence(job_wheel, loader_wheel):
    for wheel in (job_wheel, loader_wheel):
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("LICENSE")]
            assert archive.read(name) == (ROOT / "LICENSE").read_bytes()


def commands(entry_points: str) -> dict[str, tuple[str, str]]:
    parser = configparser.ConfigParser()
    parser.read_string(entry_points)
    return {name: tuple(target.split(":")) for name, target in parser["console_scripts"].items()}


def test_the_commands_are_there(job, loader):
    assert set(commands(job[2])) == {"tokenreel"}
    own = {"inspect", "report", "shelf", "verify", "when", "where"}
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


def test_windows_is_told_in_one_line():
    code = "import sys; sys.platform = 'win32'; import tokenreel"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith(
        "ImportError: tokenreel runs on Linux; macOS is untried. On Windows, install and run it in WSL 2"
    )
