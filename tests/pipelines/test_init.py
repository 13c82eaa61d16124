"""`tokenreel init` lists recipes and copies them; tests/pipelines/test_configs.py runs what it writes."""

from __future__ import annotations

import pathlib
import re

import pytest
import yaml

from pipelines import cli, init
from tests.conftest import tree_digest
from tokenreel.config import paths


def test_recipes_are_listed_with_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init"]) == 0
    listed = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(init.recipes())
    assert all(len(line) <= 140 and re.search(r"\w  +[A-Z]", line) for line in listed)


@pytest.mark.parametrize("directory", [".", "my books", "deep/er"])
def test_copies_have_the_settings_of_the_recipe(
    directory: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["init", "bert"] if directory == "." else ["init", "bert", directory]
    assert cli.main(command) == 0
    written = {name: (tmp_path / directory / name).read_text() for name in ("bert.yaml", "tokenizers/bert.yaml")}
    assert sorted(tree_digest(tmp_path / directory)) == sorted(written)
    for name, text in written.items():
        original = (init.FOLDER / name).read_text()
        assert yaml.safe_load(text) == yaml.safe_load(original)
        assert text.split("output:")[1] == original.split("output:")[1], "comments too"
    beside = "" if directory == "." else f"{directory}/"
    config = f"'{beside}bert.yaml'" if " " in beside else f"{beside}bert.yaml"
    assert f"#   tokenreel build {config}\n" in written["bert.yaml"]
    printed = capsys.readouterr().out
    assert f"  tokenreel build {config}\n" in printed and f"Text is read from {beside}texts/*.jsonl: " in printed
    assert printed.startswith(f"{beside}tokenizers/bert.yaml\n{beside}bert.yaml\n")
    # All that a copy reads and writes lies beside it.
    for name in written:
        folder = f"copy/{paths.folder_of(name)}".rstrip("/")
        settings = paths.begin_in(folder, yaml.safe_load(written[name]))
        assert settings["output"].startswith("copy/") and settings["sources"][0]["files"] == ["copy/texts/*.jsonl"]


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t5.yaml").write_text("mine")
    assert cli.main(["init", "t5", str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"tokenreel: error: {tmp_path}/t5.yaml: there already, and nothing is overwritten.")
    assert list(tree_digest(tmp_path)) == ["t5.yaml"] and (tmp_path / "t5.yaml").read_text() == "mine"
    assert cli.main(["init", "ul2", str(tmp_path)]) == 0
    assert cli.main(["init", "ul2", str(tmp_path)]) == 2


def test_mistakes_are_named(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, shown in (("brt", "did you mean 'bert'?"), ("llama-3", "there are albert, bert, "), ("demo", "no such recipe")):
        assert cli.main(["init", name, str(tmp_path)]) == 2
        assert shown in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert cli.main(["init", "bert", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_recipe_comes_with_the_config_of_its_tokenizer(tmp_path: pathlib.Path) -> None:
    assert cli.main(["init", "characters", str(tmp_path)]) == 0
    assert list(tree_digest(tmp_path)) == ["characters.yaml", "tokenizers/characters.yaml"]
