from __future__ import annotations

import dataclasses
import json

import numpy as np

from tokenreel.assembly.shard_statistics import ShardStatistics
from tokenreel.format.manifest import VocabularyInfo

VOCABULARY = VocabularyInfo(kind="bytes", fingerprint="", vocab_size=9, pad_id=0, bos_id=None, eos_id=1, unk_id=2, file=None, options={})


def counted(seed: int) -> ShardStatistics:
    """Counts that differ in every field."""
    rng = np.random.default_rng(seed)
    zero = ShardStatistics.zero(VOCABULARY)
    numbers = {field.name: int(rng.integers(1, 99)) for field in dataclasses.fields(zero) if field.type == "int"}
    return dataclasses.replace(
        zero,
        **numbers,
        special_tokens={name: int(rng.integers(1, 99)) for name in zero.special_tokens},
        segment_lengths=rng.integers(0, 9, len(zero.segment_lengths)),
        token_counts=rng.integers(0, 3, 9),
        objective={"selected": int(rng.integers(1, 99)), "by_position": rng.integers(0, 9, 4), "edits": {"drop": int(rng.integers(1, 9))}},
    )


def test_counts_of_shards_add_up_in_any_order() -> None:
    one, two, three = map(counted, range(3))
    plain = ((one + two) + three).to_json()
    assert plain == (three + (two + one)).to_json() == (one + (ShardStatistics.zero(VOCABULARY) + two) + three).to_json()
    assert plain["tokens"] == one.tokens + two.tokens + three.tokens
    assert plain["special_tokens"]["eos"] == sum(each.special_tokens["eos"] for each in (one, two, three))
    assert set(plain["special_tokens"]) == {"eos", "unk", "pad"}, "the vocabulary has no bos"


def test_counts_are_read_back_from_json() -> None:
    plain = counted(5).to_json()
    again = ShardStatistics.from_json(json.loads(json.dumps(plain)), VOCABULARY)
    assert again.to_json() == plain
    assert (again + counted(6)).to_json() == (counted(5) + counted(6)).to_json()


def test_tokens_that_do_not_occur_take_no_room() -> None:
    found = dataclasses.replace(ShardStatistics.zero(VOCABULARY), token_counts=np.array([0, 0, 7, 0, 0, 0, 0, 0, 1]))
    assert found.to_json()["token_counts"] == [[2, 7], [8, 1]]
