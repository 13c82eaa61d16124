"""Random spans of noise with exact counts (Raffel et al. 2020, arXiv:1910.10683), and sentinels in their place.

Noise is a number of spans. Their lengths are a uniformly random composition (each way to split the noise into that many parts is equally
likely), and so are those of the text between them. In the inputs each span becomes a sentinel, in the targets it stands behind that
sentinel, so that `splice` can put the example together again.
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from tokenreel import keys, rates
from tokenreel.errors import BuildError, ConfigError
from tokenreel.format.schema import token_dtype
from tokenreel.objectives.base import Array, Arrays, Bools, Ints, Objective, Words, check_id, compact
from tokenreel.ragged import ranks

SPAN_BINS = 129  # lengths in the statistics: 0 to 127, and one bin for all longer spans


def noise_counts(lengths: npt.ArrayLike, density: float, mean_span: float) -> tuple[Ints, Ints]:
    """Counts the tokens of noise in examples of given lengths, and the spans that they form: int64, shaped like `lengths`.

    T5's formula with this project's rounding: at least one token of noise and one of text, and at least one span. Examples of fewer than
    two tokens have none.

    >>> noise, spans = noise_counts([10, 50, 100, 568, 1024], 0.15, 3.0)
    >>> noise.tolist(), spans.tolist()
    ([2, 8, 15, 85, 154], [1, 3, 5, 28, 51])
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    noise = np.clip(rates.share(lengths, density), 1, np.maximum(lengths - 1, 1))
    spans = np.maximum(rates.ratio(noise, mean_span), 1)
    spans = np.minimum(spans, np.minimum(noise, lengths - noise))  # a span has a token of noise, and a token of text before it
    enough = lengths >= 2
    return np.where(enough, noise, 0), np.where(enough, spans, 0)


def output_lengths(lengths: npt.ArrayLike, density: float, mean_span: float, extra_ids: int = 1) -> tuple[Ints, Ints]:
    """Counts the tokens of inputs and targets, with one sentinel for each span and `extra_ids` more (eos) at their ends.

    >>> inputs, targets = output_lengths([568], 0.15, 3.0)
    >>> inputs.tolist(), targets.tolist()
    ([512], [114])
    """
    noise, spans = noise_counts(lengths, density, mean_span)
    return np.asarray(lengths) - noise + spans + extra_ids, noise + spans + extra_ids


