"""Objectives whose targets are the tokens that follow: causal LM, and several steps ahead."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.format import segments
from tokenreel.format.schema import token_dtype
from tokenreel.objectives.base import Array, Arrays, Bools, Draw, Ints, Objective


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CausalLM(Objective):
    """Predicts each token from those before it: examples stay as they are laid out, weights follow from `segments.next_token_weights`."""

    name: ClassVar[str] = "causal_lm"

    def takes(self, width: int) -> bool:
        """See `Objective`: of any length."""
        return True

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`: nothing is added."""
        return {}

    def apply(self, arrays: Arrays, example_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0) -> dict[str, Array]:
        """Gives the arrays back."""
        return dict(arrays)

    def restore(self, arrays: Arrays) -> Array:
        """See `Objective`."""
        return arrays["tokens"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class NextTokens(Objective):
    """Predicts the next few tokens at once, from each position (cclm's next characters, multi-token prediction).

    Makes `targets` [seq_len, steps], the tokens 1 to `steps` ahead, and `target_weights`: 0 where that is beyond the example, padding, or
    another document.

    Attributes:
      steps: how many tokens ahead.
      across_documents: whether to predict the beginning of the next document.
    """

    name: ClassVar[str] = "next_tokens"
    version: ClassVar[int] = 2

    steps: int = 4
    across_documents: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.steps < self.seq_len:
            raise ConfigError(f"objective.steps must lie between 1 and packing.seq_len - 1 = {self.seq_len - 1}, got {self.steps}")

    def takes(self, width: int) -> bool:
        """See `Objective`: tokens behind the last position, stored by `packing.overlap`, are targets only."""
        return width >= self.seq_len

    def check_packing(self, *, mode: str, overlap: int = 0, align: int = 1) -> None:
        """See `Objective`."""
        if align > 1:
            raise ConfigError(f"objective {self.called} knows no padding inside examples, packing.align is {align}: set it to 1")

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`."""
        shape = (self.seq_len, self.steps)
        return {"targets": (token_dtype(self.vocab_size), shape), "target_weights": ("uint8", shape)}

    def _corrupt(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> dict[str, Array]:
        n = len(tokens)
        segment = segments.segment_ids(np.zeros(tokens.shape, np.bool_) if starts is None else starts, num_tokens)
        targets = np.full((n, self.seq_len, self.steps), self.pad_id, tokens.dtype)
        weights = np.zeros(targets.shape, np.bool_)
        for step in range(1, self.steps + 1):
            width = min(self.seq_len, tokens.shape[1] - step)
            here, there = segment[:, :width], segment[:, step : step + width]
            # Segment 0 is padding; two positions with the same segment lie in the same document.
            counts = (there > 0) & (here > 0) if self.across_documents else (there > 0) & (here == there)
            weights[:, :width, step - 1] = counts
            targets[:, :width, step - 1] = np.where(counts, tokens[:, step : step + width], self.pad_id)
        return {"targets": targets, "target_weights": weights}

    def restore(self, arrays: Arrays) -> Array:
        """See `Objective`."""
        return arrays["tokens"]

    def statistics(self, before: Arrays, after: Arrays) -> dict[str, Any]:
        """Adds the number of targets for each step."""
        return {**super().statistics(before, after), "targets_by_step": np.count_nonzero(after["target_weights"], axis=(0, 1))}
