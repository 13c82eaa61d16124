"""Lanes: an order that reads blocks of consecutive examples, for many hosts that read shards across a network."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.loaders.order.permutation import GOLDEN, Int64Array, Permutation, UInt64Array, permute, unpermute


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
        """Settles the block size for records of that many bytes: about a megabyte a block."""
        return self if self.block else dataclasses.replace(self, block=max(1, (1 << 20) // record_bytes))


class LaneOrder:
    """One epoch's order by lanes, over n examples, with the two directions of `Permutation`.

    With 2 lanes, a mix of 1 and blocks of 3, 14 examples are 4 whole blocks and a short one. Their keyed order, say 2 0 3 1, deals blocks 2
    and 3 to lane 0, blocks 0 and 1 to lane 1; position p belongs to lane p modulo 2:

      position   0 1 2 3 4 5 | 6  7  8 9 10 11 | 12 13
      lane       0 1 0 1 0 1 | 0  1  0 1  0  1 | (all)
      block      2 0 2 0 2 0 | 3  1  3 1  3  1 | the short one

    Args:
      n: number of examples.
      key: unsigned 64-bit integer, of the epoch.
      lanes: resolved, so that their block size is known.

    Raises:
      ValueError: the block size is open.
    """

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
        """Gives the key of each of [k] groups of mixed blocks: uint64 [k]. Computed, since a dataset may have millions of groups."""
        index = (group * self.lanes + lane).astype(np.uint64)
        return keys.mix(keys.mix(index + np.uint64(GOLDEN)) ^ self._key)

    def _in_groups(self, step: object, values: Int64Array, lane: Int64Array, group: Int64Array) -> Int64Array:
        """Permutes within groups of mixed blocks; the last group of a lane may have fewer blocks, so another size.

        Args:
          step: `permute` or `unpermute`.
          values: int64 [k] places in their groups.
          lane: int64 [k].
          group: int64 [k] number of the group in its lane.
        """
        out = np.empty_like(values)
        last, short = divmod(self.per_lane, self.mix)
        for blocks, which in ((self.mix, group < last), (short, group == last)):
            rows = np.flatnonzero(which)
            if len(rows):
                out[rows] = step(values[rows], blocks * self.block, self._group_key(lane[rows], group[rows]))  # type: ignore[operator]
        return out

    def __call__(self, positions: npt.ArrayLike) -> Int64Array:
        """Maps int [k] positions of the epoch to int64 [k] examples."""
        positions = np.asarray(positions, dtype=np.int64)
        out = np.empty_like(positions)
        main = positions < self.main
        if main.any():
            # Each step takes the position one level further down: its lane, the group there, the block in the group, the row.
            place, lane = np.divmod(positions[main], self.lanes)
            group, within = np.divmod(place, self.mix * self.block)
            block, row = np.divmod(self._in_groups(permute, within, lane, group), self.block)
            out[main] = self._blocks((group * self.mix + block) * self.lanes + lane) * self.block + row
        if not main.all():
            # Too few blocks are left to deal one to each lane: their examples are shuffled as one.
            block, row = np.divmod(self._tail(positions[~main] - self.main), self.block)
            out[~main] = self._tail_block(block + self.dealt) * self.block + row
        return out

    def _tail_block(self, dealt: Int64Array) -> Int64Array:
        """Gives the blocks behind the dealt ones: first the whole ones in keyed order, then the short one at the end of the dataset."""
        full = self.whole // self.block
        # `where` computes both sides, so what is out of range is brought into it first.
        return np.where(dealt < full, self._blocks(np.minimum(dealt, self._blocks.n - 1)), full)

    def inverse(self, values: npt.ArrayLike) -> Int64Array:
        """Maps int [k] examples back to their int64 [k] positions in the epoch."""
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
