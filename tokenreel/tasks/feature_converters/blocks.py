"""Many examples as a block: each feature's values end to end, with the bounds of the examples.

Converters work on blocks, thousands of examples at a time, because NumPy takes as long to begin with an example as to copy a few hundred
tokens.

    {"inputs": [7, 8, 5], "targets": [3, 9]}, {"inputs": [4], "targets": []}

is the block

    {"inputs": ([7, 8, 5, 4], [0, 3, 4]), "targets": ([3, 9], [0, 2, 2])}

Tested in tests/tokenreel/tasks/feature_converters/test_rows.py and tests/tokenreel/tasks/feature_converters/test_converted_stream.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.ragged import Ints, offsets_of, ranks
from tokenreel.tasks.feature_converters.specs import FeatureSpec, Lengths, Specs, check_kind, check_there, too_long

Array: TypeAlias = npt.NDArray[Any]
Column: TypeAlias = tuple[Any, Ints | None]
"""A feature of n examples: [values, ...] end to end along the first axis and int64 [n + 1] bounds. Scalars are [n] without bounds, and
arrays whose further axes differ from example to example a list of [n], without bounds too."""
Block: TypeAlias = Mapping[str, Column]

_STAGE = "input_validation"


def from_examples(examples: Sequence[Mapping[str, Any]], specs: Specs) -> dict[str, Column]:
    """Lays the features of examples end to end; those that `specs` does not name are left out.

    Args:
      examples: n dictionaries of arrays, numbers or texts.
      specs: what each feature is.

    Raises:
      ConfigError: a feature is missing, or of another dtype or rank.

    >>> block = from_examples([{"ids": np.int32([7, 8])}, {"ids": np.int32([])}], {"ids": FeatureSpec(np.int32)})
    >>> block["ids"][0].tolist(), block["ids"][1].tolist()
    ([7, 8], [0, 2, 2])
    """
    block: dict[str, Column] = {}
    for name, spec in specs.items():
        try:
            values = [example[name] for example in examples]
        except KeyError:
            for example in examples:
                check_there(name, example, _STAGE)
            raise
        block[name] = _column(name, values, spec)
    return block


def _column(name: str, values: list[Any], spec: FeatureSpec) -> Column:
    if spec.rank == 0:
        scalars = np.empty(len(values), object) if spec.dtype == object else np.asarray(values)
        if spec.dtype == object:
            scalars[:] = values
        elif values:
            check_kind(name, spec, scalars.dtype, scalars.ndim - 1, _STAGE)
        return scalars, None
    arrays = [value if isinstance(value, np.ndarray) else np.asarray(value) for value in values]
    # What is empty may come as an empty list, which tells neither dtype nor rank.
    filled = [array for array in arrays if array.size or array.ndim > 1]
    for kind, rank in {(array.dtype, array.ndim) for array in filled}:
        check_kind(name, spec, kind, rank, _STAGE)
    if len({array.shape[1:] for array in filled}) > 1:
        return [array if array.size else np.zeros((0,) * spec.rank, spec.dtype) for array in arrays], None
    flat = np.concatenate(filled) if filled else np.zeros((0,) * spec.rank, spec.dtype)
    return flat, offsets_of(np.fromiter(map(len, arrays), np.int64, len(arrays)))


def num_examples(block: Block) -> int:
    """Counts the examples of a block."""
    for values, offsets in block.values():
        return len(values) if offsets is None else len(offsets) - 1
    return 0


def check(block: Block, specs: Specs, lengths: Lengths, *, check_lengths: bool) -> None:
    """Checks that a block holds what a converter takes.

    Args:
      block: what the task gives.
      specs: what each feature has to be.
      lengths: the most positions of each.
      check_lengths: whether longer ones are an error; otherwise they are trimmed later.

    Raises:
      ConfigError: a feature is missing, of another dtype or rank, or too long.
    """
    for name, spec in specs.items():
        check_there(name, block, _STAGE)
        values, offsets = block[name]
        if isinstance(values, np.ndarray):
            check_kind(name, spec, values.dtype, values.ndim - (offsets is None), _STAGE)
        if not check_lengths or spec.rank == 0:
            continue
        limit = lengths[name]
        if offsets is not None and spec.sequence_dim == 0 and isinstance(limit, int):
            longest = int(np.diff(offsets).max()) if len(offsets) > 1 else 0
            if longest > limit:
                raise too_long(name, limit, _STAGE)
            continue
        for example in split(values, offsets):
            sizes = example.shape if not isinstance(limit, int) else (example.shape[spec.sequence_dim],)
            if any(size > most for size, most in zip(sizes, np.atleast_1d(limit), strict=False)):
                raise too_long(name, limit, _STAGE)


def split(values: Any, offsets: Ints | None) -> list[Any]:
    """Takes a column apart: the arrays of [n] examples."""
    if offsets is None:
        return list(values)
    bounds = offsets.tolist()
    return [values[a:b] for a, b in itertools.pairwise(bounds)]


def bounds_of(column: Column) -> Ints:
    """Gives the bounds of the examples in a column of sequences: int64 [n + 1]."""
    bounds = column[1]
    if bounds is None:
        raise ConfigError("only features whose further axes are the same in all examples can be packed or joined")
    return bounds


def part(block: Block, first: int, last: int) -> dict[str, Column]:
    """Picks the examples from `first` up to `last`, without copying values."""
    picked: dict[str, Column] = {}
    for name, (values, offsets) in block.items():
        if offsets is None:
            picked[name] = values[first:last], None
        else:
            picked[name] = values[offsets[first] : offsets[last]], offsets[first : last + 1] - offsets[first]
    return picked


def join(blocks: Sequence[Block]) -> dict[str, Column]:
    """Puts blocks of the same features one after the other."""
    if len(blocks) == 1:
        return dict(blocks[0])
    joined: dict[str, Column] = {}
    for name in blocks[0]:
        columns = [block[name] for block in blocks]
        if any(isinstance(values, list) or offsets is None for values, offsets in columns):
            every = [example for values, offsets in columns for example in split(values, offsets)]
            joined[name] = (every if isinstance(every[0], np.ndarray) and every[0].ndim else np.array(every, columns[0][0].dtype)), None
        else:
            lengths = np.concatenate([np.diff(offsets) for _, offsets in columns if offsets is not None])
            filled = [values for values, _ in columns if len(values)] or [columns[0][0]]  # without values, further axes are not known
            joined[name] = np.concatenate(filled), offsets_of(lengths)
    return joined


def trim(column: Column, kept: Ints) -> Column:
    """Keeps the first values of each example.

    Args:
      column: of n examples, with bounds.
      kept: int64 [n], at most the values that there are.
    """
    values, offsets = column[0], bounds_of(column)
    lengths = np.diff(offsets)
    if np.array_equal(lengths, kept):
        return values[offsets[0] : offsets[-1]], offsets - offsets[0]
    inside = ranks(lengths) < np.repeat(kept, lengths)
    return values[offsets[0] : offsets[-1]][inside], offsets_of(kept)


def concatenate(columns: Sequence[Column]) -> Column:
    """Joins several features of each example into one: inputs, then targets.

    >>> values, offsets = concatenate([(np.array([1, 2, 3]), np.array([0, 2, 3])), (np.array([7, 8]), np.array([0, 1, 2]))])
    >>> values.tolist(), offsets.tolist()
    ([1, 2, 7, 3, 8], [0, 3, 5])
    """
    lengths = [np.diff(bounds_of(column)) for column in columns]
    bounds = offsets_of(np.sum(lengths, axis=0))
    first = columns[0][0]
    out = np.empty((int(bounds[-1]), *first.shape[1:]), first.dtype)
    start = bounds[:-1]
    for column, length in zip(columns, lengths, strict=True):
        offsets = bounds_of(column)
        out[np.repeat(start, length) + ranks(length)] = column[0][offsets[0] : offsets[-1]]
        start = start + length
    return out, bounds
