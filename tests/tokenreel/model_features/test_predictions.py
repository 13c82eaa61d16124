"""Which fields a model reads and predicts."""

from __future__ import annotations

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.model_features.predictions import MASKED, NEXT_TOKEN, SEQUENCE, Predicting, kind_of


def test_inputs_are_found_by_their_names() -> None:
    causal = Predicting(kind=NEXT_TOKEN, stored=("tokens", "document_starts"))
    names = {name: causal.field_of(name, {}) for name in ("token_ids", "padding_mask", "attention_mask", "position_ids", "segment_ids")}
    assert names == {
        "token_ids": "inputs",
        "padding_mask": "padding_mask",
        "attention_mask": "padding_mask",
        "position_ids": "positions",
        "segment_ids": "segment_ids",
    }
    assert Predicting(kind=MASKED, stored=("tokens",), keras_segments=True).field_of("segment_ids", {}) == "token_types"
    assert Predicting(kind=MASKED, stored=("tokens",)).field_of("token_ids", {}) == "tokens"
    assert Predicting(kind=SEQUENCE, stored=("inputs", "targets")).field_of("decoder_token_ids", {}) == "decoder_inputs"
    assert causal.field_of("segment_ids", {"segment_ids": "zeros"}) == "zeros"
    with pytest.raises(ConfigError, match="the model's input 'pixels' is no field of the dataset"):
        causal.field_of("pixels", {})


def test_targets_of_padded_and_of_overlapping_examples() -> None:
    starts = np.array([[1, 0, 1, 0, 0]], bool)  # four positions, and the token that the next example begins with
    arrays = {
        "document_starts": starts,
        "num_tokens": np.array([4]),
        "inputs": np.array([[5, 6, 7, 8]]),
        "targets": np.array([[6, 7, 8, 0]]),
        "loss_weights": np.array([[1, 0, 1, 0]], np.float32),
        "segment_ids": np.array([[1, 1, 2, 2]]),
    }
    found = Predicting(kind=NEXT_TOKEN, stored=("tokens", "document_starts", "num_tokens")).arrange(arrays)
    assert found.segments is not None and found.segments.tolist() == [[1, 2, 2, 0]]
    assert found.counts.tolist() == [4] and found.weights.tolist() == [[True, False, True, False]]
    assert found.mask.tolist() == [[True] * 4]


def test_second_segments_of_pairs_are_of_another_type() -> None:
    arrays = {
        "tokens": np.ones((1, 5), np.int32),
        "document_starts": np.array([[1, 0, 0, 1, 0]], bool),
        "num_tokens": np.array([4]),
        "segment_ids": np.array([[1, 1, 1, 2, 0]]),
        "mask_positions": np.array([[3, 0]]),
        "mask_ids": np.array([[4, 0]]),
        "mask_weights": np.array([[1, 0]]),
    }
    stored = ("tokens", "document_starts", "num_tokens", "mask_positions", "mask_ids", "mask_weights")
    found = Predicting(kind=MASKED, stored=stored).arrange(arrays)
    assert found.fields["token_types"].tolist() == [[0, 0, 0, 1, 0]]
    assert found.mask.tolist() == [[True, True, True, True, False]] and found.counts.tolist() == [1]


def test_what_the_dataset_does_not_hold_is_told() -> None:
    with pytest.raises(ConfigError, match=r"the records hold tokens, and not what a model predicts for masked \(tokens, mask_positions"):
        kind_of(("tokens",), "masked")
    assert kind_of(("mine", "weights"), "auto", ("mine", "weights")) == SEQUENCE
