"""The order in which a trainer sees examples: pure integer arithmetic, forwards (sample to example) and backwards.

A *sample* is a place in the stream a run consumes, counted over all hosts; an *example* is a record of a dataset. Every function here maps
the one to the other without state or index files, so that any host computes any sample, and a run resumes from one integer. Runs that
resume rely on every value: they are frozen by `tests/golden/order.json`, and a change needs a new `ORDER_VERSION`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.loaders.order.lanes import LaneOrder, Lanes
from tokenreel.loaders.order.permutation import MAX_EXAMPLES, Int64Array, Permutation, StoredOrder
from tokenreel.loaders.order.skips import SkippedRanges
from tokenreel.loaders.order.stages import MixtureStage

ORDER_VERSION = "order-1"
EpochOrder = Permutation | StoredOrder | LaneOrder
FIRST_EMPTY, ALL_USED = "first_empty", "all_used"  # rules for the end of a run, see `Plan`


class Located(NamedTuple):
    """Where [k] samples come from.

    Attributes:
      source: int64 [k] place in the plan's sources.
      epoch: int64 [k] how often the source was used up before.
      example: int64 [k] number in the source.
    """

    source: Int64Array
    epoch: Int64Array
    example: Int64Array


class Plan:
    """What every sample of a run is, as a pure function of its number.

    Samples are numbered as delivered: skipped ranges have no number. Inside, a *stream position* counts them too. One sample goes through
    four steps, each of which has its inverse in `find`:

      sample -> stream position            over the skipped ranges (`SkippedRanges`)
      stream position -> (source, taken)   the source of this position, and how many of its examples were taken before (`MixtureStage`)
      taken -> (epoch, place)              by the source's size: a source is used up before it repeats
      place -> example                     by the epoch's own order (`Permutation`, `LaneOrder` or `StoredOrder`)

    Args:
      names: one for each source; a source's order depends on its name, the seed and its size alone.
      examples: how many each source holds.
      seed: any integer.
      shuffle: True for a permutation of each epoch, `Lanes` (resolved) for blocks, False for the stored order.
      stages: the mixture over time; None for one source, or equal weights.
      stop: `FIRST_EMPTY`: before the first sample that would begin epoch `epochs` of any source; `ALL_USED`: when every source was used
        `epochs` times; a number: after that many stream positions; None: never.
      epochs: for the first two rules.
      skip: [start, end) ranges of stream positions that are left out.

    Attributes:
      stream_length: stream positions before the end; None where the plan never stops.

    Raises:
      ConfigError: a source is empty or named twice, stages are out of order, or the stop rule is unknown or never comes true.
    """

    def __init__(
        self,
        names: Sequence[str],
        examples: Sequence[int],
        *,
        seed: int,
        shuffle: bool | Lanes = True,
        stages: Sequence[MixtureStage] | None = None,
        stop: str | int | None = None,
        epochs: int = 1,
        skip: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.names, self.examples = tuple(names), tuple(int(n) for n in examples)
        if len(set(self.names)) != len(self.names) or len(self.names) != len(self.examples) or not self.names:
            raise ConfigError(f"a plan needs sources of different names, got {list(names)}")
        for name, n in zip(self.names, self.examples, strict=True):
            if not 1 <= n <= MAX_EXAMPLES:
                raise ConfigError(f"source {name!r} holds {n} examples; it must hold 1 to 2**62")
        self.seed, self.shuffle = int(seed), shuffle
        self.stages = tuple(stages) if stages else (MixtureStage(weights=(1,) * len(self.names)),)
        self._check_stages()
        self._remember()
        self._bases = self._counts_at_stage_starts()
        self.skipped = SkippedRanges(skip)
        self.stop, self.epochs = stop, epochs
        self.stream_length = self._stream_length()

    def _remember(self) -> None:
        # A chunk of planned samples crosses few blocks, and few epochs of each source. The caches belong to the plan: shared ones would
        # keep plans alive.
        self._mixed = functools.lru_cache(maxsize=4)(self._mix_block)
        self._epoch_order = functools.lru_cache(maxsize=64)(self._make_epoch_order)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_mixed", "_epoch_order")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._remember()

    def _check_stages(self) -> None:
        starts = [stage.start for stage in self.stages]
        if starts[0] != 0 or any(after <= before for before, after in itertools.pairwise(starts)):
            raise ConfigError(f"stages must start at 0 and be in order, got starts {starts}")
        for stage in self.stages:
            if len(stage.weights) != len(self.names):
                raise ConfigError(f"a stage weighs each of the sources {list(self.names)}, got weights {stage.weights}")

    def _counts_at_stage_starts(self) -> list[list[int]]:
        """Counts the examples that each source gave before each stage, which goes on with its sources where the last one left them."""
        bases = [[0] * len(self.names)]
        for number, (stage, following) in enumerate(zip(self.stages, self.stages[1:], strict=False)):
            inside = self._counts_inside(number, following.start - stage.start)
            bases.append([base + count for base, count in zip(bases[-1], inside, strict=True)])
        return bases

    def __len__(self) -> int:
        """Counts the samples that the whole run delivers.

        Raises:
          TypeError: the plan never stops.
        """
        if self.stream_length is None:
            raise TypeError("this plan never stops: it has no length; give `epochs`, or a mixture with a stop rule")
        return self.delivered_before(self.stream_length)

    @property
    def skip(self) -> tuple[tuple[int, int], ...]:
        """The [start, end) ranges of stream positions that are left out, sorted and united."""
        return self.skipped.ranges

    @property
    def length(self) -> int | None:
        """The number of samples that the whole run delivers, None where the plan never stops."""
        return None if self.stream_length is None else len(self)

    # Mixture: stream position <-> (source, taken).

    def _mix_block(self, number: int, block: int) -> tuple[npt.NDArray[np.int16], Int64Array]:
        """Deals one block of a stage to the sources.

        Args:
          number: of the stage.
          block: number of the block in the stage.

        Returns:
          int16 [stage.block] the source of each position, and int64 [stage.block] how many of the block's positions before it have the
          same source.
        """
        stage = self.stages[number]
        before, after = stage.counts_at_edge(block), stage.counts_at_edge(block + 1)
        counts = [b - a for a, b in zip(before, after, strict=True)]
        key = keys.key(self.seed, "order/mixture", stage.start, block)
        dealt = np.repeat(np.arange(len(counts), dtype=np.int16), counts)  # 0 0 0 1 1 2, before it is shuffled
        source = dealt[Permutation(stage.block, key)(np.arange(stage.block))]
        # Sorted by source, the positions of one lie side by side in their order: their ranks count from where the source begins.
        rank = np.empty(stage.block, dtype=np.int64)
        starts = np.cumsum([0, *counts[:-1]])
        rank[np.argsort(source, kind="stable")] = np.arange(stage.block) - np.repeat(starts, counts)
        return source, rank

    def _counts_inside(self, number: int, samples: int) -> list[int]:
        """Counts the examples of each source among the first `samples` stream positions of a stage."""
        stage = self.stages[number]
        if len(stage.weights) == 1:
            return [samples]
        block, rest = divmod(samples, stage.block)
        counts = stage.counts_at_edge(block)
        if rest:  # the edges of blocks are known by arithmetic; only what lies inside the last one is counted
            source, _ = self._mixed(number, block)
            counts = [n + int(m) for n, m in zip(counts, np.bincount(source[:rest], minlength=len(counts)), strict=True)]
        return counts

    def counts_before(self, position: int) -> list[int]:
        """Counts the examples of each source before a stream position, exactly."""
        number = max(i for i, stage in enumerate(self.stages) if stage.start <= position)
        inside = self._counts_inside(number, position - self.stages[number].start)
        return [base + count for base, count in zip(self._bases[number], inside, strict=True)]

    def _mixture(self, positions: Int64Array) -> tuple[Int64Array, Int64Array]:
        """Maps int64 [k] stream positions to their sources, and to how many examples of the source were taken before: int64 [k] both."""
        if len(self.names) == 1:
            return np.zeros_like(positions), positions
        source, taken = np.empty_like(positions), np.empty_like(positions)
        stage_of = np.searchsorted([stage.start for stage in self.stages], positions, side="right") - 1
        for number in np.unique(stage_of).tolist():
            stage = self.stages[number]
            in_stage = np.flatnonzero(stage_of == number)
            blocks, places = np.divmod(positions[in_stage] - stage.start, stage.block)
            for block in np.unique(blocks).tolist():
                rows = in_stage[blocks == block]
                place = places[blocks == block]
                sources, ranks = self._mixed(number, block)
                before = np.array([a + b for a, b in zip(self._bases[number], stage.counts_at_edge(block), strict=True)], dtype=np.int64)
                source[rows] = sources[place]
                taken[rows] = ranks[place] + before[source[rows]]
        return source, taken

    def _position(self, source: int, taken: int) -> int | None:
        """Finds the stream position at which a source gives its `taken`-th example, counted from 0; None if it never does."""
        if len(self.names) == 1:
            return taken
        number = max(i for i, base in enumerate(self._bases) if base[source] <= taken)
        stage, inside = self.stages[number], taken - self._bases[number][source]
        weight = stage.weights[source]
        if weight == 0:
            return None  # in an earlier stage the next base would tell it from this one
        block = inside * sum(stage.weights) // (weight * stage.block)  # right, or one off
        while stage.counts_at_edge(block)[source] > inside:
            block -= 1
        while stage.counts_at_edge(block + 1)[source] <= inside:
            block += 1
        sources, _ = self._mixed(number, block)
        places = np.flatnonzero(sources == source)
        return stage.start + block * stage.block + int(places[inside - stage.counts_at_edge(block)[source]])

    # Epochs: (source, taken) -> example, and back.

    def _make_epoch_order(self, source: int, epoch: int) -> EpochOrder:
        """Makes the order of one epoch of a source. Its key names the source, so a source added later leaves the others' order alone."""
        if self.shuffle is False:
            return StoredOrder()
        key = keys.key(self.seed, "order/epoch", self.names[source], epoch)
        n = self.examples[source]
        return LaneOrder(n, key, self.shuffle) if isinstance(self.shuffle, Lanes) else Permutation(n, key)

    def locate(self, samples: npt.ArrayLike) -> Located:
        """Says what int64 [k] samples are. Ask for a few thousand at once: below a hundred, overhead dominates.

        Raises:
          IndexError: a sample is negative, or lies behind the end.
        """
        positions = self.stream_positions(samples)
        source, taken = self._mixture(positions)
        if len(self.names) == 1:
            epoch, place = np.divmod(taken, self.examples[0])
            first, last = (int(epoch.min()), int(epoch.max())) if len(epoch) else (0, -1)
            if first == last:  # the usual case, without the search for groups below
                return Located(source=source, epoch=epoch, example=self._epoch_order(0, first)(place))
        else:
            epoch, place = np.divmod(taken, np.array(self.examples, dtype=np.int64)[source])
        example = np.empty_like(place)
        for s in np.unique(source).tolist():
            of_source = np.flatnonzero(source == s)
            for e in np.unique(epoch[of_source]).tolist():
                rows = of_source[epoch[of_source] == e]
                example[rows] = self._epoch_order(s, e)(place[rows])
        return Located(source=source, epoch=epoch, example=example)

    def find(self, source: int, example: int, *, first_epoch: int = 0) -> Iterator[tuple[int, int]]:
        """Yields (epoch, sample) for every time an example is delivered, in order of epochs; skipped times are left out.

        Never ends where the plan never stops.

        Args:
          source: place in the plan's sources.
          example: number in the source.
          first_epoch: the epoch to begin with.

        Raises:
          IndexError: the source has no such example.
        """
        n = self.examples[source]
        if not 0 <= example < n:
            raise IndexError(f"source {self.names[source]!r} has the examples 0 to {n - 1:,}, got {example:,}")
        epoch = first_epoch
        while True:
            place = int(self._epoch_order(source, epoch).inverse(np.array([example]))[0])
            position = self._position(source, epoch * n + place)
            # Within a source, later epochs come later, so that its first example behind the end closes the search.
            if position is None or (self.stream_length is not None and position >= self.stream_length):
                start = self._position(source, epoch * n)
                if start is None or (self.stream_length is not None and start >= self.stream_length):
                    return
            elif (sample := self.skipped.sample_at(position)) is not None:
                yield epoch, sample
            epoch += 1

    # Skipped ranges: sample <-> stream position.

    def stream_positions(self, samples: npt.ArrayLike) -> Int64Array:
        """Maps int [k] samples to int64 [k] stream positions, over the skipped ranges.

        Raises:
          IndexError: a sample is negative, or lies behind the end.
        """
        samples = np.asarray(samples, dtype=np.int64)
        if not samples.size:
            return samples
        length = self.length
        if samples.min() < 0 or (length is not None and samples.max() >= length):
            raise IndexError(
                f"this run has the samples 0 to {'...' if length is None else length - 1}, got {samples.min()} to {samples.max()}"
            )
        return self.skipped.stream_positions(samples)

    def delivered_before(self, position: int) -> int:
        """Counts the samples delivered before a stream position."""
        return self.skipped.delivered_before(position)

    def _stream_length(self) -> int | None:
        """Finds the stream position behind the last, by the stop rule; None where there is none."""
        if self.stop is None:
            return None
        if self.stop == FIRST_EMPTY:
            ends = [self._position(s, n * self.epochs) for s, n in enumerate(self.examples)]
            return min((end for end in ends if end is not None), default=None)
        if self.stop == ALL_USED:
            lasts = [self._position(s, n * self.epochs - 1) for s, n in enumerate(self.examples)]
            if None in lasts:
                raise ConfigError(f"source {self.names[lasts.index(None)]!r} is never used up: its weight in the last stage is 0")
            return max(last for last in lasts if last is not None) + 1
        if isinstance(self.stop, int) and self.stop >= 0:
            return self.stop
        raise ConfigError(f"stop is {FIRST_EMPTY!r}, {ALL_USED!r}, a number of examples or None, got {self.stop!r}")

    def describe(self) -> dict[str, object]:
        """Names everything that decides the order, in JSON's types, except the seed, the skipped ranges and the sources' content."""
        lanes = self.shuffle
        return {
            "shuffle": dataclasses.asdict(lanes) if isinstance(lanes, Lanes) else bool(lanes),
            "sources": [{"examples": n, "name": name} for name, n in zip(self.names, self.examples, strict=True)],
            "stages": [{"start": stage.start, "weights": list(stage.weights)} for stage in self.stages],
        }


def batch_rows(batch_size: int, shuffle: bool | Lanes) -> Int64Array:
    """Says which sample stands in each row of a batch: int64 [batch_size], counted from the batch's first.

    With lanes, rows are sorted by lane where the lanes divide the batch, so that a host's contiguous rows are whole lanes.
    """
    rows = np.arange(batch_size, dtype=np.int64)
    if isinstance(shuffle, Lanes) and batch_size > shuffle.lanes and batch_size % shuffle.lanes == 0:
        return rows.reshape(-1, shuffle.lanes).T.reshape(-1).copy()
    return rows
