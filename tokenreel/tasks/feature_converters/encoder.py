"""The converter for models of an encoder alone (BERT)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks.feature_converters.base import FeatureConverter
from tokenreel.tasks.feature_converters.blocks import Array, Block, bounds_of
from tokenreel.tasks.feature_converters.specs import FeatureSpec, Lengths, Specs


class EncoderFeatureConverter(FeatureConverter):
    """The encoder reads `inputs`, in which tokens are hidden by `mask_id`, and predicts `targets`, the tokens as they were.

    {"inputs": [8, 9, 9, 3, 1], "targets": [8, 7, 4, 3, 1]} with mask_id=9 and lengths of 6:

        encoder_input_tokens   [8, 9, 9, 3, 1, 0]
        encoder_target_tokens  [8, 7, 4, 3, 1, 0]
        encoder_loss_weights   [0, 1, 1, 0, 0, 0]

    Args:
      mask_id: marks the tokens that the loss is taken on.
      **kwargs: those of `FeatureConverter`.
    """

    vectorized = True
    BUILT_KINDS: ClassVar[tuple[str, ...]] = ("masked",)
    TASK_FEATURES: ClassVar[Specs] = {"inputs": FeatureSpec(np.int32), "targets": FeatureSpec(np.int32)}
    MODEL_FEATURES: ClassVar[Specs] = {
        name: FeatureSpec(np.int32) for name in ("encoder_target_tokens", "encoder_input_tokens", "encoder_loss_weights")
    }
    PACKING_FEATURE_DTYPES: ClassVar[Mapping[str, Any]] = {"encoder_segment_ids": np.int32, "encoder_positions": np.int32}

    def __init__(self, mask_id: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._mask_id = mask_id

    @property
    def mask_id(self) -> int:
        """Marks the tokens that the loss is taken on."""
        return self._mask_id

    def prepare(self, block: Block, task_feature_lengths: Lengths) -> tuple[Block, Lengths]:
        """Takes the block as it is.

        Raises:
          ConfigError: inputs and targets of an example are not equally long.
        """
        inputs, targets = (np.diff(bounds_of(block[name])) for name in ("inputs", "targets"))
        uneven = np.flatnonzero(inputs != targets)
        if not self.zero_is_padding and len(uneven):
            raise ConfigError(
                f"EncoderFeatureConverter: an example has {inputs[uneven[0]]} inputs and {targets[uneven[0]]} targets. Each token of the "
                "inputs has its own in the targets; mask tokens instead of leaving them out."
            )
        return block, task_feature_lengths

    def _convert_example(self, features: Mapping[str, Array]) -> Mapping[str, Array]:
        masked = features["inputs"] == self._mask_id
        if not self.zero_is_padding:
            masked = masked & (self._real(features, "inputs") > 0)
        return {
            "encoder_input_tokens": features["inputs"],
            "encoder_target_tokens": features["targets"],
            "encoder_loss_weights": masked.astype(np.int32),
            **self._passed_through(features),
            **self._packing_of(features, "inputs", "encoder"),
        }

    def get_model_feature_lengths(self, task_feature_lengths: Lengths) -> Mapping[str, Any]:
        """Says how long each feature of the model is: as long as the inputs."""
        length = task_feature_lengths["inputs"]
        return self._with_further(dict.fromkeys(self.MODEL_FEATURES, length), task_feature_lengths, encoder=length)
