"""What a task has to know of its steps.

Some take streams of NumPy examples, all others take and give `tf.data`, as in SeqIO. Some draw at random. And they ask for different
settings of the run.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

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
    return bool(getattr(_innermost(step), _SEEDS, 0)) or bool({"seed", "seeds"} & set(_free_parameters(step)))


def asks_for(step: Any) -> tuple[str, ...]:
    """Names what a task has to hand to a step: `sequence_length`, `output_features`, where it has such an argument that is not bound yet.

    >>> def step(dataset, sequence_length, output_features=None): ...
    >>> asks_for(step), asks_for(functools.partial(step, sequence_length={"targets": 8}))
    (('sequence_length', 'output_features'), ('output_features',))
    """
    return tuple(name for name in INJECTED if name in _free_parameters(step))


def needs(step: Any) -> tuple[str, ...]:
    """Names what a step cannot do without: what it asks for, and has no default of.

    >>> def step(dataset, sequence_length, output_features=None): ...
    >>> needs(step)
    ('sequence_length',)
    """
    return tuple(name for name in asks_for(step) if _free_parameters(step)[name].default is inspect.Parameter.empty)


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


def _free_parameters(step: Any) -> dict[str, inspect.Parameter]:
    bound: set[str] = set()
    inner = step
    while isinstance(inner, functools.partial):
        bound |= set(inner.keywords)
        inner = inner.func
    try:
        parameters = inspect.signature(step).parameters
    except (TypeError, ValueError):  # some functions written in C do not tell
        return {}
    return {name: parameter for name, parameter in parameters.items() if name not in bound}
