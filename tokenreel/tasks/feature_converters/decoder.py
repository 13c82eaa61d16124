"""Converters for models of a decoder alone: language models, with a visible prefix or without."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tokenreel.ragged import Ints, offsets_of, ranks
from tokenreel.tasks.feature_converters.base import FeatureConverter
from tokenreel.tasks.feature_converters.blocks import Array, Block, Column, bounds_of, concatenate
from tokenreel.tasks.feature_converters.rows import POSITIONS, Rows
from tokenreel.tasks.feature_converters.specs import FeatureSpec, Lengths, Specs

_TOKENS = FeatureSpec(np.int32)
_WIDTH = "inputs_width"
_AND_ONE = "inputs_width_add_pos"


class LMFeatureConverter(FeatureConverter):
    """The decoder predicts `targets`; the module `base` draws it."""

    vectorized = True
    BUILT_KINDS: ClassVar[tuple[str, ...]] = ("rows",)
    TASK_FEATURES: ClassVar[Specs] = {"targets": _TOKENS}
    MODEL_FEATURES: ClassVar[Specs] = {"decoder_target_tokens": _TOKENS, "decoder_input_tokens": _TOKENS, "decoder_loss_weights": _TOKENS}
    PACKING_FEATURE_DTYPES: ClassVar[Mapping[str, Any]] = {"decoder_segment_ids": np.int32, "decoder_positions": np.int32}

    def _convert_example(self, features: Mapping[str, Array]) -> Mapping[str, Array]:
        return {
            "decoder_target_tokens": features["targets"],
            "decoder_input_tokens": self._shift(features, "targets"),
            "decoder_loss_weights": self._real(features, "targets"),
            **self._passed_through(features),
            **self._packing_of(features, "targets", "decoder"),
        }

    def get_model_feature_lengths(self, task_feature_lengths: Lengths) -> Mapping[str, Any]:
        """Says how long each feature of the model is: as long as all that the decoder reads."""
        decoder = self._decoder_length(task_feature_lengths)
        return self._with_further(dict.fromkeys(self.MODEL_FEATURES, decoder), task_feature_lengths, decoder=decoder)

    def _decoder_length(self, task_feature_lengths: Lengths) -> int:
        """Adds up what stands one after the other in the decoder's sequence."""
        return sum(length for name, length in task_feature_lengths.items() if name not in self._passthrough_features)


