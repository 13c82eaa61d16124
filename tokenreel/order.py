"""The order in which a trainer sees examples: pure integer arithmetic, forwards (sample to example) and backwards.

A *sample* is a place in the stream a run consumes, counted over all hosts; an *example* is a record of a dataset. Every function here maps
the one to the other without state or index files, so that any host computes any sample, and a run resumes from one integer. Runs that
resume rely on every value: they are frozen by `tests/golden/order.json`, and a change needs a new `ORDER_VERSION`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ConfigError

ORDER_VERSION = "order-1"

Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]

MAX_EXAMPLES = 1 << 62
_ROUNDS = 6
_TABLE = 256
_GOLDEN = 0x9E3779B97F4A7C15
_MASK64 = (1 << 64) - 1
_U30, _U27, _U31, _U32 = (np.uint64(n) for n in (30, 27, 31, 32))
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)

_BLOCK = 1024  # samples of a mixture whose counts are planned together
_MAX_BLOCK = 1 << 20


class Permutation:
    """A keyed permutation of the integers below n, computed one element at a time, in both directions.

    A Feistel network over the pairs (l, r), l below a, r below b, with a about sqrt(n) and a * b just above n, and addition modulo a side
    instead of xor (Black & Rogaway, "Ciphers with arbitrary finite domains", 2002, method 3): six rounds, each hashed by SplitMix64, which
    no statistic we tried tells from a random permutation. The sides are chosen so that hardly a value walks the cycle back into range,
    where a power-of-four domain walks up to four times. Up to 256 elements, where six rounds do not reach every permutation evenly, they
    are sorted by random keys instead.

    Args:
      n: size, from 1 to 2**62.
      key: an unsigned 64-bit integer: one permutation each.

    >>> Permutation(5, key=1)(np.arange(5)).tolist()
    [0, 4, 1, 3, 2]
    >>> Permutation(5, key=1).inverse([0, 4, 1, 3, 2]).tolist()
    [0, 1, 2, 3, 4]
    """

    def __init__(self, n: int, key: int) -> None:
        if not 1 <= n <= MAX_EXAMPLES:
            raise ValueError(f"a permutation needs 1 to 2**62 elements, got {n}")
        self.n = n
        self.key = key
        self._table = np.argsort(keys.bits(key, "order/table", np.arange(n), 1)[:, 0], kind="stable") if n <= _TABLE else None

    def __call__(self, positions: npt.ArrayLike) -> Int64Array:
        """Maps [k] positions to [k] values, both below n.

        Raises:
          IndexError: a position is negative or not below n.
        """
        if self._table is not None:
            return self._table[_checked(positions, self.n)]
        return _walk(_encrypt, positions, self.n, np.uint64(self.key))

    def inverse(self, values: npt.ArrayLike) -> Int64Array:
        """Maps [k] values back to their [k] positions.

        Raises:
          IndexError: a value is negative or not below n.
        """
        if self._table is not None:
            return np.argsort(self._table, kind="stable")[_checked(values, self.n)]
        return _walk(_decrypt, values, self.n, np.uint64(self.key))


def _checked(values: npt.ArrayLike, n: int) -> Int64Array:
    values = np.asarray(values, dtype=np.int64)
    if values.size and (values.min() < 0 or values.max() >= n):
        raise IndexError(f"the permutation is of integers below {n:,}, got {values.min()} to {values.max()}")
    return values


def permute(positions: npt.ArrayLike, n: int, key: UInt64Array) -> Int64Array:
    """Applies to each of [k] positions the Feistel network of its own key, all of one size n."""
    return _walk(_encrypt, positions, n, key)


def unpermute(values: npt.ArrayLike, n: int, key: UInt64Array) -> Int64Array:
    """Undoes `permute`."""
    return _walk(_decrypt, values, n, key)


@functools.lru_cache(maxsize=1024)
def _sides(n: int) -> tuple[int, int]:
    """Finds the sides (a, b) of the smallest domain a * b >= n among 64 candidates from a = ceil(sqrt(n)) on; the first of equals."""
    root = math.isqrt(n - 1) + 1
    a = min(range(root, root + min(64, root // 4 + 1)), key=lambda a: -n % a)
    return a, -(-n // a)


def _walk(step: object, values: npt.ArrayLike, n: int, key: np.uint64 | UInt64Array) -> Int64Array:
    """Applies a bijection of a slightly larger domain until every value is below n again."""
    signed = _checked(values, n)
    out: UInt64Array = step(signed.astype(np.uint64).reshape(-1), n, key)  # type: ignore[operator]
    far = np.flatnonzero(out >= n)
    while len(far):
        own = key if key.ndim == 0 else np.broadcast_to(key, signed.shape).reshape(-1)[far]
        out[far] = step(out[far], n, own)  # type: ignore[operator]
        far = far[out[far] >= n]
    return out.view(np.int64).reshape(signed.shape)


def _round(half: UInt64Array, key: np.uint64 | UInt64Array, number: int, side: int) -> UInt64Array:
    """Hashes one half to integers below `side`: the number-th output of the SplitMix64 generator seeded with half + hash of the key."""
    round_key = _round_key(key, number)
    z = half + round_key
    t = z >> _U30
    z ^= t
    z *= _MIX_1
    np.right_shift(z, _U27, out=t)
    z ^= t
    z *= _MIX_2
    np.right_shift(z, _U31, out=t)
    z ^= t
    z >>= _U32
    z *= np.uint64(side)
    z >>= _U32
    return z


def _round_key(key: np.uint64 | UInt64Array, number: int) -> np.uint64 | UInt64Array:
    step = (number + 1) * _GOLDEN & _MASK64
    if key.ndim == 0:
        return np.uint64(_mix_integer((int(key) + step) & _MASK64))
    return keys.mix(key + np.uint64(step))


@functools.lru_cache(maxsize=4096)
def _mix_integer(z: int) -> int:
    return int(keys.mix(np.array([z], dtype=np.uint64))[0])


def _encrypt(x: UInt64Array, n: int, key: np.uint64 | UInt64Array) -> UInt64Array:
    a, b = _sides(n)
    left = x // np.uint64(b)
    right = x - left * np.uint64(b)
    for number in range(0, _ROUNDS, 2):
        left += _round(right, key, number, a)
        np.minimum(left, left - np.uint64(a), out=left)  # modulo a: the difference wraps to a huge number where it is negative
        right += _round(left, key, number + 1, b)
        np.minimum(right, right - np.uint64(b), out=right)
    left *= np.uint64(b)
    left += right
    return left


def _decrypt(x: UInt64Array, n: int, key: np.uint64 | UInt64Array) -> UInt64Array:
    a, b = _sides(n)
    left = x // np.uint64(b)
    right = x - left * np.uint64(b)
    for number in range(_ROUNDS - 2, -1, -2):
        right -= _round(left, key, number + 1, b)
        np.minimum(right, right + np.uint64(b), out=right)
        left -= _round(right, key, number, a)
        np.minimum(left, left + np.uint64(a), out=left)
    left *= np.uint64(b)
    left += right
    return left


class Identity:
    """The stored order, as an epoch's order."""

    def __call__(self, positions: npt.ArrayLike) -> Int64Array:
        """Gives the positions back."""
        return np.asarray(positions, dtype=np.int64)

    def inverse(self, values: npt.ArrayLike) -> Int64Array:
        """Gives the values back."""
        return np.asarray(values, dtype=np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lanes:
    """A shuffle that reads whole blocks, for datasets whose bytes come over a network.

    An epoch's blocks are dealt in keyed order to the lanes; each lane mixes `mix` of its blocks at a time with a keyed permutation; sample
    g of the epoch belongs to lane g modulo `lanes`. A host that owns whole lanes reads every block of theirs once, and no other (the blocks
    left over at the end of an epoch, fewer than `lanes` and a short one, are read by all). The order does not depend on the number of
    hosts.

    Attributes:
      lanes: number of lanes; the number of hosts must divide it. One host holds lanes / hosts * mix blocks in memory.
      mix: blocks a lane mixes at a time.
      block: consecutive examples fetched by one request; 0 takes as many as make about 1 MB.
    """

    lanes: int = 32
    mix: int = 4
    block: int = 0

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.mix < 1 or self.block < 0:
            raise ConfigError(f"lanes and mix must be at least 1 and block at least 0, got {self}")

    def resolve(self, record_bytes: int) -> Lanes:
        """Settles the block size for records of that many bytes."""
        return self if self.block else dataclasses.replace(self, block=max(1, (1 << 20) // record_bytes))


class LaneOrder:
    """One epoch's order by `Lanes` (resolved), over n examples."""

    def __init__(self, n: int, key: int, lanes: Lanes) -> None:
        if not lanes.block:
            raise ValueError("resolve the lanes first: their block size is open")
        self.n = n
        self.lanes, self.mix, self.block = lanes.lanes, lanes.mix, lanes.block
        blocks = n // self.block
        self.per_lane = blocks // self.lanes  # blocks that each lane is dealt
        self.dealt = self.per_lane * self.lanes  # blocks that belong to a lane
        self.main = self.dealt * self.block  # samples in those blocks
        self.whole = blocks * self.block  # samples in whole blocks; behind them is the short one
        self._blocks = Permutation(max(blocks, 1), keys.key(key, "lanes/blocks"))
        self._tail = Permutation(max(n - self.main, 1), keys.key(key, "lanes/tail"))
        self._key = np.uint64(keys.key(key, "lanes/mix"))

    def _group_key(self, lane: Int64Array, group: Int64Array) -> UInt64Array:
        index = (group * self.lanes + lane).astype(np.uint64)
        return keys.mix(keys.mix(index + np.uint64(_GOLDEN)) ^ self._key)

    def _in_groups(self, step: object, values: Int64Array, lane: Int64Array, group: Int64Array) -> Int64Array:
        """Permutes within groups of mixed blocks; the last group of a lane may have fewer blocks, so another size."""
        out = np.empty_like(values)
        last, short = divmod(self.per_lane, self.mix)
        for blocks, which in ((self.mix, group < last), (short, group == last)):
            rows = np.flatnonzero(which)
            if len(rows):
                out[rows] = step(values[rows], blocks * self.block, self._group_key(lane[rows], group[rows]))  # type: ignore[operator]
        return out

    def __call__(self, positions: npt.ArrayLike) -> Int64Array:
        """Maps [k] positions of the epoch to [k] examples."""
        positions = np.asarray(positions, dtype=np.int64)
        out = np.empty_like(positions)
        main = positions < self.main
        if main.any():
            place, lane = np.divmod(positions[main], self.lanes)
            group, within = np.divmod(place, self.mix * self.block)
            block, row = np.divmod(self._in_groups(permute, within, lane, group), self.block)
            out[main] = self._blocks((group * self.mix + block) * self.lanes + lane) * self.block + row
        if not main.all():
            block, row = np.divmod(self._tail(positions[~main] - self.main), self.block)
            out[~main] = self._tail_block(block + self.dealt) * self.block + row
        return out

    def _tail_block(self, dealt: Int64Array) -> Int64Array:
        """Gives the blocks behind the dealt ones: first the whole ones in keyed order, then the short one at the end of the dataset."""
        full = self.whole // self.block
        return np.where(dealt < full, self._blocks(np.minimum(dealt, self._blocks.n - 1)), full)

    def inverse(self, values: npt.ArrayLike) -> Int64Array:
        """Maps [k] examples back to their [k] positions in the epoch."""
        values = np.asarray(values, dtype=np.int64)
        block, row = np.divmod(values, self.block)
        full = self.whole // self.block
        dealt = np.where(block < full, self._blocks.inverse(np.minimum(block, self._blocks.n - 1)), full)
        out = np.empty_like(values)
        main = dealt < self.dealt
        if main.any():
            place, lane = np.divmod(dealt[main], self.lanes)
            group, block_in_group = np.divmod(place, self.mix)
            within = self._in_groups(unpermute, block_in_group * self.block + row[main], lane, group)
            out[main] = (group * self.mix * self.block + within) * self.lanes + lane
        if not main.all():
            out[~main] = self._tail.inverse((dealt[~main] - self.dealt) * self.block + row[~main]) + self.main
        return out


EpochOrder = Permutation | Identity | LaneOrder


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
class Stage:
    """The proportions of the sources from one sample on.

    Attributes:
      start: the first sample of the stage, in stream positions (skipped samples count).
      weights: for each source, how many of every sum(weights) examples come from it.
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
        edges = [0]
        for weight in self.weights:
            edges.append(edges[-1] + weight)
        cuts = [samples * edge // total for edge in edges]
        return [after - before for before, after in itertools.pairwise(cuts)]


FIRST_EMPTY = "first_empty"
ALL_USED = "all_used"


class Located(NamedTuple):
    """Where [k] samples come from.

    Attributes:
      source: [k] place in the plan's sources.
      epoch: [k] how often the source was used up before.
      example: [k] index in the source.
    """

    source: Int64Array
    epoch: Int64Array
    example: Int64Array


class Plan:
    """What every sample of a run is, as a pure function of its number.

    Samples are numbered as delivered: skipped ranges have no number. Inside, a *stream position* counts them too.

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
    """

    def __init__(
        self,
        names: Sequence[str],
        examples: Sequence[int],
        *,
        seed: int,
        shuffle: bool | Lanes = True,
        stages: Sequence[Stage] | None = None,
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
        self.stages = tuple(stages) if stages else (Stage(weights=(1,) * len(self.names)),)
        self._check_stages()
        self._remember()
        self._bases = self._counts_at_stage_starts()
        self.skip = _merge(skip)
        starts = [start for start, _ in self.skip]
        lengths = [end - start for start, end in self.skip]
        self._skipped = np.cumsum([0, *lengths], dtype=np.int64)  # before each range, and after all
        self._skip_starts = np.array(starts, dtype=np.int64)
        self._skip_ends = np.array([end for _, end in self.skip], dtype=np.int64)
        self._skip_delivered = self._skip_starts - self._skipped[:-1]
        self.stop, self.epochs = stop, epochs
        self.stream_length = self._stream_length()

    def _remember(self) -> None:
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
    def length(self) -> int | None:
        """The number of samples that the whole run delivers, None where the plan never stops."""
        return None if self.stream_length is None else len(self)

    # Mixture: stream position -> (source, k), the k-th example taken from it.

    def _mix_block(self, number: int, block: int) -> tuple[npt.NDArray[np.int16], Int64Array]:
        """Shuffles the sources of one block: [block] sources, and the place of each sample among its source's."""
        stage = self.stages[number]
        before, after = stage.counts_at_edge(block), stage.counts_at_edge(block + 1)
        counts = [b - a for a, b in zip(before, after, strict=True)]
        key = keys.key(self.seed, "order/mixture", stage.start, block)
        dealt = np.repeat(np.arange(len(counts), dtype=np.int16), counts)
        source = dealt[Permutation(stage.block, key)(np.arange(stage.block))]
        rank = np.empty(stage.block, dtype=np.int64)
        starts = np.cumsum([0, *counts[:-1]])
        rank[np.argsort(source, kind="stable")] = np.arange(stage.block) - np.repeat(starts, counts)
        return source, rank

    def _counts_inside(self, number: int, samples: int) -> list[int]:
        """Counts the examples of each source among the first `samples` samples of a stage."""
        stage = self.stages[number]
        if len(stage.weights) == 1:
            return [samples]
        block, rest = divmod(samples, stage.block)
        counts = stage.counts_at_edge(block)
        if rest:
            source, _ = self._mixed(number, block)
            counts = [n + int(m) for n, m in zip(counts, np.bincount(source[:rest], minlength=len(counts)), strict=True)]
        return counts

    def counts_before(self, position: int) -> list[int]:
        """Counts the examples of each source before a stream position, exactly."""
        number = max(i for i, stage in enumerate(self.stages) if stage.start <= position)
        inside = self._counts_inside(number, position - self.stages[number].start)
        return [base + count for base, count in zip(self._bases[number], inside, strict=True)]

    def _mixture(self, positions: Int64Array) -> tuple[Int64Array, Int64Array]:
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

    # Epochs: (source, k) -> example.

    def _make_epoch_order(self, source: int, epoch: int) -> EpochOrder:
        if self.shuffle is False:
            return Identity()
        key = keys.key(self.seed, "order/epoch", self.names[source], epoch)
        n = self.examples[source]
        return LaneOrder(n, key, self.shuffle) if isinstance(self.shuffle, Lanes) else Permutation(n, key)

    def locate(self, samples: npt.ArrayLike) -> Located:
        """Says what [k] samples are. Plan a few thousand at once: below a hundred, overhead dominates.

        Raises:
          IndexError: a sample is negative, or lies behind the end.
        """
        positions = self.stream_positions(samples)
        source, taken = self._mixture(positions)
        if len(self.names) == 1:
            epoch, place = np.divmod(taken, self.examples[0])
            first, last = (int(epoch.min()), int(epoch.max())) if len(epoch) else (0, -1)
            if first == last:
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

        Endless where the plan is.

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
            elif (sample := self._delivered(position)) is not None:
                yield epoch, sample
            epoch += 1

    # Skipped ranges: sample <-> stream position.

    def stream_positions(self, samples: npt.ArrayLike) -> Int64Array:
        """Maps [k] delivered samples to stream positions, over the skipped ranges.

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
        if not self.skip:
            return samples
        return samples + self._skipped[np.searchsorted(self._skip_delivered, samples, side="right")]

    def delivered_before(self, position: int) -> int:
        """Counts the samples delivered before a stream position."""
        index = int(np.searchsorted(self._skip_starts, position, side="left"))
        if index == 0:
            return position
        return (
            min(position, int(self._skip_starts[index - 1]))
            - int(self._skipped[index - 1])
            + max(0, position - int(self._skip_ends[index - 1]))
        )

    def _delivered(self, position: int) -> int | None:
        index = int(np.searchsorted(self._skip_starts, position, side="right"))
        if index and position < self._skip_ends[index - 1]:
            return None
        return position - int(self._skipped[index])

    def _stream_length(self) -> int | None:
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


def _merge(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sorts and unites [start, end) ranges."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted((int(start), int(end)) for start, end in ranges):
        if start < 0 or end <= start:
            raise ConfigError(f"a skipped range is (start, end) with 0 <= start < end, got ({start}, {end})")
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)
