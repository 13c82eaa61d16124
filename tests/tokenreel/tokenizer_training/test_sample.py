from __future__ import annotations

import pathlib

import numpy as np

from tests.tokenreel.tokenizer_training.samples import documents, sample
from tokenreel.tokenizer_training import output
from tokenreel.tokenizer_training.sample import hash_documents


def test_the_smallest_hashes_fill_the_budget(tmp_path: pathlib.Path) -> None:
    texts = [b"%04d" % i for i in range(500)]
    found = list(sample(tmp_path, [(0, documents(texts))], 402))
    hashes = hash_documents(5, np.arange(500, dtype=np.uint64))
    expected = [texts[i] for i in np.argsort(hashes)]
    assert [one.text for one in found] == [*expected[:100], expected[100][:2]]
    assert [one.hash for one in found] == sorted(int(h) for h in hashes)[:101]


def test_a_sample_is_a_part_of_a_larger_one(tmp_path: pathlib.Path) -> None:
    part = [(0, documents([b"%05d" % i for i in range(1000)]))]
    small, large = ([one.text for one in sample(tmp_path, part, budget)] for budget in (500, 2500))
    assert large[:100] == small
    other = [one.text for one in sample(tmp_path, part, 500, seed=6)]
    assert len(set(other) & set(small)) < 30


def test_empty_documents_are_not_sampled(tmp_path: pathlib.Path) -> None:
    found = sample(tmp_path, [(0, documents([b"", b"a", b"", b"b"]))], 100)
    assert sorted(one.text for one in found) == [b"a", b"b"]
    assert found.documents == [2]


def test_hashes_stay_as_they_are() -> None:
    """Whoever trains a tokenizer again from the same text relies on them: a change needs another `output.VERSION`."""
    assert output.VERSION == "tokenizer-sample-1"
    assert [hex(h) for h in hash_documents(5, np.array([0, 1, 2**63], dtype=np.uint64)).tolist()] == [
        "0x8731fcc276c59ba5",
        "0x5d0e68940830e226",
        "0x8f5a7270b9f75f5a",
    ]