class PrefixLMFeatureConverter(LMFeatureConverter):
    """The decoder reads `inputs` and predicts `targets` behind them.

    {"inputs": [7, 8, 5, 1], "targets": [3, 9, 1]}, {"inputs": [8, 4, 1], "targets": [4, 1]}, lengths {"inputs": 7, "targets": 6}, packed:

        decoder_target_tokens     [7, 8, 5, 1, 3, 9, 1, 8, 4, 1, 4, 1, 0]
        decoder_input_tokens      [0, 7, 8, 5, 1, 3, 9, 0, 8, 4, 1, 4, 0]
        decoder_loss_weights      [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0]
        decoder_causal_attention  [1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0]
        decoder_segment_ids       [1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0]
        decoder_positions         [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 0]

    `decoder_causal_attention` is 1 where attention sees both ways: on the inputs as the decoder reads them, one position to the right, so
    on the position that reads the last input and predicts the first target too.

    Args:
      loss_on_targets_only: whether the weights of inputs are 0.
      **kwargs: those of `FeatureConverter`.
    """

    vectorized = True
    BUILT_KINDS: ClassVar[tuple[str, ...]] = ("rows", "pairs")
    TASK_FEATURES: ClassVar[Specs] = {"inputs": _TOKENS, "targets": _TOKENS}
    MODEL_FEATURES: ClassVar[Specs] = {**LMFeatureConverter.MODEL_FEATURES, "decoder_causal_attention": _TOKENS}

    def __init__(self, loss_on_targets_only: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._loss_on_targets_only = loss_on_targets_only

    @property
    def loss_on_targets_only(self) -> bool:
        """Whether the weights of inputs are 0."""
        return self._loss_on_targets_only

    def prepare(self, block: Block, task_feature_lengths: Lengths) -> tuple[Block, Lengths]:
        """Joins inputs and targets, and puts the number of inputs beside each token."""
        inputs, targets = block["inputs"], self._behind_inputs(block)
        joined = concatenate([inputs, targets])
        width = self._beside(joined, np.diff(bounds_of(inputs)))
        if self.zero_is_padding:  # where there is none, SeqIO puts -1, so that a 0 is not taken for padding
            width[0][width[0] == 0] = -1
        length = self._decoder_length(task_feature_lengths)
        prepared = {"targets": joined, _WIDTH: width, **self._further(block, joined)}
        lengths = dict.fromkeys(prepared, length)
        passed = {name: block[name] for name in self._passthrough_features}
        return {**prepared, **passed}, {**lengths, **{name: task_feature_lengths[name] for name in passed}}

    def finish(self, rows: Rows) -> Rows:
        """Gives each position the number of inputs of its example, with and without the one to the right."""
        width = rows[_WIDTH]
        there = width != 0 if self.zero_is_padding else self._real(rows, "targets")
        width = np.where(width == -1, 0, width) if self.zero_is_padding else width
        return super().finish({**rows, _WIDTH: width, _AND_ONE: np.where(there, width + 1, 0)})

    def _convert_example(self, features: Mapping[str, Array]) -> Mapping[str, Array]:
        converted = dict(super()._convert_example(features))
        length = np.shape(features["targets"])[-1]
        positions = features["targets" + POSITIONS] if self.pack else np.arange(length)
        converted["decoder_causal_attention"] = np.less(positions, features[_AND_ONE]).astype(np.int32)
        if self._targets_only:
            # Where the tokens are real, "real and not an input"; SeqIO's exclusive or says the same but for zeros among the inputs.
            inputs = np.less(positions, features[_WIDTH])
            weights = np.logical_xor(inputs, converted["decoder_loss_weights"])
            converted["decoder_loss_weights"] = weights.astype(np.int32)
        return converted

    @property
    def _targets_only(self) -> bool:
        return self._loss_on_targets_only

    def _behind_inputs(self, block: Block) -> Column:
        """Gives what stands behind the inputs. SeqIO puts a 0 where there is nothing."""
        return self._or_zero(block["targets"])

    def _or_zero(self, column: Column) -> Column:
        if not self.zero_is_padding:
            return column
        missing = (np.diff(bounds_of(column)) == 0).astype(np.int64)
        return concatenate([column, (np.zeros(int(missing.sum()), column[0].dtype), offsets_of(missing))])

    def _beside(self, joined: Column, per_example: Ints) -> Column:
        """Repeats a number of each example at each of its tokens."""
        bounds = bounds_of(joined)
        return np.repeat(per_example, np.diff(bounds)).astype(np.int32), bounds

    def _further(self, block: Block, joined: Column) -> dict[str, Column]:
        """Makes further features to be padded or packed beside the tokens."""
        return {}


class PrefixSuffixLMFeatureConverter(PrefixLMFeatureConverter):
    """The decoder reads `inputs`, and predicts `targets` and then `suffixes`.

    {"inputs": [9, 4], "targets": [3], "suffixes": [2, 1]}, {"inputs": [3], "targets": [4], "suffixes": []}, lengths of 3 each, packed:

        decoder_target_tokens     [9, 4, 3, 2, 1, 3, 4, 0, 0]
        decoder_loss_weights      [0, 0, 1, 1, 1, 0, 1, 0, 0]
        target_suffix_weights     [0, 0, 0, 1, 1, 0, 1, 0, 0]
        decoder_causal_attention  [1, 1, 1, 0, 0, 1, 1, 0, 0]

    `target_suffix_weights` are 1 on the suffix, and on the targets of examples without one.

    Args:
      loss_on_targets_only: whether the weights of inputs are 0; SeqIO's class does not listen to it, nor does this one with compat="seqio".
      **kwargs: those of `FeatureConverter`.
    """

    vectorized = True
    BUILT_KINDS: ClassVar[tuple[str, ...]] = ()
    TASK_FEATURES: ClassVar[Specs] = {"inputs": _TOKENS, "targets": _TOKENS, "suffixes": _TOKENS}
    MODEL_FEATURES: ClassVar[Specs] = {**PrefixLMFeatureConverter.MODEL_FEATURES, "target_suffix_weights": _TOKENS}

    @property
    def _targets_only(self) -> bool:
        return self._loss_on_targets_only or self.zero_is_padding

    def _convert_example(self, features: Mapping[str, Array]) -> Mapping[str, Array]:
        weights = np.equal(features["target_suffix_weights"], 2).astype(np.int32)
        return {**super()._convert_example(features), "target_suffix_weights": weights}

    def _behind_inputs(self, block: Block) -> Column:
        return self._or_zero(concatenate([block["targets"], block["suffixes"]]))

    def _further(self, block: Block, joined: Column) -> dict[str, Column]:
        """Marks tokens: 2 on the suffix, or on all targets where there is none, and 1 elsewhere."""
        suffixes = np.diff(bounds_of(block["suffixes"]))
        total = np.diff(bounds_of(joined))
        marked = np.where(suffixes > 0, suffixes, total - np.diff(bounds_of(block["inputs"])))
        marks = np.where(ranks(total) < np.repeat(total - marked, total), 1, 2)
        return {"target_suffix_weights": (marks.astype(np.int32), bounds_of(joined))}


class DecoderFeatureConverter(FeatureConverter):
    """Chooses among the three by the features that have lengths: with `suffixes`, with `inputs`, or `targets` alone.

    Args:
      loss_on_targets_only: whether the weights of inputs are 0.
      **kwargs: those of `FeatureConverter`.
    """

    BUILT_KINDS: ClassVar[tuple[str, ...]] = ("rows", "pairs")
    TASK_FEATURES: ClassVar[Specs] = {"targets": _TOKENS}
    MODEL_FEATURES: ClassVar[Specs] = LMFeatureConverter.MODEL_FEATURES
    PACKING_FEATURE_DTYPES: ClassVar[Mapping[str, Any]] = LMFeatureConverter.PACKING_FEATURE_DTYPES

    def __init__(self, loss_on_targets_only: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._loss_on_targets_only = loss_on_targets_only
        self.prefixlm_feature_converter = PrefixLMFeatureConverter(loss_on_targets_only, **kwargs)
        self.strictlm_feature_converter = LMFeatureConverter(**kwargs)
        self.prefixsuffixlm_feature_converter = PrefixSuffixLMFeatureConverter(loss_on_targets_only, **kwargs)

    @property
    def loss_on_targets_only(self) -> bool:
        """Whether the weights of inputs are 0."""
        return self._loss_on_targets_only

    def chosen(self, task_feature_lengths: Lengths) -> FeatureConverter:
        """Picks the converter for the features that have lengths."""
        if "suffixes" in task_feature_lengths:
            return self.prefixsuffixlm_feature_converter
        return self.prefixlm_feature_converter if "inputs" in task_feature_lengths else self.strictlm_feature_converter

    def __call__(self, ds: Any, task_feature_lengths: Lengths | None = None) -> Any:
        """Converts a dataset by the converter that is chosen."""
        if task_feature_lengths is None:
            return super().__call__(ds)
        return self.chosen(task_feature_lengths)(ds, task_feature_lengths)

    def convert_rows(self, block: Block, task_feature_lengths: Lengths) -> Rows:
        """Converts a block by the converter that is chosen."""
        return self.chosen(task_feature_lengths).convert_rows(block, task_feature_lengths)

    def get_model_feature_lengths(self, task_feature_lengths: Lengths) -> Mapping[str, Any]:
        """Says how long each feature of the model is."""
        return self.chosen(task_feature_lengths).get_model_feature_lengths(task_feature_lengths)
