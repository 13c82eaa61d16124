from __future__ import annotations

import json
import pathlib

import pytest

from pipelines import cli
from tests import rank_files
from tests.hostile_texts import hostile_texts
from tokenreel.inspection import tokenizer_trial
from tokenreel.vocabularies.ranks.patterns import PATTERNS

INPUTS = pathlib.Path(__file__).parents[1] / "golden" / "inputs"


@pytest.fixture
def texts(tmp_path):
    plain, lines = tmp_path / "plain.txt", tmp_path / "lines.jsonl"
    plain.write_text("The first text, of a sentence.\n" * 50, encoding="utf-8")
    lines.write_text("".join(json.dumps({"text": text}) + "\n" for text in hostile_texts(200, seed=9)), encoding="utf-8")
    return [str(plain), str(lines)]


@pytest.mark.parametrize(
    ("model", "options", "about"),
    [
        ("tokenizer.json", [], "special ids: "),
        ("tokenizer.json", ["--option", "special_tokens=true"], "huggingface"),
        ("bpe.model", [], "sentencepiece"),
        ("unigram.model", ["--kind", "sentencepiece", "--color", "always"], "\x1b["),
    ],
)
def test_it_says_what_a_tokenizer_does(texts, capsys, model, options, about):
    assert cli.main(["try-tokenizer", str(INPUTS / model), *texts, *options]) == 0
    said = capsys.readouterr().out
    assert about in said and "sample: " in said
    plain, lines = said.splitlines()[-2:]
    assert plain.split()[:2] == [texts[0][-32:], "1"] and plain.split()[-1] == "0"
    assert lines.split()[1] == "200" and lines.split()[-1] == "0"


@pytest.mark.parametrize("name", ["a.tiktoken", "tekken_1.json"])
def test_a_file_of_ranks_is_told_by_its_name(tmp_path, texts, capsys, name):
    ids = {bytes([byte]): byte for byte in range(256)} | {b"Th": 256, b"The": 257}
    content = rank_files.write(ids) if name == "a.tiktoken" else rank_files.write_tekken(rank_files.tekken(ids, PATTERNS["gpt2"]))
    (tmp_path / name).write_bytes(content)
    options = ["--option", "pattern=gpt2", "--option", 'added_tokens={"<|endoftext|>": 300}'] if name == "a.tiktoken" else []
    assert cli.main(["try-tokenizer", str(tmp_path / name), *texts, *options]) == 0
    said = capsys.readouterr().out
    assert "own loops" in said and ("eos '<|endoftext|>' (300)" in said) == (name == "a.tiktoken")
    assert said.splitlines()[-1].split()[-1] == "0"


def test_ids_that_differ_fail(texts, capsys, monkeypatch):
    monkeypatch.setattr(tokenizer_trial, "_unlike", lambda first, second: 3)
    assert cli.main(["try-tokenizer", str(INPUTS / "tokenizer.json"), texts[0]]) == 1
    assert capsys.readouterr().out.splitlines()[-1].split()[-1] == "3"


def test_only_a_part_of_a_file_is_read(texts, capsys):
    assert cli.main(["try-tokenizer", str(INPUTS / "bpe.model"), texts[0], "--megabytes", "0.0001"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[2] == "0.00"


def test_a_kind_without_a_library(texts, capsys):
    assert cli.main(["try-tokenizer", "none", texts[0], "--kind", "bytes"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[-2:] == ["-", "-"]


@pytest.mark.parametrize(
    ("content", "name", "options", "about"),
    [
        (b"\xff\xfe", "a.txt", [], "not UTF-8"),
        (b"", "a.txt", [], "holds no text"),
        (b"[1]\n", "a.jsonl", [], "no object with a field text"),
        (b"x", "a.txt", ["--option", "eos_id"], "write NAME=VALUE"),
        (b"x", "a.txt", ["--option", "eos_id=<no>"], "no token '<no>'"),
        (None, "a.txt", [], "cannot be read"),
    ],
)
def test_what_cannot_be_tried_is_said_in_a_line(tmp_path, capsys, content, name, options, about):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert cli.main(["try-tokenizer", str(INPUTS / "tokenizer.json"), str(tmp_path / name), *options]) == 2
    said = capsys.readouterr().err
    assert about in said and len(said.splitlines()) == 1
