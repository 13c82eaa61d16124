from __future__ import annotations

import dataclasses
import os
import pathlib
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from tokenreel.config import paths, reading
from tokenreel.config.build import JobConfig
from tokenreel.config.features import FeatureJobConfig
from tokenreel.config.task_build import TaskJobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.errors import ConfigError

# Settings that hold a text, but no path. A new setting belongs here or into `paths.SETTINGS`.
NO_PATHS = {
    *("kind", "duplicates.remove", "execution.new_files", "order.mode", "shards.format", "weights", "splits"),
    *(f"filters.{name}" for name in ("keep_pattern", "drop_pattern", "drop_phrases", "scores.missing")),
    *(f"filters.lines.{name}" for name in ("end_marks", "drop_phrases", "remove_pattern")),
    *(f"filters.quality.{name}" for name in ("max_top_ngram", "max_repeated_ngrams")),
    *(f"packing.{name}" for name in ("mode", "separator_id", "last_example", "long_documents", "sentences")),
    *(f"sources.*.{name}" for name in ("name", "format", "text_field", "id_field", "metadata_fields", "order_field", "columns")),
    *(f"sources.*.{name}" for name in ("delimiter", "encoding", "escape", "joiner", "messages_field", "quoting")),
    *(f"sources.*.{name}" for name in ("records", "split", "splits", "text", "label_fields", "entity_fields")),
    *("feature_converter.name", "mixture", "module_import", "stop", "task"),
    *(f"model.{name}" for name in ("backend", "build", "version")),
    *(f"head.{name}" for name in ("hidden", "kind", "layer")),
    *(f"layers.*.{name}" for name in ("dtype", "name", "pool")),
    *("inputs", "logits.top_k_dtype", "target_fields", "targets"),
    "vocabulary.kind",
}
# Groups of settings that something else declares; what they hold is looked at one by one.
OPEN = {
    "feature_converter.options",
    "model.arguments",
    "objective",
    "options",
    "packing.options",
    "sources.*.filters",
    "task_feature_lengths",
    "vocabulary.options",
}


def may_be_text(hint: Any) -> bool:
    """Whether a value of a type, or one in it, may be a text."""
    return hint is Any or isinstance(hint, str) or hint is str or any(map(may_be_text, typing.get_args(hint)))


def texts(kind: type, prefix: str = "") -> Iterator[str]:
    """The dotted names of the settings below a dataclass that hold a text, or may hold one."""
    for name, hint in typing.get_type_hints(kind).items():
        inner = next((part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)), None)
        if isinstance(inner, type):
            yield from texts(inner, f"{prefix}{name}.{'*.' if typing.get_origin(hint) is tuple else ''}")
        elif may_be_text(hint):
            yield f"{prefix}{name}"


def test_every_setting_that_holds_a_text_is_a_path_or_is_none() -> None:
    found = {name for kind in (JobConfig, TaskJobConfig, TokenizerJobConfig, FeatureJobConfig) for name in texts(kind)}
    declared = {name for name in paths.SETTINGS if not name.startswith(("options.", "sources.*.filters."))}
    assert declared <= found
    assert found - declared - OPEN == NO_PATHS


CONFIG = """
output: books
sources:
  - {name: a, files: [texts/*.jsonl, ../b.jsonl, /c.jsonl, gs://b/d.jsonl, "@lists/e.txt", ./@f.jsonl], filters: {bad_words: words.txt}}
  - {name: b, files: g}
vocabulary: {path: model/tokenizer.model}
filters: {bad_words: ../words.txt}
execution: {stage: stage}
"""


def test_relative_paths_begin_in_the_folder_of_the_config() -> None:
    job = reading.load_as(JobConfig, CONFIG, folder="jobs/books")
    assert job.output == "jobs/books/books"
    assert job.sources[0].files == (
        "jobs/books/texts/*.jsonl",
        "jobs/b.jsonl",
        "/c.jsonl",
        "gs://b/d.jsonl",
        "@jobs/books/lists/e.txt",
        "jobs/books/@f.jsonl",
    )
    assert job.sources[1].files == ("jobs/books/g",)
    assert (job.filters.bad_words, job.sources[0].filters["bad_words"]) == ("jobs/words.txt", "jobs/books/words.txt")
    assert (job.vocabulary.path, job.execution.stage) == ("jobs/books/model/tokenizer.model", "jobs/books/stage")


def test_a_config_in_a_bucket_has_its_files_there() -> None:
    job = reading.load_as(JobConfig, CONFIG, folder="gs://bucket/jobs/books")
    assert job.output == "gs://bucket/jobs/books/books"
    assert job.sources[0].files[:5] == (
        "gs://bucket/jobs/books/texts/*.jsonl",
        "gs://bucket/jobs/b.jsonl",
        "/c.jsonl",
        "gs://b/d.jsonl",
        "@gs://bucket/jobs/books/lists/e.txt",
    )
    assert paths.folder_of("gs://bucket/jobs/books.yaml") == "gs://bucket/jobs"


