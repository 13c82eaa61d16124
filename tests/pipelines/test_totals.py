"""Totals, statistics and provenance of a build tell what its records hold: recounted here with sets, apart from build and verifier."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest

import tokenreel
from pipelines import cli
from tests.golden.builds import INPUTS
from tokenreel.format import manifest, naming

PACKINGS: dict[str, dict[str, Any]] = {
    "wrap": {},
    "wrap_within_document": {},
    "best_fit": {},
    "first_fit": {},
    "next_fit": {},
    "pad": {"long_documents": "split"},
    "full_sentences": {"sentences": "rules"},
}
PAIRS = {"mode": "segment_pairs", "sentences": "rules", "add_eos": False, "separator_id": "[SEP]", "options": {"first_id": "[CLS]"}}


def build(write_config: Callable[..., str], packing: dict[str, Any], objective: dict[str, Any]) -> pathlib.Path:
    config = write_config(
        sources=[{"files": [str(INPUTS / "corpus.jsonl")]}],
        vocabulary={"path": str(INPUTS / "unigram.model")},
        packing={"seq_len": 48, **packing},
        objective=objective,
        splits={"validation": "30%"},
        order={"group_tokens": 6000},
    )
    assert cli.main(["build", config, "--direct_num_workers=1"]) == 0
    return pathlib.Path(config).parent / "dataset"


def segments(dataset: pathlib.Path, split: str) -> list[dict[str, Any]]:
    shards = manifest.read(str(dataset)).splits[split].shards
    return [
        row for index in range(len(shards)) for row in pq.read_table(dataset / naming.provenance(split, index, len(shards))).to_pylist()
    ]


@pytest.mark.parametrize("task", ["next_sentence", "sentence_order"])
def test_pairs_count_what_a_document_loses_for_that_document(write_config: Callable[..., str], task: str) -> None:
    dataset = build(write_config, {**PAIRS, "options": {"first_id": "[CLS]", "task": task}}, {"name": "causal_lm"})
    totals = manifest.read(str(dataset)).totals
    written = 0
    for split, told in json.loads((dataset / naming.STATISTICS).read_text())["splits"].items():
        held: dict[str, set[int]] = {}
        whole: dict[str, bool] = {}
        for row in segments(dataset, split):
            places = range(row["doc_token_start"], row["doc_token_start"] + row["length"])
            held.setdefault(row["doc_id"], set()).update(places)
            whole[row["doc_id"]] = whole.get(row["doc_id"], False) or len(places) == row["doc_tokens"]
        own = sum(map(len, held.values()))
        written += own
        assert told["dropped_tokens"] == told["tokens"] - own
        assert told["dropped_tokens_by_reason"] == {"trimmed": told["tokens"] - own}
        assert told["overlapping_tokens"] == told["tokens_in_examples"] - own
        assert told["cut_documents"] == sum(not each for each in whole.values())
        assert (told["documents"], told["dropped_documents"], told["dropped_document_tokens"]) == (len(held), 0, 0)
    assert 0 < totals["tokens_dropped"] < totals["tokens"]
    assert (totals["tokens_written"], totals["tokens_dropped"]) == (written, totals["tokens"] - written)


@pytest.mark.parametrize("mode", PACKINGS)
def test_ul2_loses_no_token_that_is_called_written(write_config: Callable[..., str], mode: str) -> None:
    dataset = build(write_config, {"mode": mode, **PACKINGS[mode]}, {"name": "ul2"})
    totals, written = manifest.read(str(dataset)).totals, 0
    for split, told in json.loads((dataset / naming.STATISTICS).read_text())["splits"].items():
        examples = tokenreel.load(dataset, split)
        found = examples.take(range(len(examples)))
        spans = told["objective"]["spans"]
        # One eos and the sentinels stand in inputs and targets beside the text.
        held = int(found["num_inputs"].sum() + found["num_targets"].sum()) - 2 * len(examples) - 2 * spans
        assert held == sum(row["length"] for row in segments(dataset, split)) == told["tokens"] - told["dropped_tokens"]
        assert told["objective"]["cropped_tokens"] == 0
        written += held
    assert totals["tokens_written"] == written
    assert mode == "wrap" or totals["tokens_dropped"] == 0
