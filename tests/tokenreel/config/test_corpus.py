from __future__ import annotations

import pytest

from tests.tokenreel.config.jobs import TEXT, job
from tokenreel.config import reading
from tokenreel.config.corpus import ExecutionConfig
from tokenreel.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sources.1.name=first", "sources.name must differ"),
        ("sources.1.id_field=id", "sources.id_field needs format: jsonl"),
        ("sources.1.columns=[text]", "sources.columns needs format: csv or tsv, got lines"),
        ("sources.1={files: a, format: csv, name: x, columns: [a, b]}", r"sources.columns \['a', 'b'\] lacks 'text'"),
        ("sources.1={files: a, format: csv, name: x, columns: [text, text]}", "sources.columns must differ"),
        ("sources.1={files: a, format: csv, name: x, delimiter: ', '}", "sources.delimiter is one character"),
        ("sources.0.delimiter=;", "sources.delimiter needs format: csv or tsv"),
        ("sources.0.embedded_newlines=false", "sources.embedded_newlines needs format: csv or tsv"),
        ("sources.0.split=''", "sources.split is empty"),
        ("sources.0.format=tfds", "sources.split is missing"),
        ("filters.max_tokens=0", r"filters.max_tokens \(0\) is below filters.min_tokens \(1\)"),
        ("splits.test=99.9%", "leave none to train on"),
        ("execution.block_mb=0", "execution.block_mb must be positive"),
        ("execution.block_mb=.inf", "execution.block_mb must be positive and at most 1e9, got inf"),
        ("sources.0.max_document_mb=.inf", "sources.max_document_mb must be positive and at most 1e9, got inf"),
        ("splits.a-b=1%", "letters, digits and underscores"),
    ],
)
def test_every_rule_has_a_message(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reading.load(TEXT, [override])


def test_filters_of_a_source_replace_those_of_the_same_name() -> None:
    common = {"min_words": 5, "max_characters": 100, "lines": {"min_words": 2, "end_marks": ["."]}}
    settings = job({}, {"filters": {"max_characters": None, "min_words": 7, "lines": {"min_words": 0}}}, filters=common)
    assert settings.filters_of(0) == settings.filters
    own = settings.filters_of(1)
    assert (own.min_words, own.max_characters, own.lines.min_words, own.lines.end_marks) == (7, None, 0, (".",))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"filters": {"min_wrods": 5}}, r"source s0: unknown setting 'filters.min_wrods': did you mean"),
        ({"filters": {"max_words": 3}}, r"source s0: filters.max_words \(3\) is below filters.min_words \(5\)"),
        ({"filters": {"lines": {"drop_phrases": [""]}}}, "empty phrase"),
        ({"epochs": 0}, "sources.epochs must be positive"),
        ({"epochs": 1001}, "at most 1000"),
        ({"splits": {"validation": 1.5}}, "source s0: splits.validation must lie between 0 and 1"),
        ({"splits": {"a": 0.6, "b": 0.6}}, "source s0: splits take 120.0%"),
        ({"splits": {"train": 0.6}}, "source s0: splits.train is what the other splits leave"),
        ({"splits": {"validation": 1}}, "splits take 100.0% of the documents and leave none to train on"),
    ],
)
def test_mistakes_in_a_source(source: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        job(source, filters={"min_words": 5})


def test_the_limit_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"execution\.max_reads must be at least 1, got 0"):
        ExecutionConfig(max_reads=0)


def test_settings_that_came_later_are_told_apart_from_their_defaults_only() -> None:
    """Fingerprints of datasets from before there were such settings stay as they are."""
    later = {"text", "joiner", "messages_field", "quoting", "escape", "escape_unquoted", "encoding"}
    (source,) = job({}).semantics()["sources"]
    assert not later & source.keys()
    (source,) = job({"format": "csv", "text": "{a}", "quoting": "none", "escape": "^", "encoding": "cp1252"}).semantics()["sources"]
    assert later & source.keys() == {"text", "quoting", "escape", "encoding"}
