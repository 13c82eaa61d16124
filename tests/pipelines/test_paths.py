"""Relative paths of a config begin in its folder, those of the command line in the working directory, whatever they name."""

from __future__ import annotations

import pathlib
import shutil
from collections.abc import Sequence

import pytest
import yaml

import tokenreel
from pipelines import cli

SETTINGS = {
    "output": "out/books",
    "sources": [{"files": ["texts/*.jsonl", "@lists/more.txt"], "filters": {"bad_words": "words.txt"}}],
    "vocabulary": {"path": "../model/tokenizer.model"},
    "packing": {"seq_len": 32},
    "splits": {"validation": "20%"},
    "execution": {"stage": "stage"},
}


@pytest.fixture
def project(tmp_path: pathlib.Path, corpus: pathlib.Path, unigram_model: str) -> pathlib.Path:
    """`jobs/` with a config and what it names, and an empty folder `elsewhere` to work in."""
    jobs = tmp_path / "jobs"
    for folder in ("texts", "lists", "elsewhere"):
        (jobs / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "model").mkdir()
    shutil.copy(unigram_model, tmp_path / "model/tokenizer.model")
    shutil.copy(corpus / "plain.jsonl", jobs / "texts/a.jsonl")
    shutil.copy(corpus / "crlf.jsonl", jobs / "lists/b.jsonl")
    (jobs / "lists/more.txt").write_text("b.jsonl\n")
    (jobs / "words.txt").write_text("deprecated\n")
    (jobs / "books.yaml").write_text(yaml.safe_dump(SETTINGS))
    return jobs


def build(config: str, *more: str) -> int:
    return cli.main(["build", config, "--direct_num_workers=1", *more])


def files(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_same_dataset_from_every_working_directory(project: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = []
    places: Sequence[tuple[pathlib.Path, str]] = [
        (project, "books.yaml"),
        (project.parent / "elsewhere", "../jobs/books.yaml"),
        (project.parent / "elsewhere", str(project / "books.yaml")),
    ]
    for folder, config in places:
        monkeypatch.chdir(folder)
        before = files(folder)
        assert build(config) == 0
        assert files(folder) == (before if folder != project or "out" in before else sorted([*before, "out", "stage"]))
        fingerprints.append(tokenreel.load(project / "out/books").manifest.fingerprint)
        assert len(list((project / "stage").iterdir())) > 0
        shutil.rmtree(project / "out")
    assert len(set(fingerprints)) == 1


def test_the_command_line_names_files_of_the_working_directory(project: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = project.parent / "elsewhere"
    monkeypatch.chdir(work)
    shutil.copytree(project / "texts", "texts")
    shutil.copytree(project / "lists", "lists")
    shutil.copy(project / "words.txt", "mine.txt")
    shutil.copy(project.parent / "model/tokenizer.model", "mine.model")
    shutil.move(project.parent / "model/tokenizer.model", project.parent / "gone.model")
    (project / "words.txt").unlink()
    settings = ["vocabulary.path=mine.model", "sources.0.filters.bad_words=mine.txt", "execution.stage=tokens"]
    given = [word for setting in settings for word in ("--set", setting)]
    assert build("../jobs/books.yaml", "--output", "data", "--input", "texts/*.jsonl", "@lists/more.txt", *given) == 0
    assert files(work) == [".data.inputs.jsonl", "data", "lists", "mine.model", "mine.txt", "texts", "tokens"]
    assert not (project / "out").exists() and not (project / "stage").exists()


@pytest.mark.parametrize(
    ("removed", "shown"),
    [
        ("texts/a.jsonl", "../jobs/texts/*.jsonl: no file matches"),
        ("lists/more.txt", "there is no list ../jobs/lists/more.txt"),
        ("lists/b.jsonl", "../jobs/lists/b.jsonl: no file matches (../jobs/lists/more.txt line 1"),
        ("words.txt", "filters.bad_words: cannot read ../jobs/words.txt"),
        ("../model/tokenizer.model", "../model/tokenizer.model: cannot read the SentencePiece model"),
    ],
)
def test_a_missing_file_is_named_with_where_paths_begin(
    removed: str, shown: str, project: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.parent / "elsewhere")
    (project / removed).unlink()
    assert build("../jobs/books.yaml") == 2
    message = capsys.readouterr().err
    assert shown in message
    assert "A relative path in a config begins in the config's folder, one on the command line in the working directory." in message


def test_a_tokenizer_is_trained_where_its_config_says(project: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "rules.tsv").write_text("41\t61\n")
    options = {"vocab_size": 300, "hard_vocab_limit": False, "normalization_rule_tsv": "rules.tsv"}
    settings = {"output": "../model", "sources": [{"files": "texts"}], "options": options}
    (project / "tokenizer.yaml").write_text(yaml.safe_dump(settings))
    shutil.rmtree(project.parent / "model")
    monkeypatch.chdir(project.parent / "elsewhere")
    command = ["train-tokenizer", "../jobs/tokenizer.yaml", "--direct_num_workers=1"]
    assert cli.main(command) == 0
    assert files(project.parent / "model") == ["tokenizer.model", "tokenizer_report.json"]
    monkeypatch.chdir(project)
    assert cli.main(["train-tokenizer", "tokenizer.yaml"]) == 0, "complete already"
    assert files(project.parent / "elsewhere") == []


def test_the_cache_finds_what_a_build_would_find(
    project: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project.parent / "elsewhere")
    assert build("../jobs/books.yaml") == 0
    capsys.readouterr()
    assert cli.main(["cache", "list", "../jobs/stage", "--config", "../jobs/books.yaml"]) == 0
    assert "1 of 1 blocks are here" in capsys.readouterr().out
