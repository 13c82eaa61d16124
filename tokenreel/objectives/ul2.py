"""The mixture of denoisers of UL2 (Tay et al. 2022, arXiv:2205.05131)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.objectives.base import Array, Arrays, Bools, Draw, Ints, check_id, token_counts
from tokenreel.objectives.noise import Denoising, check_noise, no_room, noise_counts, random_spans, solve_raw_length


@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoiser:
    """One kind of noise in a mixture.

    Attributes:
      density: share of the tokens that is noise.
      mean_span: tokens in a span, on average; None makes one span at the end (a prefix LM).
      mode_id: begins the inputs and tells the model which kind this is ([NLU], [NLG], [S2S]); None adds nothing.
      weight: how often it is chosen, relative to the others.
    """

    density: float
    mean_span: float | None
    mode_id: int | None = None
    weight: float = 1.0


def ul2_denoisers(r_id: int | None = None, s_id: int | None = None, x_id: int | None = None) -> tuple[Denoiser, ...]:
    """Lists the seven denoisers of UL2 (Tay et al. 2022, arXiv:2205.05131, table 1): two R, one S, four X, equally often."""
    return (
        Denoiser(density=0.15, mean_span=3.0, mode_id=r_id),
        Denoiser(density=0.15, mean_span=8.0, mode_id=r_id),
        Denoiser(density=0.25, mean_span=None, mode_id=s_id),
        Denoiser(density=0.5, mean_span=3.0, mode_id=x_id),
        Denoiser(density=0.5, mean_span=8.0, mode_id=x_id),
        Denoiser(density=0.15, mean_span=64.0, mode_id=x_id),
        Denoiser(density=0.5, mean_span=64.0, mode_id=x_id),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MixtureOfDenoisers(Denoising):
    """UL2's objective: each example is corrupted by one of several denoisers.

    How many tokens fill an example depends on its denoiser, so that is chosen first: `raw_lengths` says how to cut the stream
    (`wrapping.wrap_cuts`), and nothing is padded. Examples of one length work as well: of `even_length`, the tokens of the denoiser that
    takes fewest, none loses any; of longer ones, what an example's denoiser has no room for is cropped, and counted.

    Also makes `denoiser`, its number.

    Attributes:
      r_id, s_id, x_id: mode tokens of UL2's seven.
      denoisers: others in their place; dicts will do.
    """

    name: ClassVar[str] = "ul2"
    version: ClassVar[int] = 2
    varies_length: ClassVar[bool] = True

    r_id: int | None = None
    s_id: int | None = None
    x_id: int | None = None
    denoisers: Sequence[Denoiser | Mapping[str, Any]] | None = None

    _mixture: tuple[Denoiser, ...] = dataclasses.field(init=False, repr=False)
    _raw: Ints = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        chosen = self.denoisers if self.denoisers is not None else ul2_denoisers(self.r_id, self.s_id, self.x_id)
        try:
            mixture = tuple(d if isinstance(d, Denoiser) else Denoiser(**d) for d in chosen)
        except TypeError as error:
            known = ", ".join(field.name for field in dataclasses.fields(Denoiser))
            raise ConfigError(f"objective.denoisers are mappings with the settings {known}: {error}") from error
        if not mixture or min(d.weight for d in mixture) < 0 or not any(d.weight for d in mixture):
            raise ConfigError("objective.denoisers needs at least one denoiser, and weights that are not negative and not all 0")
        # One width of inputs serves all denoisers, so each of them has room for a mode token or none has.
        modes = [d.mode_id for d in mixture if d.mode_id is not None]
        if modes and len(modes) < len(mixture):
            raise ConfigError("objective.denoisers: give every denoiser a mode_id, or none")
        object.__setattr__(self, "_mixture", mixture)
        object.__setattr__(self, "_raw", np.zeros(1, np.int64))
        super().__post_init__()
        raw = []
        for denoiser in mixture:
            if denoiser.mode_id is not None:
                check_id("denoisers.mode_id", denoiser.mode_id, self.vocab_size)
            mean = denoiser.mean_span
            check_noise(denoiser.density, 1.0 if mean is None else mean)
            width, limit = self.seq_len - self._prefix_ids(), self._targets_width()
            length = solve_raw_length(width, limit, denoiser.density, _whole(denoiser), self._extra)
            if not length:
                raise ConfigError(no_room(width, limit, denoiser.density, _whole(denoiser), self._extra))
            raw.append(length)
        object.__setattr__(self, "_raw", np.array(raw, np.int64))
        for denoiser, length in zip(mixture, raw, strict=True):
            spans = int(noise_counts(length, denoiser.density, _whole(denoiser))[1])
            self._check_sentinels(
                f"a denoiser of density {denoiser.density} and mean_span {denoiser.mean_span}", length, spans, _whole(denoiser)
            )

    def marks(self) -> tuple[int, ...]:
        """See `Objective`."""
        return *super().marks(), *(d.mode_id for d in self._mixture if d.mode_id is not None)

    def raw_length(self) -> int:
        """See `Objective`: the most tokens that any of the denoisers takes."""
        return int(self._raw.max())

    def even_length(self) -> int:
        """See `Objective`: the tokens that every one of the denoisers has room for."""
        return int(self._raw.min())

    def takes(self, width: int) -> bool:
        """See `Objective`: examples of a cut stream, which hold up to `raw_length` tokens, or of `even_length`."""
        return width in (self.raw_length(), self.even_length())

    def choose(self, example_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0) -> Ints:
        """Draws the denoiser of each example by its id: int64 [n] numbers."""
        return self._choose(np.asarray(example_ids), self._draw(seed, variant, epoch))

    def raw_lengths(self, example_ids: npt.ArrayLike, *, seed: int, variant: int = 0, epoch: int = 0) -> Ints:
        """See `Objective`: as many tokens as the example's denoiser takes."""
        return self._raw[self.choose(example_ids, seed=seed, variant=variant, epoch=epoch)]

    def _choose(self, ids: Array, draw: Draw) -> Ints:
        return keys.pick(draw.word("denoiser", ids), [d.weight for d in self._mixture])

    def _prefix_ids(self) -> int:
        return int(self._mixture[0].mode_id is not None)

    def _targets_width(self) -> int:
        return self.seq_len if self.targets_length is None else self.targets_length

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`."""
        return {**super().output_shapes(), "denoiser": ("uint8", ())}

    def _corrupt(self, tokens: Array, starts: Bools | None, num_tokens: Ints, ids: Array, draw: Draw) -> dict[str, Array]:
        which = self._choose(ids, draw)
        num_tokens = np.minimum(num_tokens, self._raw[which])  # what has no room is cropped, where examples have one length
        noise, spans = np.zeros_like(num_tokens), np.zeros_like(num_tokens)
        for number, denoiser in enumerate(self._mixture):
            own = which == number
            noise[own], spans[own] = noise_counts(num_tokens[own], denoiser.density, _whole(denoiser))
        hidden = random_spans(tokens.shape[1], num_tokens, noise, spans, draw.words("spans", ids, tokens.shape[1]))
        prefix = None
        if self._prefix_ids():
            prefix = np.array([d.mode_id for d in self._mixture], tokens.dtype)[which]
        return {**self._split(tokens, hidden, num_tokens, prefix), "denoiser": which}

    def _cropped(self, before: Arrays, after: Arrays) -> Ints:
        """See `Denoising`: what the denoiser of an example has no room for."""
        room: Ints = self._raw[after["denoiser"].astype(np.int64)]
        cropped: Ints = np.maximum(token_counts(before) - room, 0)
        return cropped

    def statistics(self, before: Arrays, after: Arrays) -> dict[str, Any]:
        """Adds how many examples each denoiser got."""
        return {**super().statistics(before, after), "denoisers": np.bincount(after["denoiser"], minlength=len(self._mixture))}


def _whole(denoiser: Denoiser) -> float:
    """Gives the mean span of a denoiser; where it asks for one span, a number that no noise exceeds."""
    return float(1 << 23) if denoiser.mean_span is None else denoiser.mean_span
