"""The stages of a mixture: from when on which datasets have which weights."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

from tokenreel.errors import ConfigError

_BLOCK = 1024  # samples of a mixture whose counts are planned together
_MAX_BLOCK = 1 << 20  # a block is shuffled as a whole, in memory, whenever one of its samples is asked for


def integer_weights(rates: Sequence[float | Fraction]) -> tuple[int, ...]:
    """Turns rates into the smallest integers of the same proportions; a float means the decimal number it prints as.

    Raises:
      ConfigError: a rate is negative or no number, or all are zero.

    >>> integer_weights([0.3, 0.3, 0.4])
    (3, 3, 4)
    """
    try:
        exact = [rate if isinstance(rate, Fraction) else Fraction(repr(rate)) for rate in rates]
    except ValueError as error:
        raise ConfigError(f"mixture rates must be numbers, got {list(rates)}") from error
    if not exact or min(exact) < 0 or max(exact) == 0:
        raise ConfigError(f"mixture rates must be at least 0, and one of them more, got {[float(rate) for rate in exact]}")
    scale = math.lcm(*(rate.denominator for rate in exact))
    whole = [int(rate * scale) for rate in exact]
    divisor = math.gcd(*whole)
    return tuple(weight // divisor for weight in whole)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureStage:
    """The proportions of the sources from one sample on.

    Attributes:
      start: the first sample of the stage, in stream positions (skipped samples count).
      weights: for each source, how many of every sum(weights) examples come from it.

    Raises:
      ConfigError: the weights are impossible, or a source would give less than one example in 2**20.

    >>> MixtureStage(weights=(2, 1)).counts_at_edge(1)
    [682, 342]
    """

    start: int = 0
    weights: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.start < 0 or min(self.weights) < 0 or sum(self.weights) == 0:
            raise ConfigError(f"a stage starts at 0 or later and its weights are at least 0, one of them more, got {self}")
        rarest = min(weight for weight in self.weights if weight)
        if self.block > _MAX_BLOCK:
            raise ConfigError(
                f"a source of weight {rarest} in {sum(self.weights)} would give less than one example in {_MAX_BLOCK:,}; "
                "give it more weight, or leave it out"
            )

    @property
    def block(self) -> int:
        """The number of samples planned together: so many that each source has one in each block, so that its counts never fall."""
        rarest = min(weight for weight in self.weights if weight)
        return max(_BLOCK, -(-sum(self.weights) // rarest))

    def counts_at_edge(self, block: int) -> list[int]:
        """Counts the examples of each source in the first `block` blocks: each less than one from its ideal share, together all samples."""
        total, samples = sum(self.weights), block * self.block
        # Rounding the running sums rather than each share makes the counts add up; as the sums grow with `block`, no count ever falls.
        edges = [0]
        for weight in self.weights:
            edges.append(edges[-1] + weight)
        cuts = [samples * edge // total for edge in edges]
        return [after - before for before, after in itertools.pairwise(cuts)]
