"""What the verifier counts and restores by itself is what objectives count, do and undo."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests import verification_datasets
from tokenreel.format.manifest import Manifest
from tokenreel.inspection import objective_counts
from tokenreel.inspection.objective_settings import read_settings
from tokenreel.inspection.record_checks import Place, Records
from tokenreel.inspection.restored import restore
from tokenreel.objectives.registry import make_objective

SEQ_LEN, VOCAB, EOS = 48, 259, 1
FACTS = {"vocab_size": VOCAB, "pad_id": 0, "eos_id": EOS, "mask_id": 2, "first_sentinel_id": 258, "num_sentinels": 60}
OBJECTIVES: dict[str, dict[str, Any]] = {
    "causal_lm": {},
    "next_tokens": {},
    "prefix_lm": {},
    "text": {"name": "prefix_lm", "form": "encoder_decoder"},
    "masked_lm": {},
    "electra": {},
    "character_denoising": {},
    "t5": {},
    "roll": {"name": "t5", "roll": True, "density": 0.3},
    "ul2": {"r_id": 3, "s_id": 4, "x_id": 5},
}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return verification_datasets.make(tmp_path_factory.mktemp("dataset"), documents={"train": 5})


@pytest.mark.parametrize("case", OBJECTIVES)
def test_counts_are_those_of_the_objective(described: Manifest, case: str) -> None:
    given = {"name": case, **OBJECTIVES[case]}
    settings = {name: value for name, value in given.items() if name != "name"}
    made_by = make_objective(given["name"], seq_len=SEQ_LEN, vocabulary=FACTS, **settings)
    facts = {name: FACTS[name] for name in ("mask_id", "first_sentinel_id", "num_sentinels")}
    packing = {"mode": "best_fit"}
    manifest = dataclasses.replace(
        described,
        seq_len=SEQ_LEN,
        config={"objective": given, "packing": packing},
        objective_facts=facts,
        algorithms={"packing": "packing-2"},
    )
    found = read_settings(manifest, None)
    assert found is not None and found.width == made_by.even_length()
    draw = np.random.default_rng(0)
    tokens = draw.integers(10, 190, (64, found.width)).astype(np.uint16)
    lengths = draw.integers(2, found.width + 1, 64)
    lengths[:8] = found.width
    tokens[np.arange(found.width) >= lengths[:, None]] = 0
    before = {"tokens": tokens, "num_tokens": lengths.astype(np.int32), "document_starts": np.zeros(tokens.shape, dtype=bool)}
    after = made_by.apply(before, np.arange(64), seed=5)
    place = Place(manifest=manifest, shard=described.splits["train"].shards[0], first=0, split_examples=64)
    records = Records(place=place, arrays=after, rows=np.arange(64))
    again = restore(records, found)
    assert again is not None
    assert again.counts.tolist() == lengths.tolist() and again.padded.tolist() == (lengths < found.width).tolist()
    real = again.tokens.ravel() if again.real is None else again.tokens[again.real]
    assert np.bincount(real).tolist() == np.bincount(tokens[np.arange(found.width) < lengths[:, None]]).tolist()
    counted = objective_counts.count(records, found, again)
    expected = made_by.statistics(before, after)
    assert counted.keys() == expected.keys()
    for name, value in counted.items():
        assert np.array_equal(value, expected[name]), name


def test_text_with_ids_of_sentinels_is_not_restored(described: Manifest) -> None:
    config = {"objective": {"name": "t5"}, "packing": {"mode": "wrap"}}
    manifest = dataclasses.replace(described, seq_len=SEQ_LEN, config=config, objective_facts={"first_sentinel_id": 258})
    made_by = make_objective("t5", seq_len=SEQ_LEN, vocabulary=FACTS)
    tokens = np.full((4, made_by.raw_length()), 230, dtype=np.uint16)
    after = made_by.apply({"tokens": tokens}, np.arange(4), seed=5)
    place = Place(manifest=manifest, shard=described.splits["train"].shards[0], first=0, split_examples=4)
    assert restore(Records(place=place, arrays=after, rows=np.arange(4)), read_settings(manifest, None)) is None


def test_counts_add_up() -> None:
    assert objective_counts.add({"a": 1, "b": [1, 2], "c": {"d": 3}}, {"a": 2, "b": [0, 5], "c": {"d": 1}}) == {
        "a": 3,
        "b": [1, 7],
        "c": {"d": 4},
    }
