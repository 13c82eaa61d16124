"""Converters for examples that are rows of the model already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks.feature_converters.base import FeatureConverter
from tokenreel.tasks.feature_converters.specs import Lengths, Specs


class PassThroughFeatureConverter(FeatureConverter):
    """Gives the dataset as it is; takes any arguments and ignores them."""

    TASK_FEATURES: ClassVar[Specs] = {}
    MODEL_FEATURES: ClassVar[Specs] = {}
    PACKING_FEATURE_DTYPES: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(pack=False)

    def __call__(self, ds: Any, task_feature_lengths: Lengths | None = None) -> Any:
        """Gives the dataset as it is."""
        return ds

    def get_model_feature_lengths(self, task_feature_lengths: Lengths) -> Mapping[str, Any]:
        """Gives the lengths as they are."""
        return dict(task_feature_lengths)


class PrePackedLMFeatureConverter(PassThroughFeatureConverter):
    """Keeps what a language model reads of rows that are packed and converted, and checks their length, which is that of `targets`."""

    BATCH_FEATURES: ClassVar[tuple[str, ...]] = (
        "decoder_input_tokens",
        "decoder_loss_weights",
        "decoder_positions",
        "decoder_segment_ids",
        "decoder_target_tokens",
    )

    def __call__(self, ds: Any, task_feature_lengths: Lengths | None = None) -> Any:
        """Filters each row.

        Raises:
          ConfigError: no lengths are given; when a row is read that lacks a feature, or is not as long as it should be.
        """
        length = self._length(task_feature_lengths or {})

        def keep(row: Mapping[str, Any]) -> dict[str, Any]:
            missing = [name for name in self.BATCH_FEATURES if name not in row]
            if missing:
                raise ConfigError(f"{type(self).__name__} takes rows that are packed and converted; one lacks {', '.join(missing)}")
            kept = {name: row[name] for name in self.BATCH_FEATURES}
            for name, value in kept.items():
                if not isinstance(value, np.ndarray) and hasattr(value, "set_shape"):  # a tensor of a graph
                    value.set_shape([length])
                elif np.shape(value) != (length,):
                    raise ConfigError(f"{name} of a packed row has the shape {np.shape(value)}, the lengths given say {(length,)}")
            return kept

        return ds.map(keep)

    def get_model_feature_lengths(self, task_feature_lengths: Lengths) -> Mapping[str, Any]:
        """Says how long each feature of the model is."""
        return dict.fromkeys(self.BATCH_FEATURES, self._length(task_feature_lengths))

    def _length(self, task_feature_lengths: Lengths) -> int:
        return self._given(task_feature_lengths, "targets")

    def _given(self, task_feature_lengths: Lengths, name: str) -> int:
        if name not in task_feature_lengths:
            raise ConfigError(f"The task_feature_lengths is missing features specified in the TASK_FEATURES: {{{name!r}}}")
        return int(task_feature_lengths[name])


class PrePackedPrefixLMFeatureConverter(PrePackedLMFeatureConverter):
    """As `PrePackedLMFeatureConverter`, with `decoder_causal_attention`; rows are as long as inputs and targets together."""

    BATCH_FEATURES = (*PrePackedLMFeatureConverter.BATCH_FEATURES, "decoder_causal_attention")

    def _length(self, task_feature_lengths: Lengths) -> int:
        return self._given(task_feature_lengths, "inputs") + self._given(task_feature_lengths, "targets")
