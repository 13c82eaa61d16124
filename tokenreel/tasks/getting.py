"""From a task or mixture to the examples that a model reads."""

from __future__ import annotations

import logging
from typing import Any

from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.feature_converters import FeatureConverter
from tokenreel.tasks.mixture import Mixture, MixtureRegistry
from tokenreel.tasks.providers import DatasetProviderBase, Lengths, ShardInfo
from tokenreel.tasks.task import Task, TaskRegistry
from tokenreel.wording import did_you_mean

_LOG = logging.getLogger(__name__)


def get_mixture_or_task(task_or_mixture_name: str) -> Task | Mixture:
    """Gives a registered mixture, or else task.

    Raises:
      ValueError: there is none of this name.
    """
    name = task_or_mixture_name
    if not isinstance(name, str):
        raise ValueError(f"the name of a task or mixture is a string, got {name!r}: an object is used as it is")
    if name in MixtureRegistry.names():
        if name in TaskRegistry.names():
            _LOG.warning("%s is both a Task and a Mixture, returning Mixture", name)
        return MixtureRegistry.get(name)
    if name in TaskRegistry.names():
        return TaskRegistry.get(name)
    known = [*TaskRegistry.names(), *MixtureRegistry.names()]
    otherwise = f"{len(known)} are registered: import the module that registers it."
    hint = did_you_mean(name, known, otherwise, most=5, shown=str)
    raise ValueError(f"No Task or Mixture found with name '{name}'. {hint[0].upper()}{hint[1:]}")


def maybe_get_mixture_or_task(task: Any) -> Task | Mixture:
    """Gives a task or mixture by its name, or as it is.

    Raises:
      ValueError: it is neither.
    """
    if isinstance(task, str):
        return get_mixture_or_task(task)
    if isinstance(task, (Task, Mixture)):
        return task
    raise ValueError(f"User passed in a task that was not a string, Task, or Mixture. Got type: {type(task)}")


def get_subtasks(task_or_mixture: Task | Mixture) -> list[Task]:
    """Lists the tasks of a mixture, or the task itself."""
    return [task_or_mixture] if isinstance(task_or_mixture, Task) else task_or_mixture.tasks


def get_dataset(
    mixture_or_task_name: str | Task | Mixture,
    task_feature_lengths: Lengths,
    feature_converter: FeatureConverter,
    dataset_split: str = "train",
    use_cached: bool | str = False,
    shuffle: bool = False,
    num_epochs: int | None = 1,
    shard_info: ShardInfo | None = None,
    verbose: bool = True,
    seed: int | None = None,
    batch_size: int | None = None,
    trim_output_features: bool = True,
    *,
    passthrough_features: list[str] | None = None,
) -> ExampleStream:
    """Gives what a model reads: the examples of a task or mixture, converted, and in batches if asked.

    Args:
      mixture_or_task_name: a registered name, or a `Task` or `Mixture`.
      task_feature_lengths: positions of each feature of the task.
      feature_converter: makes the model's features.
      dataset_split: name of the split.
      use_cached: whether the cache is read; "mixture" for the cached order of a mixture, see `Mixture.get_dataset`.
      shuffle: whether the order is random.
      num_epochs: passes over the split; None for ever.
      shard_info: gives one share alone, cut before examples are packed.
      verbose: whether the features are logged.
      seed: of the order and of random steps; None stands for 0.
      batch_size: rows that are stacked; what does not fill a batch is left out.
      trim_output_features: whether features are trimmed to their lengths; otherwise the converter may refuse long ones.
      passthrough_features: of a mixture's tasks that are kept beside their output features, for a converter that passes them through.

    Returns:
      a stream, whose iterators have `get_state` and `set_state`; `.to_tf_data()` gives a `tf.data.Dataset`.

    Raises:
      TypeError: the converter is none.
      ValueError: as `Task.get_dataset`, `Mixture.get_dataset` and the converter raise.
    """
    if not isinstance(feature_converter, FeatureConverter):
        raise TypeError("feature_converter should be an instance of FeatureConverter.")
    given = mixture_or_task_name
    provider: Any = given if isinstance(given, DatasetProviderBase) else get_mixture_or_task(given)
    dataset = provider.get_dataset(
        sequence_length=task_feature_lengths,
        split=dataset_split,
        use_cached=use_cached,
        shuffle=shuffle,
        seed=seed,
        shard_info=shard_info,
        num_epochs=num_epochs,
        trim_output_features=trim_output_features,
        **_passed_through(provider, feature_converter, passthrough_features),
    )
    made: ExampleStream = feature_converter(dataset, task_feature_lengths=task_feature_lengths)
    made = made if batch_size is None else made.batch(batch_size, drop_remainder=True)
    for name, (dtype, shape) in (made.spec or {}).items() if verbose else ():
        _LOG.info("feature: %s \t shape: %s \t dtype: %s", name, list(shape), dtype)
    return made


def _passed_through(provider: Any, converter: FeatureConverter, names: list[str] | None) -> dict[str, Any]:
    """Gives the argument by which a mixture keeps what a converter passes through; a task keeps everything."""
    names = names or list(getattr(converter, "_passthrough_features", None) or ())
    return {"passthrough_features": names} if names and isinstance(provider, Mixture) else {}
