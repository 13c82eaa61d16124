"""Converters for models of an encoder and a decoder (T5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks.feature_converters.base import FeatureConverter
from tokenreel.tasks.feature_converters.blocks import Array
from tokenreel.tasks.feature_converters.specs import FeatureSpec, Lengths, Specs


class EncDecFeatureConverter(FeatureConverter):
    """The encoder reads `inputs`, the decoder predicts `targets`.

    {"inputs": [7, 8, 5, 1], "targets": [3, 9, 1]}, {"inputs": [8, 4, 1], "targets": [4, 1]}, lengths {"inputs": 8, "targets": 6}, packed:

        encoder_input_tokens   [7, 8, 5, 1, 8, 4, 1, 0]
        encoder_segment_ids    [1, 1, 1, 1, 2, 2, 2, 0]
        encoder_positions      [0, 1, 2, 3, 0, 1, 2, 0]
        decoder_target_tokens  [3, 9, 1, 4, 1, 0]
        decoder_input_tokens   [0, 3, 9, 0, 4, 0]
        decoder_loss_weights   [1, 1, 1, 1, 1, 0]
        decoder_segment_ids    [1, 1, 1, 2, 2, 0]
        decoder_positions      [0, 1, 2, 0, 1, 0]

    Audio frames or patches as `inputs` need a subclass whose TASK_FEATURES and MODEL_FEATURES say rank and dtype, and nothing else.
    """

    vectorized = True
    BUILT_KINDS: ClassVar[tuple[str, ...]] = ("pairs",)
    TASK_FEATURES: ClassVar[Specs] = {"inputs": FeatureSpec(np.int32), "targets": FeatureSpec(np.int32)}
    MODEL_FEATURES: ClassVar[Specs] = {
        "encoder_input_tokens": FeatureSpec(np.int32),
        "decoder_target_tokens": FeatureSpec(np.int32),
        "decoder_input_tokens": FeatureSpec(np.int32),
        "decoder_loss_weights": FeatureSpec(np.int32),
    }
    PACKING_FEATURE_DTYPES: ClassVar[Mapping[str, Any]] = {
        "encoder_segment_ids": np.int32,
        "decoder_segment_ids": np.int32,
        "encoder_positions": np.int32,
        "decoder_positions": np.int32,
    }

    def _convert_example(self, features: Mapping[str, Array]) -> Mapping[str, Array]:
        return {
            "encoder_input_tokens": features["inputs"],
            "decoder_target_tokens": features["targets"],
            "decoder_input_tokens": self._shift(features, "targets"),
            "decoder_loss_weights": self._real(features, "targets"),
            **self._passed_through(features),
            **self._packing_of(features, "inputs", "encoder"),
            **self._packing_of(features, "targets", "decoder"),
        }

    def get_model_feature_lengths(self, task_feature_lengths: Lengths) -> Mapping[str, Any]:
        """Says how long each feature of the model is: as long as inputs or targets."""
        encoder, decoder = task_feature_lengths["inputs"], task_feature_lengths["targets"]
        lengths = {
            "encoder_input_tokens": encoder,
            "decoder_target_tokens": decoder,
            "decoder_input_tokens": decoder,
            "decoder_loss_weights": decoder,
        }
        return self._with_further(lengths, task_feature_lengths, encoder=encoder, decoder=decoder)


class PrePackedEncDecFeatureConverter(EncDecFeatureConverter):
    """As `EncDecFeatureConverter`, for rows that are packed already: `inputs` and `targets` with `_segment_ids` and `_positions`.

    Raises:
      ConfigError: `pack` is not False.
    """

    vectorized = True
    BUILT_KINDS: ClassVar[tuple[str, ...]] = ()
    TASK_FEATURES: ClassVar[Specs] = {
        name + suffix: FeatureSpec(np.int32) for name in ("inputs", "targets") for suffix in ("", "_positions", "_segment_ids")
    }
    MODEL_FEATURES: ClassVar[Specs] = {
        **EncDecFeatureConverter.MODEL_FEATURES,
        **{prefix + suffix: FeatureSpec(np.int32) for prefix in ("encoder", "decoder") for suffix in ("_positions", "_segment_ids")},
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.pack:
            raise ConfigError("'pack=True' is not allowed in PrePackedEncDecFeatureConverter. Its examples are packed: give pack=False.")

    def _convert_example(self, features: Mapping[str, Array]) -> Mapping[str, Array]:
        if not self.zero_is_padding:  # the segment ids say where the rows hold something
            features = {**features, "targets_real": features["targets_segment_ids"] > 0}
        packing = {
            prefix + suffix: features[name + suffix]
            for name, prefix in (("inputs", "encoder"), ("targets", "decoder"))
            for suffix in ("_segment_ids", "_positions")
        }
        return {**super()._convert_example(features), **packing}

    def get_model_feature_lengths(self, task_feature_lengths: Lengths) -> Mapping[str, Any]:
        """Says how long each feature of the model is."""
        lengths = dict(super().get_model_feature_lengths(task_feature_lengths))
        for name, prefix in (("inputs", "encoder"), ("targets", "decoder")):
            lengths |= {prefix + suffix: task_feature_lengths[name] for suffix in ("_segment_ids", "_positions")}
        return lengths