def solve_raw_length(inputs: int, targets: int | None, density: float, mean_span: float, extra_ids: int = 1) -> int:
    """Finds the most tokens whose inputs, and targets if they have a limit, still fit (T5's search); 0 if not even two do.

    >>> solve_raw_length(512, None, 0.15, 3.0), solve_raw_length(512, 512, 0.5, 3.0)
    (568, 766)
    """
    longest = (inputs + (inputs if targets is None else targets)) + 2
    while True:  # the search ends long before, except for densities near 1 without a limit on the targets
        lengths = np.arange(2, longest + 1)
        needed, made = output_lengths(lengths, density, mean_span, extra_ids)
        fits = (needed <= inputs) & (made <= targets if targets is not None else True)
        if not fits.all():
            return int(fits.argmin()) + 1 if fits[0] else 0
        longest *= 2


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Denoising(Objective):
    """What span corruption and UL2 share: sentinels, widths, and how noise becomes inputs and targets.

    Makes `inputs` [seq_len], `targets` [targets_length], `num_inputs`, `num_targets`. Where documents begin is not kept: positions move.

    Attributes:
      first_sentinel_id: of the first span; by default the highest id of the vocabulary (T5).
      num_sentinels: ids set aside for sentinels.
      sentinel_step: from one sentinel to the next: -1 goes down (T5), 1 up, 0 uses one for all spans.
      eos_id: ends inputs and targets; None adds nothing.
      targets_length: positions of the decoder; by default as many as the fullest example needs.
    """

    first_sentinel_id: int | None = None
    num_sentinels: int = 100
    sentinel_step: Literal[-1, 0, 1] = -1
    eos_id: int | None = None
    targets_length: int | None = None

    _drops: ClassVar[tuple[str, ...]] = ("tokens", "document_starts", "num_tokens")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sentinel_step not in (-1, 0, 1):
            raise ConfigError(f"objective.sentinel_step must be -1, 0 or 1, got {self.sentinel_step}")
        if self.num_sentinels < 1:
            raise ConfigError(f"objective.num_sentinels must be at least 1, got {self.num_sentinels}")
        check_id("first_sentinel_id", self._first_sentinel, self.vocab_size)
        last = self._first_sentinel + self.sentinel_step * (self.num_sentinels - 1)
        if not 0 <= last < self.vocab_size:
            raise ConfigError(
                f"objective.num_sentinels = {self.num_sentinels} from {self._first_sentinel} would end at {last}, outside the "
                f"vocabulary of {self.vocab_size} ids"
            )
        if self.eos_id is not None:
            check_id("eos_id", self.eos_id, self.vocab_size)

    @property
    def _first_sentinel(self) -> int:
        return self.vocab_size - 1 if self.first_sentinel_id is None else self.first_sentinel_id

    @property
    def _extra(self) -> int:
        """Ids that end the inputs, and the targets."""
        return int(self.eos_id is not None)

    def sentinels(self, count: int) -> Ints:
        """Lists the ids of the first `count` sentinels: int64 [count]."""
        return self._first_sentinel + self.sentinel_step * np.arange(count, dtype=np.int64)

    def marks(self) -> tuple[int, ...]:
        """See `Objective`."""
        eos = () if self.eos_id is None else (self.eos_id,)
        return *self.sentinels(self.num_sentinels).tolist(), *eos

    def check_packing(self, *, mode: str, overlap: int = 0, align: int = 1) -> None:
        """See `Objective`."""
        if overlap:
            raise ConfigError(f"objective {self.called} has no use for the token that packing.overlap = {overlap} repeats: set it to 0")
        if mode == "segment_pairs":
            raise ConfigError(f"objective {self.called} moves positions and cannot keep the segment ids of packing.mode {mode}: use wrap")
        if align > 1:
            raise ConfigError(f"objective {self.called} moves positions and cannot keep packing.align = {align}: set it to 1")

    def _targets_width(self) -> int:
        """Gives the positions of the targets."""
        raise NotImplementedError

    def output_shapes(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """See `Objective`."""
        ids = token_dtype(self.vocab_size)
        return {
            "inputs": (ids, (self.seq_len,)),
            "targets": (ids, (self._targets_width(),)),
            "num_inputs": ("int32", ()),
            "num_targets": ("int32", ()),
        }

    def _check_sentinels(self, what: str, length: int, spans: int, mean_span: float) -> None:
        """Refuses noise of more spans than there are sentinels, with a `ConfigError`."""
        if self.sentinel_step and spans > self.num_sentinels:
            raise ConfigError(
                f"{what} makes {spans} spans in {length} tokens, the vocabulary has {self.num_sentinels} sentinels. "
                f"Use a mean span of {mean_span * spans / self.num_sentinels:.1f} or more, or a shorter packing.seq_len."
            )

    def _split(self, tokens: Array, noise: Bools, num_tokens: Ints, prefix: Array | None = None) -> dict[str, Array]:
        """Turns noise into inputs and targets.

        Args:
          tokens: [n, L] ids of any integer dtype.
          noise: bool [n, L].
          num_tokens: int64 [n] real tokens.
          prefix: [n] ids that begin the inputs; None for none.

        Raises:
          BuildError: inputs or targets are longer than their width.
        """
        n, length = tokens.shape
        real = None
        if (num_tokens < length).any():
            real = np.arange(length) < num_tokens[:, None]
            noise = noise & real
        read, kept = noise_to_sentinels(tokens, noise, self._first_sentinel, self.sentinel_step)
        inputs = read, kept if real is None else kept & real
        # In the targets a sentinel stands before its span, where a text token was; one more place is for a span at the very beginning.
        begins = noise & kept
        written = np.concatenate([tokens[:, :1], tokens], axis=1)
        written[:, :-1][begins] = read[begins]
        kept = np.concatenate([np.zeros((n, 1), np.bool_), noise], axis=1)
        kept[:, :-1] |= begins
        targets = written, kept
        made = {}
        for name, (values, keep), width in (("inputs", inputs, self.seq_len), ("targets", targets, self._targets_width())):
            counts = np.count_nonzero(keep, axis=1)
            lead = prefix if name == "inputs" else None
            used = counts + self._extra + int(lead is not None)
            if len(counts) and used.max() > width:
                raise BuildError(f"{name} of {used.max()} tokens do not fit {width} positions: the examples are longer than the raw length")
            first = int(lead is not None)
            out = np.full((len(values), width), self.pad_id, tokens.dtype)
            out[:, first:], _ = compact(values, keep, width - first, self.pad_id)
            if lead is not None:
                out[:, 0] = lead
            if self.eos_id is not None:
                out[np.arange(len(out)), used - 1] = self.eos_id
            made[name] = out
            made[f"num_{name}"] = used
        return made

    def restore(self, arrays: Arrays) -> Array:
        """See `Objective`: `splice`."""
        inputs, targets = arrays["inputs"], arrays["targets"]
        if not self.sentinel_step:
            raise NotImplementedError("spans with one and the same sentinel can be told apart only if no text holds its id")
        return splice(
            inputs,
            targets,
            arrays["num_inputs"].astype(np.int64) - self._extra,
            arrays["num_targets"].astype(np.int64) - self._extra,
            np.sort(self.sentinels(self.num_sentinels)),
            self.raw_length(),
            self.pad_id,
            skip=self._prefix_ids(),
        )

    def _prefix_ids(self) -> int:
        """Gives the number of ids that begin the inputs."""
        return 0

    def _cropped(self, before: Arrays, after: Arrays) -> Ints:
        """Counts the tokens of each example that stand in neither inputs nor targets: int64 [n]."""
        return np.zeros(len(after["inputs"]), np.int64)

    def statistics(self, before: Arrays, after: Arrays) -> dict[str, Any]:
        """Adds noise tokens, spans, input and target tokens, what is cropped, and span lengths ([129], the last for 128 or more).

        Spans that touch in the example are one.
        """
        num_targets = after["num_targets"].astype(np.int64) - self._extra
        low, high = sorted((int(self.sentinels(1)[0]), int(self.sentinels(self.num_sentinels)[-1])))
        columns = np.arange(after["targets"].shape[1])
        marks = (after["targets"] >= low) & (after["targets"] <= high) & (columns < num_targets[:, None])
        spans = np.count_nonzero(marks, axis=1)
        row, at = np.nonzero(marks)
        following = np.append(at[1:], 0)
        last = np.append(row[1:] != row[:-1], True) if len(row) else np.zeros(0, np.bool_)
        lengths = np.where(last, num_targets[row], following) - at - 1
        return {
            **super().statistics(before, after),
            "noise_tokens": int((num_targets - spans).sum()),
            "spans": int(spans.sum()),
            "input_tokens": int(after["num_inputs"].sum()),
            "target_tokens": int(after["num_targets"].sum()),
            "cropped_tokens": int(self._cropped(before, after).sum()),
            "span_lengths": np.bincount(np.clip(lengths, 0, SPAN_BINS - 1), minlength=SPAN_BINS),
        }


def noise_to_sentinels(tokens: Array, noise: Bools, first_sentinel: int, step: int = -1) -> tuple[Array, Bools]:
    """Puts a sentinel on the first token of each span of noise (T5's `noise_span_to_unique_sentinel`; its other one if `step` is 0).

    Args:
      tokens: [n, L] ids of any integer dtype.
      noise: bool [n, L].
      first_sentinel: id for the first span of each example.
      step: from one span's id to the next.

    Returns:
      [n, L] tokens, and bool [n, L]: all but the other tokens of noise.

    >>> values, keep = noise_to_sentinels(np.array([[10, 11, 12, 13, 14, 15]]), np.array([[1, 1, 0, 0, 1, 0]], bool), 999)
    >>> values[keep].tolist()
    [999, 12, 13, 998, 15]
    """
    begins = noise.copy()
    begins[:, 1:] &= ~noise[:, :-1]
    values = tokens.copy()
    values[begins] = first_sentinel + step * ranks(np.count_nonzero(begins, axis=1))
    return values, ~noise | begins


def random_spans(length: int, num_tokens: Ints, noise: Ints, spans: Ints, words: Words) -> Bools:
    """Chooses noise: spans of random lengths, with text of random lengths before each.

    Noise and text are cut into `spans` parts each, all compositions equally likely: cuts are chosen without replacement, those of the text
    by the words from the left, those of the noise by the words behind them.

    Args:
      length: L.
      num_tokens: int64 [n], at most L.
      noise: int64 [n], below `num_tokens`.
      spans: int64 [n], at most `noise` and `num_tokens - noise`.
      words: uint64 [n, L].

    Returns:
      bool [n, L], true for noise: the first token of an example is text, its last is noise.
    """
    text = num_tokens - noise
    cuts = np.maximum(spans - 1, 0)
    column = np.arange(length)
    # Cuts between text tokens have the numbers 1 to text - 1, those between noise tokens follow from text + 1 on; so the chosen ones are
    # the bounds of all parts.
    text_ends = _cuts(words, cuts, (column >= 1) & (column < text[:, None]))
    noise_ends = _cuts(words, cuts, (column > text[:, None]) & (column < num_tokens[:, None]))
    most = int(spans.max(initial=0))
    rank = np.arange(most)
    inside = rank < spans[:, None]
    text_bounds = _bounds(text_ends, spans, text, most)
    noise_bounds = _bounds(noise_ends - text[:, None], spans, noise, most)
    # Span k begins behind the first k + 1 parts of text and the first k parts of noise.
    before = np.concatenate([np.zeros((len(noise), 1), np.int64), noise_bounds[:, :-1]], axis=1) if most else noise_bounds
    edges = np.zeros((len(num_tokens), length + 1), np.int8)  # +1 where a span begins, -1 behind it: the running sum is the mask
    row = np.nonzero(inside)[0]
    edges[row, (text_bounds + before)[inside]] = 1
    edges[row, (text_bounds + noise_bounds)[inside]] = -1
    return np.cumsum(edges[:, :-1], axis=1, dtype=np.int8).view(np.bool_)


def _cuts(words: Words, counts: Ints, eligible: Bools) -> Ints:
    """Chooses int64 [n] counts of the bool [n, L] eligible places by uint64 [n, L] words: int64 [n, most], ascending."""
    return keys.choose(words, counts, eligible).astype(np.int64)


def _bounds(cuts: Ints, parts: Ints, total: Ints, most: int) -> Ints:
    """Lists where the parts of each row end: at its cuts, int64 [n, k], then at its total, int64 [n]; int64 [n, most]."""
    bounds = np.zeros((len(parts), most), np.int64)
    width = min(most, cuts.shape[1])
    bounds[:, :width] = cuts[:, :width]
    rows = np.flatnonzero(parts)
    bounds[rows, parts[rows] - 1] = total[rows]
    return bounds


def splice(
    inputs: Array, targets: Array, num_inputs: Ints, num_targets: Ints, sentinels: Ints, width: int, pad_id: int, skip: int = 0
) -> Array:
    """Puts examples together again from inputs and targets with a sentinel for each span.

    Args:
      inputs: [n, L] ids of any integer dtype.
      targets: [n, M] ids, each span behind its sentinel.
      num_inputs: int64 [n] tokens of the inputs, eos not counted.
      num_targets: int64 [n] tokens of the targets, eos not counted.
      sentinels: int64 [k] sorted ids; they must not occur in the text.
      width: positions of the result.
      pad_id: fills the result up.
      skip: tokens at the beginning of the inputs that are no text (mode token).

    Returns:
      [n, width] ids.
    """
    values = np.concatenate([inputs, targets], axis=1)
    half = inputs.shape[1]
    column = np.arange(values.shape[1])
    real = np.where(column < half, (column >= skip) & (column < num_inputs[:, None]), column - half < num_targets[:, None])
    mark = real & np.isin(values, sentinels)
    section = np.concatenate([np.cumsum(mark[:, :half], axis=1), np.cumsum(mark[:, half:], axis=1)], axis=1)
    # Text after sentinel k of the inputs comes behind span k of the targets.
    rank = np.where(real & ~mark, np.where(column < half, 2 * section, 2 * section - 1), np.iinfo(np.int64).max)
    order = np.argsort(rank, axis=1, kind="stable")
    keep = np.take_along_axis(real & ~mark, order, axis=1)
    return compact(np.take_along_axis(values, order, axis=1), keep, width, pad_id)[0]


def check_noise(density: float, mean_span: float) -> None:
    """Refuses a density or a mean length of spans that noise cannot have, with a `ConfigError`."""
    if not 0 < density < 1:
        raise ConfigError(f"objective.density must lie between 0 and 1, both excluded, got {density}")
    if mean_span < 1:
        raise ConfigError(f"objective.mean_span must be at least 1 token, got {mean_span}")


def no_room(inputs: int, targets: int | None, density: float, mean_span: float, extra_ids: int) -> str:
    """Says that not even two tokens fit, and which lengths would do."""
    needed, made = (int(value) for value in output_lengths(2, density, mean_span, extra_ids))
    return (
        f"objective of density {density} and mean_span {mean_span} cannot fill {inputs} input and {targets} target positions: "
        f"already 2 tokens make {needed} and {made}. Use packing.seq_len {needed} and objective.targets_length {made} or more."
    )
