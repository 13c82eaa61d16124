"""Draws among the library's best segmentations."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import sentencepiece

from tests.tokenreel.vocabularies.blocks import split
from tokenreel import keys
from tokenreel.vocabularies.sentencepiece.nbest_sampling import sample_best


@pytest.fixture(scope="module")
def processor(train):
    return sentencepiece.SentencePieceProcessor(model_proto=train("unigram"))


def draw(processor, text, count, alpha, nbest_size):
    words = keys.streams(3, "test", np.arange(count))
    return [tuple(ids) for ids in split(*sample_best(processor, [text.encode()] * count, words, alpha, nbest_size))]


def test_only_the_best_are_drawn_and_all_of_them(processor):
    best = {tuple(ids) for ids in processor.nbest_encode("something", nbest_size=4)}
    assert len(best) == 4 and set(draw(processor, "something", 300, 0.1, 4)) == best
    assert set(draw(processor, "something", 20, 0.1, 1)) == {tuple(processor.encode("something"))}


def test_draws_follow_the_scores(processor):
    drawn = Counter(draw(processor, "something", 2000, 0.5, 4))
    scores = {ids: sum(processor.get_score(i) for i in ids) for ids in map(tuple, processor.nbest_encode("something", nbest_size=4))}
    weights = {ids: np.exp(0.5 * score) for ids, score in scores.items()}
    for ids, weight in weights.items():
        expected = 2000 * weight / sum(weights.values())
        assert abs(drawn[ids] - expected) < 5 * np.sqrt(expected) + 2


def test_texts_have_draws_of_their_own_words(processor):
    documents, words = [b"something", b"", b"there is"], keys.streams(3, "test", np.arange(3))
    ids, lengths = sample_best(processor, documents, words, 0.1, 4)
    assert ids.dtype == np.int32 and lengths.dtype == np.int64 and lengths[1] == 0
    backwards = split(*sample_best(processor, documents[::-1], words[::-1], 0.1, 4))
    assert split(ids, lengths) == backwards[::-1]
    assert [len(array) for array in sample_best(processor, [], words[:0], 0.1, 4)] == [0, 0]
