"""Whether examples have the features that their task promises, and how they are trimmed.

Tested in tests/tokenreel/tasks/test_task.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tokenreel.tasks.example_stream import Example
from tokenreel.tasks.feature_converters.blocks import trim
from tokenreel.tasks.features import Feature
from tokenreel.tasks.providers import Lengths
from tokenreel.tasks.stream_nodes import Column


class OutputCheck:
    """Checks the features of one example after another, and trims those that are longer than they may be.

    Args:
      features: of the task.
      lengths: the longest that each may be; None trims nothing.
    """

    def __init__(self, features: Mapping[str, Feature], lengths: Lengths | None) -> None:
        self._features = [(name, feature.required, feature.dtype, feature.rank) for name, feature in features.items()]
        wanted = {name: length for name, length in (lengths or {}).items() if name in features and length is not None}
        self._slices = {name: _slices(length) for name, length in wanted.items()}

    def __call__(self, example: Example) -> Example:
        """Gives the example with its features trimmed.

        Raises:
          ValueError: a feature is missing, of another type or of another rank.
        """
        self._check(example)
        for name, slices in self._slices.items():
            if name in example:
                example = {**example, name: example[name][slices]}
        return example

    def of_block(self, block: dict[str, Column]) -> dict[str, Column]:
        """Gives a block of examples with their features trimmed; raises as for one of them."""
        # Values end to end have an example's axes; a scalar of each example has one more than it.
        self._check({name: values[:1][0] if bounds is None and len(values) else values for name, (values, bounds) in block.items()})
        trimmed = dict(block)
        for name, slices in self._slices.items():
            if name in block:
                trimmed[name] = _trim(block[name], slices)
        return trimmed

    def _check(self, example: Mapping[str, Any]) -> None:
        for name, required, dtype, rank in self._features:
            value = example.get(name)
            if value is None:
                if required:
                    raise ValueError(
                        f"Task dataset is missing expected output feature after preprocessing: {name}. The steps give "
                        f"{', '.join(sorted(example))}; add one that gives it, or say Feature(..., required=False)."
                    )
                continue
            found = _dtype(value)
            if found != dtype:
                raise ValueError(
                    f"Task dataset has incorrect type for feature '{name}' after preprocessing: Got {_name(found)}, "
                    f"expected {_name(dtype)}. Cast it in a step, or give the feature this dtype."
                )
            if np.ndim(value) != rank:
                raise ValueError(
                    f"Task dataset has incorrect rank for feature '{name}' after preprocessing: Got {np.ndim(value)}, expected {rank}. "
                    "Reshape it in a step, or give the feature this rank."
                )


def _slices(length: Any) -> tuple[slice, ...]:
    return tuple(slice(0, None if size is None else int(size)) for size in (length if np.iterable(length) else [length]))


def _dtype(value: Any) -> np.dtype[Any]:
    dtype = getattr(value, "dtype", None)
    if isinstance(dtype, np.dtype):
        return np.dtype(object) if dtype.kind in "SU" else dtype
    return np.asarray(value).dtype if not isinstance(value, (bytes, str)) else np.dtype(object)


def _name(dtype: np.dtype[Any]) -> str:
    return "string" if dtype.kind == "O" else dtype.name


def _trim(column: Column, slices: tuple[slice, ...]) -> Column:
    """Trims each example of a column."""
    values, bounds = column
    if bounds is None:
        return [value[slices] for value in values], None
    lengths = np.diff(bounds)
    most = slices[0].stop
    kept = lengths if most is None else np.minimum(lengths, most)
    values, bounds = trim((values, bounds), kept)
    return values[(slice(None), *slices[1:])], bounds
