from __future__ import annotations

import pytest

from tests.tokenreel.config.jobs import TEXT
from tokenreel.config import build, parsing, reading
from tokenreel.errors import ConfigError


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vocabulary={kind: sentencepiece}", "vocabulary.path is missing"),
        ("objective={}", "objective.name is missing"),
        ("packing.separator_id=3", "set packing.add_eos to false"),
        ("packing.options={seqlen: 3}", "packing.options.seqlen is not a setting of mode wrap"),
        ("packing.align=3", "packing.align is not a setting of mode wrap"),
        ("packing.per_source=true", "packing.per_source keeps sources apart in every mode but wrap"),
        ("order.mode=field", "order.mode field needs sources.order_field, which first, second does not have"),
        ("packing.mode=full_sentences", "packing.mode full_sentences needs packing.sentences"),
        ("packing.sentences=rules", "packing.sentences has no meaning in mode wrap"),
        ("packing={mode: segment_pairs, sentences: rules}", "needs packing.separator_id"),
        ("shards.examples=0", "shards.examples must be at least 1"),
        ("order.group_tokens=0", "order.group_tokens must be at least 1"),
        ("variants=0", "variants must be at least 1"),
    ],
)
def test_every_rule_has_a_message(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reading.load(TEXT, [override])


def test_how_a_job_runs_is_no_part_of_its_meaning() -> None:
    base = reading.load(TEXT).semantics()
    same = ["execution.block_mb=3", "output=elsewhere", "sources.0.files=[c.jsonl]", "shards.megabytes=3"]
    assert all(reading.load(TEXT, [override]).semantics() == base for override in same)
    other = ["packing.seq_len=3", "splits.test=2%", "filters.min_tokens=2", "order.group_tokens=10", "sources.0.text_field=body"]
    assert all(reading.load(TEXT, [override]).semantics() != base for override in other)


@pytest.mark.parametrize(
    ("vocabulary", "message"),
    [
        ({}, "vocabulary.path is missing: sentencepiece needs a model file"),
        ({"kind": "characters"}, "vocabulary.path is missing: characters needs a JSON model file"),
        ({"kind": "huggingface"}, "vocabulary.path is missing: huggingface needs a tokenizer.json"),
        ({"kind": "tiktoken"}, "vocabulary.path is missing: tiktoken needs a .tiktoken file or a tekken.json"),
        ({"kind": "bytes", "path": "x"}, "vocabulary.path has no meaning: bytes reads no file"),
        ({"kind": "pass_through"}, "vocabulary.options.vocab_size is missing"),
        (
            {"kind": "words"},
            "vocabulary.kind must be one of sentencepiece, bytes, characters, huggingface, tiktoken, pass_through, got 'words'",
        ),
    ],
)
def test_vocabularies_that_lack_something(vocabulary, message):
    with pytest.raises(ConfigError, match=message):
        parsing.from_dict(build.VocabularyConfig, vocabulary, "vocabulary")


def test_token_ids_have_no_sentences():
    settings = {
        "output": "out",
        "sources": [{"files": "x"}],
        "vocabulary": {"kind": "pass_through", "options": {"vocab_size": 9}},
        "packing": {"mode": "full_sentences", "sentences": "rules"},
    }
    with pytest.raises(ConfigError, match=r"packing\.sentences needs text"):
        parsing.from_dict(build.JobConfig, settings)
