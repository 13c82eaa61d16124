"""The arguments that a task gives its steps, by the names they ask for.

Tested in tests/tokenreel/tasks/test_task.py.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any


def argument_names(step: Callable[..., Any]) -> set[str]:
    """Lists the arguments of a function that are not bound yet, or the fields of a dataclass."""
    if dataclasses.is_dataclass(step):
        return {field.name for field in dataclasses.fields(step)}
    names = set(inspect.signature(step).parameters)
    return names - set(step.keywords) if isinstance(step, functools.partial) else names


def bind(step: Callable[..., Any], **arguments: Any) -> Callable[..., Any]:
    """Gives a step those of the arguments that it has a name for.

    >>> bind(lambda dataset, output_features: (dataset, output_features), output_features=1, sequence_length=2)(0)
    (0, 1)
    """
    wanted = {name: value for name, value in arguments.items() if name in argument_names(step)}
    if not wanted:
        return step
    if dataclasses.is_dataclass(step) and not isinstance(step, type):
        replaced: Callable[..., Any] = dataclasses.replace(step, **wanted)
        return replaced
    return functools.partial(step, **wanted)
