from __future__ import annotations

from typing import Any

import pytest

from tests.tokenreel.config.jobs import job
from tokenreel.config.corpus import FilterConfig
from tokenreel.curation.filters import Rules
from tokenreel.sources.inputs import Block, FileRange, InputFile
from tokenreel.staging import identity

BLOCK = Block(0, 0, (FileRange(InputFile("here/a.jsonl", "a.jsonl", 10, 1)),))


def name(source: dict[str, Any] | None = None, rules: Rules | None = None, vocabulary: str = "bytes", **settings: Any) -> str:
    return identity.name_of(job(source or {}, **settings), BLOCK, vocabulary, rules or Rules())


@pytest.mark.parametrize(
    "change",
    [
        {"source": {"name": "other"}},
        {"source": {"text_field": "body"}},
        {"source": {"id_field": "id"}},
        {"source": {"metadata_fields": ["id"]}},
        {"source": {"max_document_mb": 1}},
        {"source": {"format": "csv"}},
        {"source": {"encoding": "cp1252"}},
        {"source": {"text": "{text}"}},
        {"source": {"joiner": ""}},
        {"source": {"messages_field": "text"}},
        {"source": {"id_field": "meta.id"}},
        {"rules": Rules(FilterConfig(min_words=2))},
        {"vocabulary": "another"},
        {"execution": {"block_mb": 1}},
        {"duplicates": {"remove": "documents"}},
        {"packing": {"mode": "full_sentences", "sentences": "rules"}},
    ],
    ids=str,
)
def test_what_decides_the_tokens_is_in_the_name(change: dict[str, Any]) -> None:
    assert name(**change) != name()


def test_what_does_not_is_not() -> None:
    """So that datasets of other layouts, orders and splits take their tokens from the same files."""
    same = {"packing": {"seq_len": 64}, "order": {"group_tokens": 10}, "seed": 5, "splits": {"test": 0.1}, "shards": {"examples": 7}}
    assert all(name(**{setting: value}) == name() for setting, value in same.items())
    assert name(source={"epochs": 2, "files": ["elsewhere"]}) == name()


def test_a_file_says_what_it_was_made_from_and_no_path() -> None:
    rules = Rules(FilterConfig(min_words=2, bad_words="/somewhere/words.txt"), ("nasty",))
    about = identity.describe(job({"format": "lines"}), 0, "digest", rules)
    assert about["filters"] == {"min_words": 2} and about["filters_fingerprint"] == rules.fingerprint
    assert (about["source"], about["format"], about["vocabulary"]) == ("s0", "lines", "digest")
    assert "/somewhere" not in str(about)
    assert identity.path_of("stage", "abc", 7) == "stage/abc-00007.stage"
