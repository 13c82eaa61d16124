"""The programs of the trainer's wheel: whatever goes wrong is one message, and the same one as under the job's command."""

import importlib
import pathlib
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
        (KeyboardInterrupt(), 130, "p: interrupted\n"),
    ],
)
def test_what_is_raised_becomes_a_message_and_a_code(error, code, message, capsys):
    def run():
        raise error

    assert commands.exit_code("p", run) == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("error", [ValueError("ours"), ModuleNotFoundError("ours", name="tokenreel.nonsense")])
def test_our_own_faults_are_not_hidden(error):
    def run():
        raise error

    with pytest.raises(type(error)):
        commands.exit_code("p", run)
