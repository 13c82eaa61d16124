"""Blocks of examples to rows of a fixed length: padded, one example a row, or packed, several.

For each feature `k` there are arrays of [rows, length]:

    k                 the values, 0 where there is none
    k_real            bool, true where there is one; the number of values says so, never the values themselves
    k_segment_ids     int32, from 1 in each row, 0 in the padding; packed rows only
    k_positions       int32, from 0 in each example, 0 in the padding; packed rows only

SeqIO takes a 0 for padding wherever it stands, so it knows no `k_real`. `zero_is_padding` does as it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.ragged import Ints, offsets_of, ranks
from tokenreel.tasks.feature_converters.blocks import Array, Block, bounds_of, num_examples, part, split, trim
from tokenreel.tasks.feature_converters.specs import Lengths

Rows: TypeAlias = dict[str, Array]

REAL, SEGMENT_IDS, POSITIONS = "_real", "_segment_ids", "_positions"


def pad_rows(block: Block, lengths: Lengths, *, zero_is_padding: bool = False) -> Rows:
    """Trims or pads each example to a row.

    Args:
      block: n examples. Features that `lengths` does not name are left out.
      lengths: positions of each feature, or the size of each of its axes.
      zero_is_padding: leaves out `k_real`.

    Returns:
      `k` and `k_real` for each feature, [n, length, further axes]. Scalars stay [n].

    >>> rows = pad_rows({"ids": (np.int32([7, 8, 9]), np.array([0, 2, 3]))}, {"ids": 3})
    >>> rows["ids"].tolist(), rows["ids_real"].astype(int).tolist()
    ([[7, 8, 0], [9, 0, 0]], [[1, 1, 0], [1, 0, 0]])
    """
    rows: Rows = {}
    for name, length in lengths.items():
        values, offsets = block[name]
        if isinstance(values, np.ndarray) and offsets is None:
            rows[name] = values
            continue
        if offsets is None or not isinstance(length, int):
            rows[name], real = _pad_axes(split(values, offsets), length)
        else:
            kept = np.minimum(np.diff(offsets), length)
            values, _ = trim((values, offsets), kept)
            real = np.arange(length) < kept[:, None]
            rows[name] = np.zeros((*real.shape, *values.shape[1:]), values.dtype)
            rows[name][real] = values
        if not zero_is_padding:
            rows[name + REAL] = real
    return rows


def _pad_axes(examples: list[Array], length: Any) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Pads examples of several axes, each to its size; real is what lies within the first axis."""
    sizes = (length, *examples[0].shape[1:]) if isinstance(length, int) else tuple(length)
    out = np.zeros((len(examples), *sizes), examples[0].dtype if examples else np.int32)
    real = np.zeros((len(examples), sizes[0]), np.bool_)
    for at, example in enumerate(examples):
        if isinstance(length, int) and example.shape[1:] != sizes[1:]:
            raise ConfigError(
                f"examples of one feature have the shapes {examples[0].shape} and {example.shape}: give the size of each axis as its length"
            )
        inside = example[tuple(slice(0, size) for size in sizes)]
        out[at][tuple(slice(0, size) for size in inside.shape)] = inside
        real[at, : len(inside)] = True
    return out, real


