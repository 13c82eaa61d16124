"""SpanBERT's `PairWithSpanMaskingScheme` (pretraining/fairseq/data/masking.py) and our objective of that name.

Led to the same anchors and span lengths, ours selects the same tokens and finds the same neighbours. The original masks a text before it
adds [CLS] and [SEP], so its rate is of the text alone; ours is of all tokens, and equal where none is special.
"""

import numpy as np
import pytest

from tests.oracles import built, choices
from tokenreel import rates
from tokenreel.objectives import make_objective
from tokenreel.objectives.masked_lm import MaskedLM
from tokenreel.objectives.word_spans import WordMap, geometric, positions_of, take_word_spans

FOUND = built.vectors("spanbert")
CASES = FOUND["cases"]
STARTS = np.array([False, True])  # piece 1 begins a word, piece 0 goes on with it


def objective(length, **settings):
    """Ids say what they are: odd ones begin words."""
    facts = {"vocab_size": 1000, "pad_id": 0, "mask_id": 999, "special_ids": [], "word_starts": np.arange(1000) % 2 == 1}
    return make_objective("spanbert", seq_len=length, vocabulary=facts, **settings)


def pieces_of(case):
    return np.array([int(piece) for piece in case["pieces"]])


def selected_like(case):
    """What ours selects from the anchors and lengths that the original drew."""
    pieces = pieces_of(case)[None, :]
    found = WordMap(pieces, np.ones(pieces.shape, bool), None, STARTS)
    lengths = dict(case["anchors"])
    words = choices.in_order(pieces.shape[1], [at for at, _ in case["anchors"]])[None, :]
    counts = rates.ceiling([pieces.shape[1]], case["rate"])
    return take_word_spans(found, words, counts, lambda row, at: np.array([lengths[i] for i in at.tolist()]), whole=False)


def test_spans_of_each_length_are_as_likely():
    ours = np.array(geometric(0.2, 10), np.float64)
    np.testing.assert_allclose(ours / ours.sum(), FOUND["weights"], rtol=1e-12)


@pytest.mark.parametrize("case", FOUND["counts"], ids=lambda case: str(case["rate"]))
def test_as_many_tokens_are_selected(case):
    """At every length from 1 to 512."""
    lengths = np.arange(len(case["counts"])) + case["first_length"]
    tokens = np.where(np.arange(512) < lengths[:, None], 7, 0)
    made = objective(512, rate=case["rate"]).apply({"tokens": tokens, "num_tokens": lengths}, np.arange(len(lengths)), seed=0)
    assert made["mask_weights"].sum(axis=1).tolist() == case["counts"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_the_same_tokens_are_selected(case):
    assert np.flatnonzero(selected_like(case)[0]).tolist() == case["selected"]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_spans_have_the_same_neighbours(monkeypatch, case):
    selected = selected_like(case)
    monkeypatch.setattr(MaskedLM, "_select", lambda *_: positions_of(selected))
    tokens = pieces_of(case)[None, :] + 10
    made = objective(tokens.shape[1], rate=case["rate"]).apply({"tokens": tokens}, [0], seed=0)
    used = made["boundary_weights"][0] == 1
    pairs = np.stack([made["boundary_left"][0], made["boundary_right"][0]], axis=1)[used]
    assert np.unique(pairs, axis=0).tolist() == case["pairs"]


def test_there_are_cases_of_every_kind():
    cut = [case for case in CASES if len(case["anchors"]) > 1]
    assert len(cut) > 20
    assert any(len(case["pairs"]) < len(case["anchors"]) for case in CASES)  # spans that touch, or an edge


def test_spans_are_as_long_and_fare_as_well():
    """Of 4,000 maskings of one text: how often spans have each length, and what becomes of a span."""
    statistics = FOUND["statistics"]
    tokens = np.tile(pieces_of(statistics) + 10, (statistics["maskings"], 1))
    made = objective(tokens.shape[1]).apply({"tokens": tokens}, np.arange(len(tokens)), seed=0)
    row, slot = np.nonzero(made["mask_weights"])
    at = made["mask_positions"][row, slot].astype(np.int64)
    mask = np.zeros((len(tokens), tokens.shape[1] + 2), np.int64)
    mask[row, at + 1] = 1
    begin_row, begin = np.nonzero(np.diff(mask, axis=1) == 1)
    end = np.nonzero(np.diff(mask, axis=1) == -1)[1]
    theirs = np.zeros(tokens.shape[1] + 1, np.int64)
    for length, count in statistics["span_lengths"]:
        theirs[length] = count
    assert choices.look_alike(np.bincount(end - begin, minlength=len(theirs)), theirs)

    new, old = made["tokens"][begin_row, begin], tokens[begin_row, begin]
    ours = {"masked": (new == 999).sum(), "unchanged": (new == old).sum(), "random": ((new != 999) & (new != old)).sum()}
    names = sorted(ours)
    assert choices.look_alike([ours[name] for name in names], [statistics["fates"][name] for name in names])
