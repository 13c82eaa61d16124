"""The programs of the trainer's wheel: whatever goes wrong is one message, and the same one as under the job's command."""

import importlib
import pathlib
import shutil
import sys
import tomllib

import pytest

from pipelines import cli
from tests import verification_datasets as datasets
from tokenreel import commands
from tokenreel.errors import BuildError, ConfigError, StorageError

PROJECT = tomllib.loads((pathlib.Path(__file__).parents[3] / "tokenreel/pyproject.toml").read_text(encoding="utf-8"))
ARGUMENTS = {"where": ["--batch-size", "8", "--step", "0"], "when": ["--batch-size", "8", "--example", "0"]}
NAMES = ["inspect", "report", "verify", "when", "where"]


def program(name):
    """What the wheel's script of the name calls."""
    module, function = PROJECT["project"]["scripts"][f"tokenreel-{name}"].split(":")
    return getattr(importlib.import_module(module), function)


def test_every_command_is_a_program_and_in_the_job():
    assert sorted(commands.COMMANDS) == NAMES
    assert sorted(PROJECT["project"]["scripts"]) == [f"tokenreel-{name}" for name in NAMES]
    assert commands.COMMANDS.items() <= cli.COMMANDS.items()


@pytest.mark.parametrize("name", NAMES)
def test_a_package_that_is_missing_is_one_line(name, monkeypatch, capsys):
    """A trainer without google-cloud-storage: it was 40 lines of traceback."""
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.setitem(sys.modules, "google.cloud", None)
    arguments = ["gs://some-bucket/dataset", *ARGUMENTS.get(name, [])]
    for run, prefix in ((program(name), f"tokenreel-{name}"), (lambda given: cli.main([name, *given]), "tokenreel")):
        code, shown = run(arguments), capsys.readouterr()
        assert code == 2 and shown.out == ""
        assert shown.err == f"{prefix}: error: gs:// paths need google-cloud-storage: pip install google-cloud-storage\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_that_is_no_dataset_is_one_line(name, tmp_path, capsys):
    arguments = [str(tmp_path / "nothing"), *ARGUMENTS.get(name, [])]
    found = []
    for run in (program(name), lambda given: cli.main([name, *given])):
        code, shown = run(arguments), capsys.readouterr()
        text = (shown.out + shown.err).replace(f"tokenreel-{name}: ", "tokenreel: ")
        assert "no manifest.json here" in text and "Traceback" not in text
        found.append((code, text))
    assert found[0] == found[1]
    assert found[0][0] == (1 if name == "verify" else 2)  # what verify finds is its answer


