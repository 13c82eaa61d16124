"""Language models, with a visible prefix or without: SeqIO's published rows, and the right ones where SeqIO errs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks import ExampleStream
from tokenreel.tasks.feature_converters import (
    DecoderFeatureConverter,
    FeatureConverter,
    LMFeatureConverter,
    PrefixLMFeatureConverter,
    PrefixSuffixLMFeatureConverter,
)


def convert(converter: FeatureConverter, examples: list[dict[str, Any]], **lengths: int) -> dict[str, list[list[int]]]:
    rows = list(converter(ExampleStream.from_examples(examples), lengths))
    return {name: [row[name].tolist() for row in rows] for name in rows[0]}


PAIRS = [{"inputs": [7, 8, 5, 1], "targets": [3, 9, 1]}, {"inputs": [8, 4, 9, 3, 1], "targets": [4, 1]}]


def test_language_model() -> None:
    examples = [{"targets": [3, 9, 1]}, {"targets": [4, 1]}]
    assert convert(LMFeatureConverter(), examples, targets=6) == {
        "decoder_target_tokens": [[3, 9, 1, 4, 1, 0]],
        "decoder_input_tokens": [[0, 3, 9, 0, 4, 0]],
        "decoder_loss_weights": [[1, 1, 1, 1, 1, 0]],
        "decoder_segment_ids": [[1, 1, 1, 2, 2, 0]],
        "decoder_positions": [[0, 1, 2, 0, 1, 0]],
    }
    assert convert(LMFeatureConverter(pack=False), examples[:1], targets=5) == {
        "decoder_target_tokens": [[3, 9, 1, 0, 0]],
        "decoder_input_tokens": [[0, 3, 9, 1, 0]],
        "decoder_loss_weights": [[1, 1, 1, 0, 0]],
    }


@pytest.mark.parametrize(("compat", "expected"), [(None, [10, 3, 9, 10, 4, 0]), ("seqio", [10, 3, 9, 10, 4, 10])])
def test_bos_is_read_where_an_example_begins_and_not_in_the_padding(compat: str | None, expected: list[int]) -> None:
    converted = convert(LMFeatureConverter(bos_id=10, compat=compat), [{"targets": [3, 9, 1]}, {"targets": [4, 1]}], targets=6)
    assert converted["decoder_input_tokens"] == [expected]


@pytest.mark.parametrize("pack", [False, True])
def test_zero_is_a_token_with_a_loss(pack: bool) -> None:
    example = [{"targets": [3, 0, 5, 6]}]
    converted = convert(LMFeatureConverter(pack=pack), example, targets=6)
    assert converted["decoder_target_tokens"] == [[3, 0, 5, 6, 0, 0]] and converted["decoder_loss_weights"] == [[1, 1, 1, 1, 0, 0]]
    as_seqio = convert(LMFeatureConverter(pack=pack, compat="seqio"), example, targets=6)
    assert as_seqio["decoder_loss_weights"] == ([[1, 0, 1, 0, 0, 0]] if pack else [[1, 0, 1, 1, 0, 0]])


def test_rows_do_not_depend_on_groups_of_examples() -> None:
    examples = [{"targets": [1]}, {"targets": []}, {"targets": [2]}, {"targets": [3]}]
    assert convert(LMFeatureConverter(), examples, targets=3)["decoder_target_tokens"] == [[1, 2, 3]]
    assert convert(LMFeatureConverter(compat="seqio"), examples, targets=3)["decoder_target_tokens"] == [[1, 2, 0], [3, 0, 0]]


def test_prefix_language_model() -> None:
    assert convert(PrefixLMFeatureConverter(), PAIRS, inputs=8, targets=7) == {
        "decoder_target_tokens": [[7, 8, 5, 1, 3, 9, 1, 8, 4, 9, 3, 1, 4, 1, 0]],
        "decoder_input_tokens": [[0, 7, 8, 5, 1, 3, 9, 0, 8, 4, 9, 3, 1, 4, 0]],
        "decoder_loss_weights": [[0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0]],
        "decoder_positions": [[0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0]],
        "decoder_segment_ids": [[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 0]],
        "decoder_causal_attention": [[1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0]],
    }
    everywhere = convert(PrefixLMFeatureConverter(loss_on_targets_only=False), PAIRS, inputs=8, targets=7)
    assert everywhere["decoder_loss_weights"] == [[1] * 14 + [0]]
    assert convert(PrefixLMFeatureConverter(pack=False), PAIRS[:1], inputs=5, targets=4) == {
        "decoder_target_tokens": [[7, 8, 5, 1, 3, 9, 1, 0, 0]],
        "decoder_input_tokens": [[0, 7, 8, 5, 1, 3, 9, 1, 0]],
        "decoder_loss_weights": [[0, 0, 0, 0, 1, 1, 1, 0, 0]],
        "decoder_causal_attention": [[1, 1, 1, 1, 1, 0, 0, 0, 0]],
    }


def test_empty_targets_do_not_shift_the_weights_of_the_next_example() -> None:
    examples = [{"inputs": [9, 4], "targets": []}, {"inputs": [], "targets": [5, 6]}]
    converted = convert(PrefixLMFeatureConverter(), examples, inputs=4, targets=4)
    assert converted["decoder_loss_weights"] == [[0, 0, 1, 1, 0, 0, 0, 0]]
    assert converted["decoder_causal_attention"] == [[1, 1, 1, 0, 0, 0, 0, 0]]
    as_seqio = convert(PrefixLMFeatureConverter(compat="seqio"), examples, inputs=4, targets=4)
    assert as_seqio["decoder_loss_weights"] == [[0, 0, 0, 1, 0, 0, 0, 0]]
    assert as_seqio["decoder_causal_attention"] == [[1, 1, 1, 0, 1, 0, 0, 0]]


@pytest.mark.parametrize("pack", [False, True])
def test_a_zero_among_the_inputs_has_no_loss(pack: bool) -> None:
    converted = convert(PrefixLMFeatureConverter(pack=pack), [{"inputs": [9, 0], "targets": [0, 6]}], inputs=3, targets=3)
    assert converted["decoder_target_tokens"] == [[9, 0, 0, 6, 0, 0]] and converted["decoder_loss_weights"] == [[0, 0, 1, 1, 0, 0]]


def test_prefix_suffix_language_model_listens_to_loss_on_targets_only() -> None:
    examples = [{"inputs": [9, 4, 6], "targets": [3, 9], "suffixes": [2, 1]}, {"inputs": [3, 2], "targets": [4], "suffixes": []}]
    lengths = {"inputs": 4, "targets": 4, "suffixes": 4}
    converted = convert(PrefixSuffixLMFeatureConverter(), examples, **lengths)
    assert converted["decoder_target_tokens"] == [[9, 4, 6, 3, 9, 2, 1, 3, 2, 4, 0, 0]]
    assert converted["decoder_loss_weights"] == [[0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0, 0]]
    assert converted["target_suffix_weights"] == [[0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0]]
    assert converted["decoder_causal_attention"] == [[1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0]]
    everywhere = convert(PrefixSuffixLMFeatureConverter(loss_on_targets_only=False), examples, **lengths)
    assert everywhere["decoder_loss_weights"] == [[1] * 10 + [0, 0]]
    as_seqio = convert(PrefixSuffixLMFeatureConverter(loss_on_targets_only=False, compat="seqio"), examples, **lengths)
    assert as_seqio["decoder_loss_weights"] == converted["decoder_loss_weights"]


def test_the_decoder_converter_chooses_by_the_lengths() -> None:
    decoder = DecoderFeatureConverter(loss_on_targets_only=False)
    assert convert(decoder, PAIRS, inputs=8, targets=7)["decoder_loss_weights"] == [[1] * 14 + [0]]
    assert "decoder_causal_attention" not in convert(decoder, PAIRS, targets=7)
    assert isinstance(decoder.chosen({"inputs": 1, "targets": 1, "suffixes": 1}), PrefixSuffixLMFeatureConverter)
    assert decoder.get_model_feature_lengths({"inputs": 3, "targets": 4})["decoder_causal_attention"] == 7


def test_a_long_example_is_refused_or_trimmed() -> None:
    with pytest.raises(ConfigError, match="Feature 'inputs' has length not less than or equal to the expected length of 4"):
        convert(PrefixLMFeatureConverter(), PAIRS, inputs=4, targets=7)
    trimmed = convert(LMFeatureConverter(pack=False, apply_length_check=False), [{"targets": [1, 2, 3]}], targets=2)
    assert trimmed["decoder_target_tokens"] == [[1, 2]]


def test_rows_are_int32() -> None:
    rows = list(PrefixLMFeatureConverter()(ExampleStream.from_examples(PAIRS), {"inputs": 8, "targets": 7}))
    assert {array.dtype for row in rows for array in row.values()} == {np.dtype(np.int32)}
