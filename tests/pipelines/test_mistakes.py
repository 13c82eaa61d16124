"""A new user's mistakes, given to the command as a user gives them: one message on one screen, with the way out."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import yaml

from tests.conftest import tree_digest

ROOT = pathlib.Path(__file__).parents[2]
GOOD = [{"text": f"document {i} of some words"} for i in range(60)]
OTHER = [{"id": i, "content": f"document {i} of some words", "url": f"http://a/{i}"} for i in range(60)]
MODES = {
    "in this process": ["--direct_num_workers=1"],
    "in threads": ["--direct_running_mode=multi_threading", "--direct_num_workers=2"],
    "in processes": ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
    "elsewhere": ["--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"],
}


def tokenreel(folder: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pipelines.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)


def message(result: subprocess.CompletedProcess[str], code: int) -> str:
    """The one error of a command that ended with a code, and said no more than fits on a screen."""
    assert "Traceback" not in result.stderr and len(result.stderr.splitlines()) < 24, result.stderr
    assert result.returncode == code, result.stderr
    assert result.stderr.count("tokenreel: error:") == 1, result.stderr
    return result.stderr[result.stderr.index("tokenreel: error: ") :].removeprefix("tokenreel: error: ").rstrip("\n")


def write_lines(path: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_config(folder: pathlib.Path, *files: str, **settings: Any) -> str:
    source = {"files": list(files), **settings.pop("source", {})}
    build = {"output": "dataset", "vocabulary": {"kind": "bytes"}, "packing": {"seq_len": 64, "last_example": "pad"}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**build, "sources": [source], **settings}))
    return "config.yaml"


def test_a_wrong_text_field_is_found_before_anything_starts(tmp_path: pathlib.Path) -> None:
    """It was 85 lines, of which the last one advised `packing.last_example: pad`, which was set."""
    write_lines(tmp_path / "texts/a.jsonl", OTHER)
    said = "No record of texts/a.jsonl has the field `text`; they have `id`, `content`, `url`. Set sources.0.text_field: content."
    assert message(tokenreel(tmp_path, "build", write_config(tmp_path, "texts/a.jsonl")), 2) == said
    assert not (tmp_path / "dataset").exists()
    tokenizer = {"output": "tokenizer", "sources": [{"files": ["texts/a.jsonl"]}], "options": {"vocab_size": 300}}
    (tmp_path / "tokenizer.yaml").write_text(yaml.safe_dump(tokenizer))
    assert message(tokenreel(tmp_path, "train-tokenizer", "tokenizer.yaml"), 2) == said
    assert not (tmp_path / "tokenizer").exists()


def test_a_build_that_lost_everything_says_which_file_gave_what(tmp_path: pathlib.Path) -> None:
    write_lines(tmp_path / "texts/a.jsonl", OTHER)
    write_lines(tmp_path / "texts/b.jsonl", GOOD[:9])
    config = write_config(tmp_path, "texts", execution={"max_dead_letter_fraction": 1.0}, filters={"min_characters": 1000})
    assert message(tokenreel(tmp_path, "build", config, "--direct_num_workers=1"), 1).splitlines() == [
        "no document is left to make examples of: filters left out 9 (9 too_few_characters); 60 could not be read; all of them are in "
        "dataset/dead_letters/dead_letters.jsonl. What the files gave:",
        "  text: a.jsonl: 60 lines; 60 no_text, the first at line 1: no field 'text'; the fields are 'id', 'content', 'url'",
        "  text: b.jsonl: 9 lines; nothing that could not be read",
    ]
    letters = (tmp_path / "dataset/dead_letters/dead_letters.jsonl").read_text().splitlines()
    assert len(letters) == 60 and json.loads(letters[0])["reason"] == "no_text"


@pytest.mark.parametrize("options", MODES.values(), ids=MODES.keys())
def test_what_a_worker_raises_is_one_message_wherever_it_works(tmp_path: pathlib.Path, options: list[str]) -> None:
    """The first look is at the first file; the second one is met by a worker."""
    pq.write_table(pa.Table.from_pylist(GOOD), tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_pylist(OTHER), tmp_path / "b.parquet")
    result = tokenreel(tmp_path, "build", write_config(tmp_path, "*.parquet", source={"format": "parquet"}), *options)
    said = message(result, 2)
    assert f"{tmp_path}/b.parquet: has no column 'text' (source 'text'); its columns are 'id', 'content', 'url'." in said
    assert "\n" not in said


def test_a_limit_on_dead_letters_is_one_message(tmp_path: pathlib.Path) -> None:
    write_lines(tmp_path / "a.jsonl", GOOD + OTHER)
    said = message(tokenreel(tmp_path, "build", write_config(tmp_path, "a.jsonl")), 1)
    assert said.startswith("60 of 120 documents could not be read (60 no_text), more than execution.max_dead_letter_fraction = 0.1 allows.")
    assert len(said.splitlines()) == 4 and len((tmp_path / "dataset/dead_letters/dead_letters.jsonl").read_text().splitlines()) == 60


def test_debug_shows_where_an_error_was_raised(tmp_path: pathlib.Path) -> None:
    write_lines(tmp_path / "a.jsonl", GOOD + OTHER)
    config = write_config(tmp_path, "a.jsonl")
    for place in (["--debug", "build", config], ["build", config, "--debug"]):
        result = tokenreel(tmp_path, *place, "--direct_num_workers=1")
        assert result.returncode == 1 and "dead_letters.py" in result.stderr and "Traceback (most recent call last)" in result.stderr
        assert result.stderr[result.stderr.rindex("tokenreel: error: ") :].startswith("tokenreel: error: 60 of 120 documents")


def test_a_mended_config_just_builds(tmp_path: pathlib.Path) -> None:
    """It was: "holds an unfinished build with other settings ... add --overwrite"."""
    write_lines(tmp_path / "a.jsonl", GOOD + OTHER)
    failing = write_config(tmp_path, "a.jsonl", splits={"validation": 0.3})
    message(tokenreel(tmp_path, "build", failing, "--direct_num_workers=1"), 1)
    write_lines(tmp_path / "a.jsonl", GOOD)
    mended = write_config(tmp_path, "a.jsonl", packing={"seq_len": 32})
    result = tokenreel(tmp_path, "build", mended, "--direct_num_workers=1")
    assert result.returncode == 0 and "replacing what a build of other settings or files left there" in result.stderr
    assert tokenreel(tmp_path, "build", mended, "--direct_num_workers=1", "--output", "fresh").returncode == 0
    assert tree_digest(tmp_path / "dataset") == tree_digest(tmp_path / "fresh")


def test_a_file_given_for_a_dataset_is_one_message(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.jsonl").write_text("text")
    said = "a.jsonl: no directory, or below a file. A dataset is a directory: give the one that holds manifest.json."
    assert message(tokenreel(tmp_path, "inspect", "a.jsonl"), 2) == said


def test_a_tokenizer_without_a_token_for_the_unknown_is_one_message(tmp_path: pathlib.Path) -> None:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"document": 0, "words": 1}))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write_lines(tmp_path / "a.jsonl", GOOD)
    config = write_config(
        tmp_path, "a.jsonl", vocabulary={"kind": "huggingface", "path": "tokenizer.json"}, packing={"seq_len": 8, "add_eos": False}
    )
    said = message(tokenreel(tmp_path, "build", config), 2)
    assert "tokenizer.json: cannot encode the text: WordLevel error: Missing [UNK] token from the vocabulary." in said


def test_a_vocabulary_that_the_text_does_not_give_is_one_message(tmp_path: pathlib.Path) -> None:
    write_lines(tmp_path / "a.jsonl", GOOD)
    tokenizer = {"output": "tokenizer", "sources": [{"files": ["a.jsonl"]}], "options": {"vocab_size": 30_000}}
    (tmp_path / "tokenizer.yaml").write_text(yaml.safe_dump(tokenizer))
    said = message(tokenreel(tmp_path, "train-tokenizer", "tokenizer.yaml"), 2)
    assert "Vocabulary size too high (30000)" in said and "Take a smaller options.vocab_size or more text." in said