def plan_rows(costs: Mapping[str, Ints], capacities: Mapping[str, int], flush_every: int | None = None, first: int = 0) -> Ints:
    """Divides examples among rows, in order: an example opens a row when one of its features has no room in the open one (next fit).

    Args:
      costs: int64 [n] values of each feature, none over its capacity.
      capacities: positions of each feature.
      flush_every: opens a row at each multiple of so many examples.
      first: number of the first example in its stream, for `flush_every`.

    Returns:
      int64 [rows] the first example of each row.

    >>> plan_rows({"inputs": np.array([2, 2, 1]), "targets": np.array([1, 1, 3])}, {"inputs": 5, "targets": 4}).tolist()
    [0, 2]
    """
    n = len(next(iter(costs.values()))) if costs else 0
    items = np.arange(n)
    following = np.full(n, n)
    for name, cost in costs.items():
        total = np.append(0, np.cumsum(cost))
        np.minimum(following, np.searchsorted(total, total[:-1] + capacities[name], side="right") - 1, out=following)
    if flush_every is not None:
        np.minimum(following, (items + first) // flush_every * flush_every + flush_every - first, out=following)
    jump = following.tolist()
    at, heads = 0, list[int]()
    while at < n:
        heads.append(at)
        at = jump[at]
    return np.array(heads, np.int64)


def packed_lengths(block: Block, lengths: Lengths) -> dict[str, int]:
    """Gives the positions of each feature of packed rows: the first axis of those whose length is the size of each axis.

    Raises:
      ConfigError: the further axes are not as long as the length says; only the first is packed.
    """
    positions: dict[str, int] = {}
    for name, length in lengths.items():
        if isinstance(length, int):
            positions[name] = length
            continue
        first, *further = length
        values, bounds = block[name][0], bounds_of(block[name])
        if bounds[-1] and list(values.shape[1:]) != further:
            raise ConfigError(
                f"feature '{name}' cannot be packed into {tuple(length)}: its positions have the shape {values.shape[1:]}. Only the "
                "first axis is packed; make the others equal in a step of the task."
            )
        positions[name] = int(first)
    return positions


def row_costs(block: Block, lengths: Mapping[str, int], *, zero_is_padding: bool = False) -> dict[str, Ints]:
    """Counts the values that each feature brings into a row: those there are, at most its length.

    Args:
      block: n examples.
      lengths: positions of each feature.
      zero_is_padding: counts those that are not 0, of what is left after trimming, as SeqIO does.

    Returns:
      int64 [n] for each feature.
    """
    costs: dict[str, Ints] = {}
    for name, length in lengths.items():
        values, offsets = block[name][0], bounds_of(block[name])
        kept = np.minimum(np.diff(offsets), length)
        if zero_is_padding:
            flat, _ = trim((values, offsets), kept)
            bounds = offsets_of(kept)
            before = np.append(0, np.cumsum(flat != 0))
            kept = before[bounds[1:]] - before[bounds[:-1]]
        costs[name] = kept
    return costs


def fill_rows(block: Block, lengths: Mapping[str, int], costs: Mapping[str, Ints], heads: Ints, *, zero_is_padding: bool = False) -> Rows:
    """Lays examples into the rows that `plan_rows` has planned.

    Segments are numbered by example, the same in all features, so that attention between two features pairs what belongs together; an
    example that is empty in all of them has no number. SeqIO numbers each feature for itself.

    Args:
      block: n examples.
      lengths: positions of each feature.
      costs: int64 [n] values that each feature keeps.
      heads: int64 [rows] the first example of each row.
      zero_is_padding: gives SeqIO's segment ids, which are 0 where a value is, and leaves out `k_real`.

    Returns:
      The arrays of [rows, length] that the module describes.
    """
    if not len(heads):  # nothing but empty examples
        block, costs = part(block, 0, 0), {name: cost[:0] for name, cost in costs.items()}
    n = num_examples(block)
    per_row = np.diff(np.append(heads, n))
    counted = np.any([cost > 0 for cost in costs.values()], axis=0) if costs else np.zeros(n, np.bool_)
    rows: Rows = {}
    for name, length in lengths.items():
        cost = costs[name]
        values, _ = trim(block[name], cost)
        real = np.arange(length) < (np.add.reduceat(cost, heads) if n else np.zeros(0, np.int64))[:, None]
        rows[name] = out = np.zeros((*real.shape, *values.shape[1:]), values.dtype)
        out[real] = values
        numbered = np.cumsum(cost > 0 if zero_is_padding else counted)
        before = np.append(0, numbered)[heads]
        segments = np.zeros(real.shape, np.int32)
        segments[real] = np.repeat(numbered - np.repeat(before, per_row), cost)
        positions = np.zeros(real.shape, np.int32)
        positions[real] = ranks(cost)
        if zero_is_padding:
            segments[out == 0] = 0
        else:
            rows[name + REAL] = real
        rows[name + SEGMENT_IDS], rows[name + POSITIONS] = segments, positions
    return rows


def plan_block(
    costs: Mapping[str, Ints],
    capacities: Mapping[str, int],
    *,
    flush_every: int | None = None,
    zero_is_padding: bool = False,
    first: int = 0,
    ended: bool = True,
) -> tuple[Ints, int]:
    """Divides the examples of a block among rows as `pack_rows` does, by what they bring alone.

    Returns:
      int64 [rows] the first example of each row, and the number of examples that are in them.
    """
    heads, done = plan_rows(costs, capacities, flush_every, first), len(next(iter(costs.values()))) if costs else 0
    if not zero_is_padding and not any(cost.any() for cost in costs.values()):
        heads = heads[:0]  # empty examples alone make no row; SeqIO makes one of padding
    return (heads[:-1], int(heads[-1])) if not ended and len(heads) else (heads, done)


def pack_rows(
    block: Block,
    lengths: Mapping[str, int],
    *,
    flush_every: int | None = None,
    zero_is_padding: bool = False,
    first: int = 0,
    ended: bool = True,
) -> tuple[Rows, Ints, int]:
    """Packs a block: several examples a row, in order.

    Args:
      block: n examples; features that `lengths` does not name are left out.
      lengths: positions of each feature.
      flush_every: closes the open row after so many examples, as SeqIO does after as many as the largest length.
      zero_is_padding: SeqIO's rule: as many leading values are kept as are not 0.
      first: number of the first example in its stream, for `flush_every`.
      ended: whether no example follows; otherwise the last row is left out, which may hold more.

    Returns:
      The arrays that the module describes, int64 [rows] the first example of each row, and the number of examples that are in them.

    >>> rows, heads, done = pack_rows({"ids": (np.int32([7, 8, 9, 5]), np.array([0, 2, 3, 4]))}, {"ids": 3})
    >>> rows["ids"].tolist(), rows["ids_segment_ids"].tolist(), heads.tolist(), done
    ([[7, 8, 9], [5, 0, 0]], [[1, 1, 2], [1, 0, 0]], [0, 2], 3)
    """
    costs = row_costs(block, lengths, zero_is_padding=zero_is_padding)
    heads, done = plan_block(costs, lengths, flush_every=flush_every, zero_is_padding=zero_is_padding, first=first, ended=ended)
    if done < num_examples(block):
        block, costs = part(block, 0, done), {name: cost[:done] for name, cost in costs.items()}
    return fill_rows(block, lengths, costs, heads, zero_is_padding=zero_is_padding), heads, done


def shift_right(
    targets: Array, bos_id: int = 0, segment_ids: Array | None = None, *, axis: int = -1, bos_in_padding: bool = False
) -> Array:
    """Makes what a decoder reads of what it predicts: each position reads the one before, the first of each example reads `bos_id`.

    Args:
      targets: [..., L, ...] numbers.
      bos_id: read where a sequence begins.
      segment_ids: [..., L] of packed rows; None if each row is one sequence. Then the last token is read in the first position of the
        padding, as in SeqIO.
      axis: the one of L.
      bos_in_padding: writes `bos_id` where the padding of packed rows begins too, as SeqIO does.

    >>> shift_right(np.array([3, 8, 1, 9, 1, 0, 0]), 5, np.array([1, 1, 1, 2, 2, 0, 0])).tolist()
    [5, 3, 8, 5, 9, 0, 0]
    """
    shifted = np.roll(targets, 1, axis)
    view = np.moveaxis(shifted, axis, 0)
    view[0] = bos_id
    if segment_ids is None:
        return shifted
    before = np.roll(segment_ids, 1, -1)
    before[..., 0] = 0
    starts = segment_ids != before
    shifted[starts] = bos_id
    if not bos_in_padding:
        shifted[segment_ids == 0] = 0
    return shifted
