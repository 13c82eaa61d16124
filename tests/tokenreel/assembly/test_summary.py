from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests import verification_datasets as datasets
from tokenreel.assembly.summary import summarize
from tokenreel.format import manifest, naming
from tokenreel.format.manifest import Manifest, SplitInfo
from tokenreel.wording import plural

TOTALS = {
    "documents_read": 12_345,
    "documents_written": 12_000,
    "documents_filtered": {"empty": 40, "bad_word": 2},
    "documents_dropped": 3,
    "documents_dead_lettered": 0,
    "tokens": 1_000_000,
    "tokens_written": 999_000,
    "tokens_dropped": 1_000,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    directory = tmp_path_factory.mktemp("dataset")
    datasets.make(directory)
    return manifest.read(str(directory))


def lines(made: Manifest, **totals: Any) -> list[str]:
    return summarize(dataclasses.replace(made, totals={**TOTALS, **totals})).splitlines()


def test_what_was_made_and_what_became_of_every_document_and_token(made: Manifest) -> None:
    *splits, documents, tokens, fingerprint = lines(made)
    for line, (name, split) in zip(splits, made.splits.items(), strict=True):
        size = sum(shard.bytes for shard in split.shards) / 1e6
        shards = plural(len(split.shards), "shard")
        assert line == f"{name}: {split.examples:,} examples of {made.seq_len} tokens in {shards}, {size:,.1f} MB"
    assert documents == "documents: 12,345 read = 12,000 written + 42 filtered + 3 dropped + 0 dead letters"
    assert tokens == "tokens: 1,000,000 = 999,000 written + 1,000 dropped"
    assert fingerprint == f"fingerprint: {made.fingerprint}"


def test_only_what_there_is_is_said(made: Manifest) -> None:
    found = lines(made, documents_dead_lettered=7, documents_duplicate=1_500, documents_not_sampled=0, documents_repeated=20)
    assert found[-4].endswith("+ 7 dead letters + 1,500 duplicates - 20 repeats")
    assert found[-2] == f"dead letters: {naming.DEAD_LETTERS} says which and why"


def test_a_split_without_examples_is_said(made: Manifest) -> None:
    """It was "validation: 0 examples of 32 tokens in 0 shards, 0.0 MB", and loading it failed later."""
    (line,) = lines(dataclasses.replace(made, splits={"validation": SplitInfo(shards=())}))[:1]
    assert line == "split 'validation' holds no example. Set splits.validation to a larger share, such as 0.017%"
