"""Span corruption, T5's objective: an encoder reads the text with sentinels in place of some spans, a decoder writes the spans."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.objectives.base import Array, Bools, Draw, Ints
from tokenreel.objectives.noise import Denoising, check_noise, no_room, noise_counts, output_lengths, random_spans, solve_raw_length


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SpanCorruption(Denoising):
    """T5's objective (Raffel et al. 2020, arXiv:1910.10683).

    An example begins with text and ends with noise, so positions near its ends are rarely or always noise.

    Attributes:
      density: share of the tokens that is noise.
      mean_span: tokens in a span, on average.
      roll: turns the noise by a random offset, around the end. All positions are then noise equally often; a span that is cut in two by the
        end costs a sentinel more, for which room is left.
    """

    name: ClassVar[str] = "span_corruption"
    version: ClassVar[int] = 2

    density: float = 0.15
    mean_span: float = 3.0
    roll: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_noise(self.density, self.mean_span)
        if not self.raw_length():
            raise ConfigError(no_room(self.seq_len, self.targets_length, self.density, self.mean_span, self._room))
        spans = int(noise_counts(self.raw_length(), self.density, self.mean_span)[1]) + int(self.roll)
        self._check_sentinels(f"objective.density {self.density} with mean_span {self.mean_span}", self.raw_length(), spans, self.mean_span)

    @property
    def _room(self) -> int:
        """Ids beside text and noise: eos, and the sentinel of a span that `roll` cuts in two."""
        return self._extra + int(self.roll)

    def raw_length(self) -> int:
        """See `Objective`: 568 tokens for 512 positions with the defaults, so that nothing is padded."""
        return solve_raw_length(self.seq_len, self.targets_length, self.density, self.mean_span, self._room)

    def _targets_width(self) -> int:
        if self.targets_length is not None:
            return self.targets_length
        return int(output_lengths(self.raw_length(), self.density, self.mean_span, self._room)[1])

    def _corrupt(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> dict[str, Array]:
        noise, spans = noise_counts(num_tokens, self.density, self.mean_span)
        hidden = random_spans(tokens.shape[1], num_tokens, noise, spans, draw.words("spans", ids, tokens.shape[1]))
        if self.roll:
            offsets = keys.below(draw.word("roll", ids), np.maximum(num_tokens, 1))
            source = (np.arange(tokens.shape[1]) - offsets[:, None]) % np.maximum(num_tokens, 1)[:, None]
            hidden = np.take_along_axis(hidden, source, axis=1)
        return self._split(tokens, hidden, num_tokens)
