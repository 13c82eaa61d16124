"""Which steps of a task take streams of NumPy examples; all others take and give `tf.data`, as in SeqIO."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

_MARK = "takes_example_streams"
_Function = TypeVar("_Function", bound=Callable[..., Any])


def numpy_preprocessor(function: _Function) -> _Function:
    """Marks a function of a whole dataset that takes an `ExampleStream` and gives one.

    >>> takes_streams(numpy_preprocessor(lambda dataset: dataset.take(3)))
    True
    """
    setattr(function, _MARK, True)
    return function


def takes_streams(step: Any) -> bool:
    """Says whether a step is marked, itself or below `functools.partial`."""
    while isinstance(step, functools.partial):
        step = step.func
    return bool(getattr(step, _MARK, False))
