from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from tests.documents import documents
from tests.tokenreel.config.jobs import job
from tokenreel.assembly.conservation import conservation
from tokenreel.assembly.shard_statistics import ShardStatistics
from tokenreel.config.corpus import FilterConfig
from tokenreel.curation import filters
from tokenreel.curation.cleaned import Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.errors import BuildError
from tokenreel.planning.recipe import vocabulary_info
from tokenreel.planning.selection import StageSelection, count_splits
from tokenreel.planning.shard_plan import HISTOGRAM_BINS, ShardPlan, SplitPlan
from tokenreel.planning.stage_table import StageTable
from tokenreel.sources.inputs import Block
from tokenreel.staging import encoding, stage_file
from tokenreel.vocabularies.byte_level import ByteVocabulary

# Six documents are read: one is empty, and the train split takes the others twice, of which one repeat of 4 tokens fills no example.
CONFIG = job({"epochs": 2})
PLANNED = {"documents": 10, "tokens": 40, "dropped_documents": 1, "dropped_document_tokens": 4, "dropped_tokens": {"last_example": 4}}
WRITTEN = {"examples": 9, "documents": 9, "tokens": 38, "overlapping_tokens": 2}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> StageSelection:
    found, rules = documents("one", "", "two", "ten", "six", "fog"), Rules(FilterConfig())
    arrays, cleaned = encoding.encode(filters.clean(Cleaned.of(found), rules), ByteVocabulary(), rules, hashed=False)
    path = tmp_path_factory.mktemp("stage") / "x.stage"
    return count_splits(stage_file.write(str(path), Block(0, 0, ()), 0, True, cleaned, arrays, "uint16"), CONFIG)


def check(
    stage: StageSelection, planned: dict[str, Any] | None = None, written: dict[str, Any] | None = None, **taken: Any
) -> dict[str, Any]:
    plan = {**PLANNED, **(planned or {})}
    shard = ShardPlan(split="train", index=0, count=1, first=0, examples=9, split_examples=9, groups=())
    split = SplitPlan(split="train", shards=(shard,), added_tokens=0, document_lengths=(0,) * HISTOGRAM_BINS, **plan)
    zero = ShardStatistics.zero(vocabulary_info(CONFIG, ByteVocabulary()))
    found = dataclasses.replace(zero, **{**WRITTEN, **(written or {})})
    return conservation(CONFIG, StageTable.of([dataclasses.replace(stage, **taken)]), {"train": split}, {"train": found})


def test_documents_and_tokens_are_accounted_for(stage: StageSelection) -> None:
    totals = check(stage)
    assert totals["documents_read"] == 6 and totals["documents_filtered"] == {"empty": 1}
    assert (totals["documents_repeated"], totals["documents_written"], totals["documents_dropped"]) == (5, 9, 1)
    assert (totals["tokens"], totals["tokens_written"], totals["tokens_dropped"]) == (40, 36, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"duplicates": 1}, "documents in stage files, and repeats of them 10, taken + left out 11"),
        ({"not_sampled": 2}, "documents in stage files, and repeats of them 10, taken + left out 12"),
        ({"planned": {"documents": 9}}, "documents in stage files, and repeats of them 10, taken + left out 9"),
        ({"planned": {"dropped_documents": 2}}, "train: documents 10, written + dropped 11"),
        ({"planned": {"dropped_tokens": {}}}, "train: tokens 40, written + dropped 36"),
        ({"planned": {"dropped_tokens": {"trimmed": 41}}, "written": {"tokens": 1}}, "train: of 40 tokens 41 are dropped"),
        ({"written": {"objective": {"cropped_tokens": 3}}}, "train: tokens cropped 3, tokens that may be 0"),
        ({"written": {"documents": 8}}, "train: documents 10, written + dropped 9"),
        ({"written": {"overlapping_tokens": 1}}, "train: tokens 40, written + dropped 41"),
        ({"written": {"examples": 8}}, "train: examples planned 9, examples written 8"),
        ({"splits": {"train": ((4, 12, 12, 12), (5, 15, 15, 15))}}, "s0: documents and repeats 10, taken + left out 9"),
    ],
)
def test_what_is_lost_or_doubled_stops_the_build(stage: StageSelection, change: dict[str, Any], message: str) -> None:
    with pytest.raises(BuildError, match=f"the build lost or doubled something: {re.escape(message)}"):
        check(stage, **change)