@pytest.fixture(scope="module")
def wrong_places(tmp_path_factory):
    """What people give for a dataset, by what it is."""
    folder = tmp_path_factory.mktemp("wrong")
    datasets.make(folder / "sound")
    sound = (folder / "sound/manifest.json").read_bytes()
    (folder / "file").write_text("text")
    (folder / "empty_file").write_bytes(b"")
    (folder / "manifest_is_a_folder/manifest.json").mkdir(parents=True)
    manifests = {"empty": b"", "cut": sound[: len(sound) // 2], "list": b"[]", "object": b"{}", "bytes": b"\xff\xfe\0"}
    for name, content in manifests.items():
        (folder / name).mkdir()
        (folder / name / "manifest.json").write_bytes(content)
    for name in ("empty_folder", "other_folder"):
        (folder / name).mkdir()
    (folder / "other_folder/notes.txt").write_text("text")
    return [*(path for path in folder.iterdir() if path.name != "sound"), folder / "missing", folder / "file/below"]


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_given_for_a_dataset_is_one_line(name, wrong_places, capsys):
    """`inspect` of a file was a raw NotADirectoryError."""
    for place in wrong_places:
        code = cli.main([name, str(place), *ARGUMENTS.get(name, [])])
        shown = capsys.readouterr()
        assert code == (1 if name == "verify" else 2), place
        lines = (shown.out + shown.err).splitlines()
        assert str(place) in lines[0] and len(lines) == (2 if name == "verify" else 1), lines


def test_a_report_needs_a_file(wrong_places, tmp_path, capsys):
    datasets.make(tmp_path / "dataset")
    (tmp_path / "pages").mkdir()
    assert cli.main(["report", str(tmp_path / "dataset"), "--output", str(tmp_path / "pages")]) == 2
    said = (
        f"--output {tmp_path}/pages: a directory, and the report is one page. Name the file to write, such as {tmp_path}/pages/report.html."
    )
    assert capsys.readouterr().err == f"tokenreel: error: {said}\n"
    (tmp_path / "file").write_text("mine")
    assert cli.main(["report", str(tmp_path / "dataset"), "--output", str(tmp_path / "file/below.html")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file") in line


@pytest.mark.parametrize(
    "arguments",
    [
        ["where", "--batch-size", "8", "--step", "-1"],
        ["where", "--batch-size", "8", "--step", "9" * 30],
        ["where", "--batch-size", "9" * 30, "--step", "0"],
        ["where", "--batch-size", "0", "--step", "0"],
        ["when", "--batch-size", "8", "--example", "0", "--limit", "0"],
        ["inspect", "--count", "-1"],
        ["inspect", "--count", "many"],
    ],
)
def test_impossible_numbers_are_refused(arguments, tmp_path, capsys):
    datasets.make(tmp_path / "dataset")
    with pytest.raises(SystemExit) as caught:
        cli.main([arguments[0], str(tmp_path / "dataset"), *arguments[1:]])
    assert caught.value.code == 2
    assert "whole number" in capsys.readouterr().err.splitlines()[-1]


def test_a_document_is_not_looked_for_without_tables(tmp_path, capsys):
    datasets.make(tmp_path / "dataset")
    shutil.rmtree(tmp_path / "dataset/provenance")
    assert cli.main(["when", str(tmp_path / "dataset"), "--batch-size", "8", "--document", "d"]) == 2
    assert "has no provenance tables" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["where", "--step", "0"], ["when", "--document", "d"]])
def test_documents_need_pyarrow(arguments, tmp_path, monkeypatch, capsys):
    datasets.make(tmp_path / "dataset")
    for module in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, module, None)
    assert commands.main(arguments[0], [str(tmp_path / "dataset"), "--batch-size", "8", *arguments[1:]]) == 2
    said = "the documents of an example stand in Parquet tables, which need pyarrow: pip install pyarrow"
    assert capsys.readouterr().err == f"tokenreel-{arguments[0]}: error: {said}\n"


@pytest.mark.parametrize("name", NAMES)
def test_programs_and_job_do_the_same(name, tmp_path, capsys):
    datasets.make(tmp_path / "dataset")
    arguments = [str(tmp_path / "dataset"), *ARGUMENTS.get(name, []), *(["--quiet"] if name == "verify" else [])]
    assert program(name)(arguments) == 0
    first = capsys.readouterr().out
    assert cli.main([name, *arguments]) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigError("a mistake"), 2, "p: error: a mistake\n"),
        (StorageError("https://host/o?upload_id=AB12 failed"), 1, "p: error: https://host/o?[redacted] failed\n"),
        (BuildError("a failure"), 1, "p: error: a failure\n"),
        (ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"), 2, "p: error: No module named 'pyarrow': pip install pyarrow\n"),
        (StorageError("there is no bucket b", 404), 2, "p: error: there is no bucket b\n"),
        (OSError(28, "No space left on device", "a/b"), 1, "p: error: a/b: No space left on device\n"),
        (KeyboardInterrupt(), 130, "p: interrupted\n"),
    ],
)
def test_what_is_raised_becomes_a_message_and_a_code(error, code, message, capsys):
    def run():
        raise error

    assert commands.exit_code("p", run) == code
    assert capsys.readouterr().err == message


def test_debug_prints_where_an_error_was_raised(capsys):
    def run():
        raise ConfigError("a mistake")

    assert commands.exit_code("p", run, debug=True) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("Traceback") and "test_main.py" in shown and shown.endswith("p: error: a mistake\n")


@pytest.mark.parametrize("error", [ValueError("ours"), ModuleNotFoundError("ours", name="tokenreel.nonsense")])
def test_our_own_faults_are_not_hidden(error):
    def run():
        raise error

    with pytest.raises(type(error)):
        commands.exit_code("p", run)
