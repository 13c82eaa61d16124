"""Models as arrays: what the kernels make of them is what the library makes of the model."""

from __future__ import annotations

import numpy as np
import pytest
import sentencepiece

from tests.tokenreel.vocabularies.blocks import block, split
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.unit_memo import model_arrays
from tokenreel.vocabularies.unit_memo.kernels.bpe import MOST_MERGED
from tokenreel.vocabularies.unit_memo.model_arrays import Merges, Unigram

TEXTS = ["", "▁the", "▁something", "日本x", "é", "▁" + "ab" * MOST_MERGED, "▁returns", "\U0010ffff"]


def load(data):
    model = sentencepiece_model.parse(data)
    return model, sentencepiece.SentencePieceProcessor(model_proto=data + sentencepiece_model.NORMALIZED)


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_normalised_texts_are_encoded_as_by_the_library(train, byte_fallback):
    for kind in ("bpe", "unigram"):
        model, library = load(train(kind, "nmt_nfkc", byte_fallback))
        if kind == "bpe":
            ids, bounds = Merges(model, library).encode(*block(TEXTS))
        else:
            found = Unigram(model).segment(*block(TEXTS))
            ids, bounds = found["ids"], found["id_bounds"]
            assert found["scores"].dtype == found["certain"].dtype == np.float32
        assert ids.dtype == np.int32 and split(ids, np.diff(bounds)) == [library.encode(text) for text in TEXTS]


def test_texts_and_lists_as_arrays():
    text, bounds = block(["ab", "", "c", "de"])
    assert model_arrays.split(text, bounds, np.array([3, 1, 0])) == [b"de", b"", b"ab"]
    ids, lengths = model_arrays.to_arrays([[5, 6], [], [7]])
    assert (ids.tolist(), lengths.tolist()) == ([5, 6, 7], [2, 0, 1]) and (ids.dtype, lengths.dtype) == (np.int32, np.int64)
