"""Tasks that are cached with all their steps, for fixed lengths."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from tokenreel.errors import ConfigError
from tokenreel.tasks.mixture import Mixture, MixtureRegistry
from tokenreel.tasks.preprocessor_marks import asks_for, numpy_preprocessor
from tokenreel.tasks.task import SHUFFLE_BUFFER_SIZE, Task, TaskRegistry
from tokenreel.tasks.task_steps import CacheDatasetPlaceholder


def add_fully_cached_task(task_name: str, sequence_length: Mapping[str, int], disallow_shuffling: bool = False) -> Task:
    """Registers a task like another, whose cache stands behind all of its steps and holds examples of these lengths.

    Args:
      task_name: of the registered task.
      sequence_length: the lengths of its features. The new name tells them: "a" with inputs 5 and targets 6 is "a_i5_t6".
      disallow_shuffling: whether the order in the cache is the only one.

    Returns:
      the task; that which was registered before, if it was.

    Raises:
      ValueError: there is no such task.
    """
    task = TaskRegistry.get(task_name)
    name = _name(task_name, sequence_length)
    if name in TaskRegistry.names():
        return TaskRegistry.get(name)
    lengths = dict(sequence_length)
    steps: list[Any] = []
    for step in task.preprocessors:
        if not isinstance(step, CacheDatasetPlaceholder):
            steps.append(functools.partial(step, sequence_length=lengths) if "sequence_length" in asks_for(step) else step)
    check = functools.partial(check_lengths, name=name, cached=lengths)
    return TaskRegistry.add(
        name,
        source=task.source,
        preprocessors=[*steps, CacheDatasetPlaceholder(required=True), check],
        output_features=task.output_features,
        metric_fns=task.metric_fns,
        metric_objs=task.metric_objs,
        postprocess_fn=task.postprocessor,
        shuffle_buffer_size=None if disallow_shuffling else SHUFFLE_BUFFER_SIZE,
    )


@numpy_preprocessor
def check_lengths(dataset: Any, sequence_length: Mapping[str, Any] | None, *, name: str, cached: Mapping[str, int]) -> Any:
    """Gives the data set as it is.

    Raises:
      ValueError: other lengths are asked for than the cache holds.
    """
    if sequence_length is not None and dict(sequence_length) != dict(cached):
        raise ValueError(
            f"Fully-cached task '{name}' can only be loaded with `sequence_length={dict(cached)}` or `None`. "
            f"Given sequence_length={dict(sequence_length)}."
        )
    return dataset


def add_fully_cached_mixture(mixture_name: str, sequence_length: Mapping[str, int], disallow_shuffling: bool = False) -> Mixture:
    """Registers a mixture like another, of tasks that `add_fully_cached_task` registers, with the rates that they have in it.

    Args:
      mixture_name: of the registered mixture.
      sequence_length: the lengths of its features.
      disallow_shuffling: whether the orders in the caches are the only ones.

    Raises:
      ValueError: there is no such mixture, or the new one is registered.
    """
    mixture = MixtureRegistry.get(mixture_name)
    tasks = [(add_fully_cached_task(task.name, sequence_length, disallow_shuffling), mixture.get_rate(task)) for task in mixture.tasks]
    return MixtureRegistry.add(_name(mixture_name, sequence_length), tasks)


def _name(name: str, lengths: Mapping[str, int]) -> str:
    """Adds lengths to a name, each behind the shortest beginning of its feature's name that no other has."""
    if not lengths:
        raise ConfigError(f"a fully cached task needs the lengths of its features: sequence_length is empty for {name!r}")
    size = next(size for size in range(max(map(len, lengths)) + 1) if len({feature[:size] for feature in lengths}) == len(lengths))
    return f"{name}_{'_'.join(f'{feature[:size]}{length}' for feature, length in lengths.items())}"
