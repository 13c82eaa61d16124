import argparse

import pytest

from tests import verification_datasets as datasets
from tokenreel import commands
from tokenreel.commands import inspect
from tokenreel.errors import ConfigError, ManifestError, TokenreelError
from tokenreel.inspection import terminal


def run(*argv):
    parser = argparse.ArgumentParser()
    inspect.add_arguments(parser)
    return inspect.run(parser.parse_args([str(argument) for argument in argv]))


@pytest.fixture(scope="module", params=["fixed", "int64_list"])
def dataset(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("dataset")
    datasets.make(directory, record_format=request.param, dead_letters=1)
    return directory


def test_the_command_shows_every_example_of_a_split(dataset, capsys):
    """Decoding all examples gives the documents back, in order."""
    assert run(dataset, "--split", "validation", "--count", "1000") == 0
    shown = capsys.readouterr().out
    assert "\x1b[" not in shown
    text = "".join(line for line in shown.splitlines() if not line.startswith(("---", "validation ")))
    assert text == "".join(f"{document}<eos>" for document in datasets.texts(9, 1))


def test_the_command_finds_examples_in_later_shards(dataset, capsys):
    assert run(dataset, "--index", "-1", "--count", "5", "--provenance") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("train 151 of 152: ")
    assert "train/59, its tokens" in shown
    assert "positions of padding" in shown


def test_colour_follows_the_terminal_and_the_wish(dataset, capsys, monkeypatch):
    run(dataset, "--color", "always")
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert terminal.wants_color("auto")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not terminal.wants_color("auto")
    assert terminal.wants_color("always")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--index", "152"], "split train has 152 examples"),
        (["--index", "-153"], "split train has 152 examples"),
        (["--split", "test"], "has the splits train, validation"),
    ],
)
def test_what_is_not_there_is_said(dataset, argv, message):
    with pytest.raises(ConfigError, match=message):
        run(dataset, *argv)


def test_a_damaged_record_is_shown_and_said(tmp_path, capsys):
    found = datasets.make(tmp_path)
    path = tmp_path / found.splits["train"].shards[0].file
    data = bytearray(path.read_bytes())
    data[dict(zip([f.name for f in found.features], found.fixed_format.offsets, strict=True))["tokens"]] ^= 3
    path.write_bytes(data)
    assert run(tmp_path, "--count", "1") == 1
    assert "this record is damaged: its CRC does not match its bytes: if one byte was altered" in capsys.readouterr().out
    path.write_bytes(data[:100])
    with pytest.raises(ManifestError, match="ends before or inside record 0"):
        run(tmp_path)
    path.unlink()
    with pytest.raises(ManifestError, match="missing"):
        run(tmp_path)


def test_provenance_that_is_not_there_is_said(tmp_path, monkeypatch):
    datasets.make(tmp_path, provenance=False)
    with pytest.raises(ManifestError, match=r"shards\.provenance: false"):
        run(tmp_path, "--provenance")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(TokenreelError, match="pip install pyarrow"):
        run(tmp_path, "--provenance")


def test_the_trainers_command_prints_errors_alone(tmp_path, capsys):
    assert commands.main("inspect", [str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("tokenreel-inspect: error: ")
