from __future__ import annotations

import pathlib
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenreel.tokenizer_training.samples import documents, sample
from tokenreel.config.corpus import ExecutionConfig
from tokenreel.config.tokenizer import Shares
from tokenreel.errors import BuildError
from tokenreel.tokenizer_training import sample_plan
from tokenreel.tokenizer_training.sample import measure
from tokenreel.tokenizer_training.sample_plan import BUCKETS, Totals


def test_weights_and_what_a_source_lacks(tmp_path: pathlib.Path) -> None:
    parts = [(source, documents([b"%d%07d" % (source, i) for i in range(count)])) for source, count in enumerate((1000, 1000, 10))]
    by_text = sample(tmp_path, parts, 2010, sources=3)
    assert by_text.bytes == [1000, 1000, 10]
    epochs = sample(tmp_path, parts, 1608, sources=3, shares=Shares((0.5, 1.0, 2.0), by_text=True))
    assert epochs.bytes == [528, 1057, 21]
    weighted = sample(tmp_path, parts, 1600, sources=3, shares=Shares((1.0, 2.0, 3.0), by_text=False))
    assert weighted.bytes == [506, 1013, 80]  # 80 are all there is
    assert weighted.measured_on == ["held_out", "held_out", "sample"]
    found = list(weighted)
    assert [one.hash for one in found] == sorted(one.hash for one in found), "the sources are mixed"
    counts = np.bincount([one.source for one in found])
    assert counts.tolist() == weighted.documents == [64, 127, 10]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6), st.integers(0, 4000), st.data())
def test_shares_use_the_budget_up(available: list[int], budget: int, data: st.DataObject) -> None:
    weights = [Fraction(data.draw(st.floats(0.001, 1000))) for _ in available]
    quotas = sample_plan.share(budget, weights, available)
    assert all(0 <= quota <= most for quota, most in zip(quotas, available, strict=True))
    wanted = min(budget, sum(available))
    assert wanted - len(available) < sum(quotas) <= wanted


@given(st.text(), st.integers(1, 20))
def test_documents_are_cut_at_characters(text: str, limit: int) -> None:
    data = text.encode()
    (length,) = sample_plan.cut_lengths(np.frombuffer(data, dtype=np.uint8), np.array([0, len(data)]), limit)
    assert length <= limit
    assert data[:length].decode() == text[: len(data[:length].decode())]
    assert len(data) <= limit or length > limit - 4


def test_guesses_take_most_samples_at_once() -> None:
    (limit,) = sample_plan.guess_limits(1 << 20, 1 << 10, Shares((1.0,), by_text=True), 1000, [1 << 30])
    assert BUCKETS / 1024 < limit < BUCKETS / 256
    assert sample_plan.guess_limits(1 << 30, 1, Shares((1.0, 1.0), by_text=True), 1000, [1 << 20, 0]) == (BUCKETS, BUCKETS)


def test_sums_do_not_depend_on_order() -> None:
    parts = [measure(documents([b"x" * i], [i]), 0, 1, 50, 0)[0] for i in range(1, 100)]
    one, other, rest = Totals(1), Totals(1), Totals(1)
    for part in parts:
        one.add(part)
    for part in parts[50:]:
        rest.add(part)
    other.merge(rest)
    for part in reversed(parts[:50]):
        other.add(part)
    assert (one.bytes == other.bytes).all() and one.bytes.sum() == sum(min(i, 50) for i in range(1, 100))
    assert (one.documents, one.text_bytes, one.cut_documents) == (99, 4950, 49) == (other.documents, other.text_bytes, other.cut_documents)


def inputs(*names: str) -> dict[str, Any]:
    return {name: {"files": 1, "bytes": 100} for name in names}


def test_nothing_to_sample_is_an_error() -> None:
    with pytest.raises(BuildError, match=r"the sources a hold no text to train on"):
        sample_plan.check(Totals(1), inputs("a"), ExecutionConfig())
    totals = Totals(2)
    totals.left_out[0]["empty"], totals.left_out[1]["held_out_split"] = 1, 4
    with pytest.raises(BuildError, match=r"All 5 documents were left out: 4 held_out_split, 1 empty. Check sources, filters and splits"):
        sample_plan.check(totals, inputs("a", "b"), ExecutionConfig())


def test_too_much_that_cannot_be_read_is_an_error() -> None:
    totals = Totals(1)
    totals.documents[0] = 8
    totals.faults[0]["invalid_json"] = 2
    totals.examples[0] = [("b.jsonl", 17, "bad")]
    sample_plan.check(totals, inputs("a"), ExecutionConfig(max_dead_letter_fraction=0.2))
    with pytest.raises(BuildError, match=r"2 of 10 documents could not be read(.|\n)*a: b.jsonl byte 17: bad"):
        sample_plan.check(totals, inputs("a"), ExecutionConfig(max_dead_letter_fraction=0.19))
