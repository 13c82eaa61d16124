"""Encoders alone: the loss is taken where tokens are hidden, and nowhere else."""

from __future__ import annotations

import pytest

from tests.tokenreel.tasks.feature_converters.test_decoder import convert
from tokenreel.errors import ConfigError
from tokenreel.tasks.feature_converters import EncoderFeatureConverter

EXAMPLES = [{"inputs": [8, 9, 9, 3, 4, 1], "targets": [8, 7, 4, 3, 4, 1]}, {"inputs": [8, 3, 9, 1], "targets": [8, 3, 6, 1]}]


def test_packed_and_padded() -> None:
    assert convert(EncoderFeatureConverter(mask_id=9), EXAMPLES, inputs=11, targets=11) == {
        "encoder_input_tokens": [[8, 9, 9, 3, 4, 1, 8, 3, 9, 1, 0]],
        "encoder_target_tokens": [[8, 7, 4, 3, 4, 1, 8, 3, 6, 1, 0]],
        "encoder_segment_ids": [[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0]],
        "encoder_positions": [[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0]],
        "encoder_loss_weights": [[0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 0]],
    }
    assert convert(EncoderFeatureConverter(9, pack=False), EXAMPLES[1:], inputs=5, targets=5) == {
        "encoder_input_tokens": [[8, 3, 9, 1, 0]],
        "encoder_target_tokens": [[8, 3, 6, 1, 0]],
        "encoder_loss_weights": [[0, 0, 1, 0, 0]],
    }


def test_padding_is_never_a_hidden_token() -> None:
    example = [{"inputs": [8, 0], "targets": [8, 7]}]
    assert convert(EncoderFeatureConverter(0, pack=False), example, inputs=4, targets=4)["encoder_loss_weights"] == [[0, 1, 0, 0]]


def test_each_input_has_its_target() -> None:
    with pytest.raises(ConfigError, match="an example has 2 inputs and 1 targets"):
        convert(EncoderFeatureConverter(9), [EXAMPLES[0], {"inputs": [8, 9], "targets": [8]}], inputs=11, targets=11)
