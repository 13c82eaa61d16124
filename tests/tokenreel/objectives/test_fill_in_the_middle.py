import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SEEDS
from tokenreel.errors import ConfigError
from tokenreel.objectives.fill_in_the_middle import FillInTheMiddle

VOCAB, BOS, EOS, PRE, SUF, MID = 100, 1, 2, 97, 98, 99


def objective(**settings):
    return FillInTheMiddle(
        **{"seq_len": 64, "vocab_size": VOCAB, "prefix_id": PRE, "suffix_id": SUF, "middle_id": MID, "keep_last": 1, **settings}
    )


def corpus(lengths, seed=0):
    rng = np.random.default_rng(seed)
    documents = [[*rng.integers(3, 90, n).tolist(), EOS] for n in lengths]
    offsets = np.cumsum([0, *map(len, documents)])
    return np.array([t for d in documents for t in d], np.uint16), offsets, documents


def split(tokens, offsets):
    return [tokens[a:b].tolist() for a, b in itertools.pairwise(offsets)]


def restore(document):
    """Undoes what `rearrange` did to one document, by a search for the sentinels."""
    marks = [place for place, token in enumerate(document) if token in (PRE, SUF, MID)]
    if not marks:
        return document
    names = [document[place] for place in marks]
    assert names == [PRE, SUF, MID], f"sentinels {names}: it was not made by this objective"
    pre, suf, mid = marks
    end = len(document) - 1  # eos stays
    # In SPM order nothing stands before <SUF>, and the prefix comes with the middle.
    return [*document[:pre], *document[pre + 1 : suf], *document[mid + 1 : end], *document[suf + 1 : mid], *document[end:]]


@given(st.lists(st.integers(0, 12), max_size=12), SEEDS, st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0]))
def test_laws(lengths, seed, keep_first, suffix_first_rate):
    tokens, offsets, documents = corpus(lengths, seed)
    ids = np.arange(len(lengths)) + seed
    made_by = objective(rate=0.7, keep_first=keep_first, suffix_first_rate=suffix_first_rate)
    out, bounds = made_by.rearrange(tokens, offsets, ids, seed=seed)
    assert np.diff(bounds).tolist() == made_by.document_lengths(np.diff(offsets), ids, seed=seed).tolist()
    for before, after in zip(documents, split(out, bounds), strict=True):
        marks = [t for t in after if t in (PRE, SUF, MID)]
        if not marks:
            assert after == before
            continue
        assert marks == [PRE, SUF, MID] and after[:keep_first] == before[:keep_first] and after[-1] == EOS and after.count(EOS) == 1
        pre, suf, mid = (after.index(mark) for mark in marks)
        first, suffix, rest = after[pre + 1 : suf], after[suf + 1 : mid], after[mid + 1 : -1]
        assert before == [*before[:keep_first], *first, *rest, *suffix, EOS]  # PSM: prefix, middle; SPM: nothing, prefix and middle
        assert not first or suffix_first_rate < 1
    assert [restore(document) for document in split(out, bounds)] == documents

    for i in range(len(lengths)):  # a document's fate does not depend on its neighbours
        alone, _ = made_by.rearrange(tokens[offsets[i] : offsets[i + 1]], [0, offsets[i + 1] - offsets[i]], ids[i : i + 1], seed=seed)
        assert alone.tolist() == out[bounds[i] : bounds[i + 1]].tolist()


def test_rates_and_parts():
    n, length = 40_000, 60
    made_by = objective(rate=0.5)
    splits = made_by.splits(np.full(n, length), np.arange(n), seed=0)
    chosen = np.count_nonzero(splits.chosen)
    suffix_first = np.count_nonzero(splits.chosen & splits.suffix_first)
    assert abs(chosen / n - 0.5) < 5 * np.sqrt(0.25 / n) and abs(suffix_first / chosen - 0.5) < 5 * np.sqrt(0.25 / chosen)
    prefix, middle, suffix = splits.first, splits.second - splits.first, length - splits.second
    # Uniform cuts: a third each, standard deviation .2357 of the length (a little more for whole numbers).
    for part in (prefix, middle, suffix):
        assert abs(part[splits.chosen].sum() / chosen - length / 3) < 5 * 0.25 * length / np.sqrt(chosen)
    assert len(splits.chosen) == n


def test_both_ends_are_cut_too():
    splits = objective().splits(np.full(5000, 3), np.arange(5000), seed=0)
    assert set(zip(splits.first.tolist(), splits.second.tolist(), strict=True)) == {(a, b) for a in range(4) for b in range(a, 4)}


def test_variants_differ():
    made_by = objective(rate=1)
    tokens, offsets, _ = corpus([50] * 20)
    made = [
        made_by.rearrange(tokens, offsets, np.arange(20), seed=s, variant=v, epoch=e)[0].tolist()
        for s, v, e in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    ]
    assert all(made[i] != made[j] for i in range(4) for j in range(i))


def test_examples_stay_as_they_are():
    arrays = {"tokens": np.ones((2, 64), np.uint16), "num_tokens": np.array([3, 4])}
    assert objective().apply(arrays, [0, 1], seed=0) == arrays and objective().output_shapes() == {}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"middle_id": PRE}, "must differ, got 97, 98 and 97"),
        ({"suffix_id": 100}, "suffix_id must be an id of the vocabulary, 0 to 99"),
        ({"rate": 1.5}, "objective.rate must lie between 0 and 1"),
        ({"suffix_first_rate": -1}, "objective.suffix_first_rate must lie"),
        ({"keep_last": -1}, "count tokens, got 0 and -1"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(ConfigError, match=message):
        objective(**settings)
