"""BERT's create_pretraining_data.py and our masked-LM objective and sentence pairs.

Where BERT drew, we make the choices that it made: the same words are masked, the same pairs made. Two things differ on purpose. A word ends
at [SEP], where BERT adds a `##` piece that follows to the word before; and the other document of a pair never is its own, where BERT gives
up after ten tries.
"""

import numpy as np
import pytest

from tests.oracles import built, choices
from tokenreel import keys
from tokenreel.layouts import segment_pairs
from tokenreel.objectives import make_objective
from tokenreel.objectives.word_spans import WordMap, take_whole_words

FOUND = built.vectors("bert")
CLS, SEP, MASK = 2, 3, 4
FACTS = {"vocab_size": 1000, "pad_id": 0, "mask_id": MASK, "special_ids": [CLS, SEP]}


@pytest.mark.parametrize("case", FOUND["counts"], ids=lambda case: f"{case['rate']}-{case['max_predictions']}")
def test_as_many_tokens_are_selected(case):
    """At every length from 4 to 512; [CLS] and [SEP] count, and are never selected."""
    lengths = np.arange(len(case["counts"])) + case["first_length"]
    tokens = np.where(np.arange(512) < lengths[:, None], 9, 0)
    tokens[:, 0] = CLS
    tokens[np.arange(len(lengths)), lengths - 1] = tokens[np.arange(len(lengths)), 1 + (lengths - 3) // 2] = SEP
    objective = make_objective("bert", seq_len=512, vocabulary=FACTS, rate=case["rate"], max_predictions=case["max_predictions"])
    made = objective.apply({"tokens": tokens, "num_tokens": lengths}, np.arange(len(lengths)), seed=0)
    assert made["mask_weights"].sum(axis=1).tolist() == case["counts"]


def test_what_becomes_of_selected_tokens():
    fates = FOUND["fates"]
    objective = make_objective("bert", seq_len=128, vocabulary=FACTS, max_predictions=20)
    tokens = np.full((4000, 128), 9)
    tokens[:, 0], tokens[:, -1] = CLS, SEP
    made = objective.apply({"tokens": tokens}, np.arange(4000), seed=0)
    counted = objective.statistics({"tokens": tokens}, made)
    assert counted["selected"] == sum(fates.values())
    names = sorted(fates)
    assert choices.look_alike([counted[name] for name in names], [fates[name] for name in names])


@pytest.mark.parametrize("case", FOUND["whole_words"], ids=range(len(FOUND["whole_words"])))
def test_the_same_whole_words_are_selected(case):
    pieces = np.array([int(piece) for piece in case["pieces"]])[None, :]
    length = pieces.shape[1]
    found = WordMap(pieces, pieces < 2, None, np.array([False, True, True]))
    limit = min(case["max_predictions"], length)
    objective = make_objective("bert", seq_len=length, vocabulary=FACTS, rate=case["rate"], max_predictions=limit)
    (count,) = objective.apply({"tokens": np.full((1, length), 9)}, [0], seed=0)["mask_weights"].sum(axis=1)
    selected = take_whole_words(found, choices.in_order(length, case["visited"])[None, :], np.array([count]))
    assert np.flatnonzero(selected[0]).tolist() == case["selected"]


class Replay:
    """Stands for `keys` in `segment_pairs`: the words by which a corpus gets BERT's targets, cuts, coins and other documents."""

    def __init__(self, case):
        sizes = case["sentences"]
        self.targets = [[0, choices.below(t - 2, case["seq_len"] - 4)] if t else [2**64 - 1, 0] for t in case["targets"]]
        self.words = np.zeros((len(sizes), max(map(len, sizes)), 4), np.uint64)
        for (document, at, is_random, first_part, other, begin), stop in zip(case["choices"], self._stops(case), strict=True):
            coin = 0 if is_random else 2**63
            cut = choices.below(first_part - 1, stop - at - 1) if stop - at > 1 else 0
            drawn = [0, 0]
            if is_random:  # ours draws from the documents but its own
                drawn = [choices.below(other - (other > document), len(sizes) - 1), choices.below(begin, len(sizes[other]))]
            self.words[document, at] = [coin, cut, *drawn]

    @staticmethod
    def _stops(case):
        for document, at, *_ in case["choices"]:
            lengths, target = case["sentences"][document], case["targets"][document] or case["seq_len"] - 3
            reached = np.flatnonzero(np.cumsum(lengths[at:]) >= target)
            yield at + int(reached[0]) + 1 if len(reached) else len(lengths)

    def __getattr__(self, name):
        return getattr(keys, name)

    def bits(self, scope, purpose, ids, count):
        assert purpose.endswith("/target")
        return np.array(self.targets, np.uint64)

    def streams(self, scope, purpose, ids):
        return np.asarray(ids, np.uint64) if purpose.endswith("/sentence") else keys.streams(scope, purpose, ids)

    def words_at(self, states, indices):
        if np.ndim(indices) == 2:
            return self.words[states.astype(np.int64), indices // 4, indices % 4]
        return keys.words_at(states, indices)


@pytest.mark.parametrize("case", FOUND["pairs"], ids=range(len(FOUND["pairs"])))
def test_the_same_pairs_are_made(monkeypatch, case):
    """Of the same documents, with the same labels and lengths; which end of a part is trimmed, token by token, is drawn by each."""
    monkeypatch.setattr(segment_pairs, "keys", Replay(case))
    sizes = case["sentences"]
    pairs = segment_pairs.plan(np.concatenate(sizes), list(map(len, sizes)), np.arange(len(sizes)), case["seq_len"], seed=0)
    assert len(pairs) == len(case["pairs"])
    parts = np.array([pair[:2] for pair in case["pairs"]])
    assert pairs.document.tolist() == parts[:, :, 0].tolist()
    assert pairs.length.tolist() == parts[:, :, 2].tolist()
    assert pairs.label.tolist() == [label for *_, label in case["pairs"]]
    whole = pairs.trimmed == 0
    assert pairs.start[whole].tolist() == parts[whole, :, 1].tolist()


def test_there_are_pairs_of_every_kind():
    """Full and not, random and not, in documents with a short target and without."""
    pairs = [(sum(part[2] for part in parts) == case["seq_len"] - 3, label) for case in FOUND["pairs"] for *parts, label in case["pairs"]]
    assert set(pairs) == {(False, 0), (False, 1), (True, 0), (True, 1)}
    assert {target is None for case in FOUND["pairs"] for target in case["targets"]} == {False, True}
