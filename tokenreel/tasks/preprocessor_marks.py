"""What a task has to know of its steps.

Some take streams of NumPy examples, all others take and give `tf.data`, as in SeqIO. Some draw at random. And they ask for different
settings of the run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from tokenreel.tasks.step_binding import argument_names

_MARK, _SEEDS = "takes_example_streams", "num_seeds"
_Function = TypeVar("_Function", bound=Callable[..., Any])
INJECTED = ("sequence_length", "output_features")


def numpy_preprocessor(function: _Function) -> _Function:
    """Marks a function of a whole dataset that takes an `ExampleStream` and gives one.

    >>> takes_streams(numpy_preprocessor(lambda dataset: dataset.take(3)))
    True
    """
    setattr(function, _MARK, True)
    return function


def takes_streams(step: Any) -> bool:
    """Says whether a step is marked, itself or below `functools.partial`."""
    return bool(getattr(_innermost(step), _MARK, False))


def mark_random(function: _Function, num_seeds: int) -> _Function:
    """Marks a function of a whole dataset that draws `num_seeds` seeds for each example."""
    setattr(function, _SEEDS, num_seeds)
    return function


def is_random(step: Any) -> bool:
    """Says whether a step draws for each example: every epoch it gives something else, unless a cache keeps what it gave."""
    return bool(getattr(_innermost(step), _SEEDS, 0)) or bool({"seed", "seeds"} & argument_names(step))


def asks_for(step: Any) -> tuple[str, ...]:
    """Names what a task has to hand to a step: `sequence_length`, `output_features`, where it has such an argument that is not bound yet.

    >>> def step(dataset, sequence_length, output_features=None): ...
    >>> asks_for(step), asks_for(functools.partial(step, sequence_length={"targets": 8}))
    (('sequence_length', 'output_features'), ('output_features',))
    """
    return tuple(name for name in INJECTED if name in argument_names(step))


def step_name(step: Any) -> str:
    """Names a step for messages and seeds: its function's name, or its class's.

    >>> step_name(functools.partial(step_name)), step_name(slice(0))
    ('step_name', 'slice')
    """
    inner = _innermost(step)
    return str(getattr(inner, "__name__", type(inner).__name__))


def _innermost(step: Any) -> Any:
    while isinstance(step, functools.partial):
        step = step.func
    return step