def test_what_the_command_line_gives_begins_in_the_working_directory() -> None:
    given = ["vocabulary.path=m.model", "sources.1.files=[h]", "sources.0.files.0=i", "execution={stage: s}"]
    job = reading.load_as(JobConfig, CONFIG, given, folder="jobs", output="out")
    assert (job.vocabulary.path, job.sources[1].files, job.execution.stage, job.output) == ("m.model", ("h",), "s", "out")
    assert job.sources[0].files[:2] == ("i", "b.jsonl")
    one = "output: o\nvocabulary: {kind: bytes}\nsources: [{files: [texts]}]"
    assert reading.load_as(JobConfig, one, folder="jobs", input=["x"]).sources[0].files == ("x",)


def test_neither_settings_nor_wrong_values_are_changed() -> None:
    folders = ("", "jobs", "/elsewhere", "gs://bucket/x")
    assert len({str(reading.load_as(JobConfig, CONFIG, folder=folder).semantics()) for folder in folders}) == 1
    shared = {"sources": (files := [{"files": ["a"]}]), "more": files}
    assert paths.begin_in("f", shared) == {"sources": [{"files": ["f/a"]}], "more": [{"files": ["a"]}]}
    wrong = {"output": "", "sources": {"files": "a"}, "vocabulary": [1], "execution": None, "filters": {"bad_words": 3}}
    assert paths.begin_in("f", wrong) == wrong


def test_options_of_the_trainer_that_name_files_are_paths() -> None:
    text = "output: o\nsources: [{files: [t]}]\noptions: {vocab_size: 9, normalization_rule_tsv: rules.tsv, seed_sentencepieces_file: /s}"
    jobs = [reading.load_as(TokenizerJobConfig, text, folder=folder) for folder in ("", "jobs")]
    assert jobs[1].options == {"vocab_size": 9, "normalization_rule_tsv": "jobs/rules.tsv", "seed_sentencepieces_file": "/s"}
    assert jobs[0].semantics() == jobs[1].semantics()


def test_paths_lead_where_their_text_says(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("deep/inside", "plain", "b[1]"):
        pathlib.Path(folder).mkdir(parents=True)
    pathlib.Path("link").symlink_to("deep/inside")
    assert paths.resolve("../x", "link") == "link/../x", "the folder above the link is another"
    assert paths.resolve("../x", "plain") == "x"
    assert paths.resolve("../@x", "plain") == "./@x", "no list"
    pathlib.Path("b[1]/t.jsonl").touch()
    assert paths.resolve("t.jsonl", "b[1]") == "b[1]/t.jsonl"
    assert paths.resolve("*.jsonl", "b[1]") == "b[[]1]/*.jsonl"
    assert os.path.isabs(paths.resolve("x", str(tmp_path)))


def test_home_and_file_addresses_are_written_out_wherever_a_path_stands(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    text = """
output: ~/out
sources: [{files: [~/a.jsonl, "@~/list.txt", file:///data/b%20c.jsonl, "~nobody-of-this-name/a", a/~]}]
vocabulary: {path: file://localhost/model}
execution: {stage: ~/stage}
"""
    config = reading.load_as(JobConfig, text, ["sources.0.filters={bad_words: ~/words.txt}"], folder="jobs")
    home = str(tmp_path)
    assert config.output == f"{home}/out" and config.execution.stage == f"{home}/stage" and config.vocabulary.path == "/model"
    assert config.sources[0].files == (f"{home}/a.jsonl", f"@{home}/list.txt", "/data/b c.jsonl", "jobs/~nobody-of-this-name/a", "jobs/a/~")
    assert config.sources[0].filters == {"bad_words": f"{home}/words.txt"}
    assert reading.load_as(JobConfig, text, ["output=~/other"], input=["~/c"]).sources[0].files == (f"{home}/c",)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("output=s3://bucket/out", "output: s3://bucket/out: s3:// is not read, only gs:// and local paths are. Copy it with `aws s3 cp"),
        (
            "sources.0.files=[a, 'hf://datasets/c4']",
            "sources.*.files: hf://datasets/c4: hf:// is not read, only gs:// and local paths are.",
        ),
        ("sources.0.files=['@https://a/list.txt']", "Download it with `curl -LO`, and name the copy."),
        ("vocabulary.path=hdfs://a/b.model", "vocabulary.path: hdfs://a/b.model: hdfs:// is not read, only gs:// and local paths"),
        ("output=file://host/out", "output: file://host/out: file:// is read as file:///PATH"),
        ("output=$HOME/out", "output: $HOME/out: $HOME stands for itself: variables of the environment are not looked up."),
        ("execution.stage=a/${USER}/stage", "execution.stage: a/${USER}/stage: ${USER} stands for itself"),
    ],
)
@pytest.mark.parametrize("folder", ["", "jobs"])
def test_addresses_that_are_not_read_are_refused_by_name(setting: str, message: str, folder: str) -> None:
    with pytest.raises(ConfigError) as caught:
        reading.load_as(JobConfig, "sources: [{files: a}]\nvocabulary: {path: b}", [setting], folder=folder, output=None)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    name, _, value = setting.partition("=")
    if name == "output":
        with pytest.raises(ConfigError, match="output: "):
            reading.load_as(JobConfig, f"output: {value}\nsources: [{{files: a}}]", folder=folder)
