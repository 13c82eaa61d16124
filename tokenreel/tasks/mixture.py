"""A mixture: several tasks with the same features, each with a rate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar

from tokenreel.errors import ConfigError
from tokenreel.loaders.order.stages import integer_weights
from tokenreel.tasks import mixing, mixture_caches
from tokenreel.tasks.example_stream import Example, ExampleStream
from tokenreel.tasks.providers import DatasetProviderBase, DatasetProviderRegistry, Lengths, ShardInfo, SourceInfo
from tokenreel.tasks.stream_tensorflow import OfTensorFlow
from tokenreel.tasks.task import Task, TaskRegistry

Rate = int | float | Callable[[Any], float]
SampleFunction = Callable[[Sequence[Any], Sequence[float], int | None], Any]
_LOG = logging.getLogger(__name__)


class Mixture(DatasetProviderBase):
    """Gives the examples of several tasks, in the proportions of their rates.

    The proportions hold exactly: after any number of examples, each task has given its share of them to within one example. Nothing is
    dropped when a task ends: the others go on in their proportions, unless `stop` says otherwise.

    Args:
      name: of the mixture.
      tasks: tasks and mixtures, or their names in the registries; each alone, or with a rate: a number, or a function of the task. A
        mixture's rate is shared by its tasks in its own proportions.
      default_rate: of those that have none.
      sample_fn: takes (`tf.data` data sets, rates, seed) and gives the data set of the mixture, in place of all this.
      source_info: where it was defined.
      stop: "all_used" ends with the last task, "first_empty" with the first, a number after so many examples.
      compat: "seqio" for SeqIO's answer: tasks are drawn at random, and the first that is empty ends it.

    Raises:
      ValueError: a rate is missing, there is no task, or the tasks' features have not the same names.
    """

    def __init__(
        self,
        name: str,
        tasks: Sequence[Any],
        default_rate: Rate | None = None,
        sample_fn: SampleFunction | None = None,
        source_info: SourceInfo | None = None,
        *,
        stop: str | int = mixing.ALL_USED,
        compat: str | None = None,
    ) -> None:
        if compat not in (None, "seqio"):
            raise ConfigError(f"compat is None or 'seqio', got {compat!r}")
        self._name, self._source_info, self._stop = name, source_info, stop
        self._sample_fn = sample_fn or (_sample_as_seqio if compat else None)
        self._members: dict[str, Task | Mixture] = {}
        self._rates: dict[str, Rate] = {}
        for entry in tasks:
            member, rate = (entry, default_rate) if isinstance(entry, (str, Task, Mixture)) else entry
            if rate is None:
                raise ValueError(f"need a rate for each task: mixture '{name}' gives none for {member}, and no default_rate")
            found = _member(member) if isinstance(member, str) else member
            self._members[found.name], self._rates[found.name] = found, rate
        if not self.tasks:
            raise ValueError(f"Mixture, {name}, does not contain any Tasks.")
        if len({tuple(task.output_features) for task in self.tasks}) != 1:
            listed = "\n".join(f"{task.name}: {tuple(task.output_features)}" for task in self.tasks)
            raise ValueError(f"Mixture, '{name}' contains Tasks with different output features:\n {listed}")

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def source_info(self) -> SourceInfo | None:
        """Where it was defined."""
        return self._source_info

    @property
    def stop(self) -> str | int:
        """Where it ends."""
        return self._stop

    @property
    def tasks(self) -> list[Task]:
        """All its tasks, those of mixtures within it too, sorted by name."""
        found: dict[int, Task] = {}
        for member in self._members.values():
            found |= {id(task): task for task in (member.tasks if isinstance(member, Mixture) else [member])}
        return sorted(found.values(), key=lambda task: task.name)

    @property
    def splits(self) -> Sequence[str]:
        """The splits that any of its tasks has."""
        return tuple(sorted({split for task in self.tasks for split in task.splits}))

    @property
    def output_features(self) -> Mapping[str, Any]:
        """The features of its tasks."""
        return self.tasks[0].output_features

    def num_input_examples(self, split: str) -> int | None:
        """Counts the raw examples of its tasks that have the split; None where one does not know."""
        counts = [task.num_input_examples(split) for task in self.tasks if split in task.splits]
        return None if None in counts else sum(count for count in counts if count is not None)

    @property
    def sample_fn(self) -> SampleFunction | None:
        """What draws its examples in place of turns; None where it takes turns."""
        return self._sample_fn

    # Rates.

    @property
    def rate_per_task_name(self) -> Mapping[str, Rate]:
        """The rates as they were given, by the names of tasks and of mixtures within it."""
        return self._rates

    @property
    def has_fixed_rates(self) -> bool:
        """Whether no rate is a function, here and in the mixtures within."""
        within = [member for member in self._members.values() if isinstance(member, Mixture)]
        return not any(map(callable, self._rates.values())) and all(member.has_fixed_rates for member in within)

    def exact_rate(self, task: Task) -> Fraction:
        """Gives the rate of a task as a fraction: its own, and its share of each mixture that it is in.

        A number counts as the decimal number it is written as, so that shares of shares are exact.

        Raises:
          ValueError: a mixture within has a function for a rate.
        """
        return self.exact_rates([task])[0]

    def exact_rates(self, tasks: Sequence[Task]) -> list[Fraction]:
        """Gives the rates of several tasks.

        A rate that is a function may read files: in a mixture within, it is called for the sum and for its share, not for each other task.
        """
        rates = {id(task): Fraction(0) for task in tasks}
        for name, member in self._members.items():
            wanted = [task for task in (member.tasks if isinstance(member, Mixture) else [member]) if id(task) in rates]
            if not wanted:
                continue
            own, within = self._own_rate(name), [Fraction(1)]
            if isinstance(member, Mixture):
                total = member._total()
                within = [rate / total for rate in member.exact_rates(wanted)]
            for task, share in zip(wanted, within, strict=True):
                rates[id(task)] += own * share
        return [rates[id(task)] for task in tasks]

    def told_rates(self) -> dict[str, str]:
        """Gives the rates of all tasks as they are told: fractions, by name."""
        return {task.name: str(rate) for task, rate in zip(self.tasks, self.exact_rates(self.tasks), strict=True)}

    def _own_rate(self, name: str) -> Fraction:
        member, rate = self._members[name], self._rates[name]
        if callable(rate):
            if isinstance(member, Mixture):
                raise ValueError(f"'rate' for sub-mixture {name!r} must be a number.")
            rate = rate(member)
        try:
            return Fraction(repr(rate) if isinstance(rate, float) else str(rate))
        except ValueError as error:
            raise ConfigError(f"the rate of {name!r} in mixture '{self.name}' must be a number or give one, got {rate!r}") from error

    def _total(self) -> Fraction:
        return sum((self._own_rate(name) for name in self._rates), Fraction(0))

    def get_rate(self, task: Task) -> float:
        """Gives the rate of a task, with its share of each mixture that it is in."""
        return float(self.exact_rate(task))

    @property
    def total_rate(self) -> float:
        """The sum of the rates of its members."""
        return float(self._total())

    # Examples.

    def get_dataset(
        self,
        sequence_length: Lengths | None = None,
        split: str = "train",
        use_cached: bool | str = False,
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: ShardInfo | None = None,
        num_epochs: int | None = None,
        copy_pretokenized: bool = False,
        compute_stats_empirically: bool = False,
        log_mixing_proportions: bool = True,
        passthrough_features: Sequence[str] | None = None,
        trim_output_features: bool = True,
        try_in_mem_cache: bool = True,
        *,
        stop: str | int | None = None,
    ) -> ExampleStream:
        """Gives the examples of all its tasks that have the split.

        Args:
          sequence_length: as in `Task.get_dataset`, as are the others that stand there.
          split: its name.
          use_cached: whether the tasks' caches are read; "mixture" replays the cached order of the mixture over them, with its end.
          shuffle: whether the order within each task is random.
          seed: of the tasks' orders and random steps, and of the turns; of a cached order, of the random steps alone.
          shard_info: gives one share of each task alone.
          num_epochs: how often each task, or the cached order, is passed over; None for ever.
          copy_pretokenized: whether `inputs_pretokenized` and its like are kept beside the output features.
          compute_stats_empirically: SeqIO's, without effect here.
          log_mixing_proportions: whether the proportions are logged.
          passthrough_features: names of further features that are kept; of a cached order, "mixture_task" names the task of each example.
          trim_output_features: whether features are trimmed to `sequence_length`.
          try_in_mem_cache: SeqIO's, without effect here.
          stop: in place of the mixture's own rule.

        Raises:
          ValueError: no task has the split, or the features differ in vocabulary or dtype.
          ManifestError: the cached order does not belong to the mixture as it is now.
        """
        pretokenized = [f"{name}_pretokenized" for name in self.output_features] if copy_pretokenized else []
        kept = frozenset([*self.output_features, *(passthrough_features or ()), *pretokenized])
        if isinstance(use_cached, str):
            trim = trim_output_features
            return self._in_cached_order(use_cached, split, sequence_length, seed, shard_info, num_epochs, trim, stop, kept)
        tasks = self._tasks_with(split)
        rates = self.exact_rates(tasks)
        total = sum(rates) or 1
        streams = []
        for task, rate in zip(tasks, rates, strict=True):
            if log_mixing_proportions:
                _LOG.info("mixture %s: task %s has rate %g, %.4f of all", self.name, task.name, rate, rate / total)
            if not rate and self._sample_fn is None:  # it gives nothing, and need not even have a cache
                streams.append(ExampleStream.from_examples([]))
                continue
            stream = task.get_dataset(sequence_length, split, use_cached, shuffle, None, seed, shard_info, num_epochs, trim_output_features)
            streams.append(stream.map(Keep(kept)))
        if self._sample_fn is not None:
            return self._sampled(streams, [float(rate) for rate in rates], seed if seed is not None else None if shuffle else 42)
        return self._mixed(streams, tasks, rates, seed, self._stop if stop is None else stop)

    def _mixed(
        self, streams: Sequence[ExampleStream], tasks: Sequence[Task], rates: Sequence[Fraction], seed: int | None, stop: str | int
    ) -> ExampleStream:
        names = [task.name for task in tasks]
        return ExampleStream(mixing.Mixed([stream.node for stream in streams], names, integer_weights(rates), seed or 0, stop))

    def _in_cached_order(
        self,
        use_cached: str,
        split: str,
        sequence_length: Lengths | None,
        seed: int | None,
        shard_info: ShardInfo | None,
        num_epochs: int | None,
        trim_output_features: bool,
        stop: str | int | None,
        kept: frozenset[str],
    ) -> ExampleStream:
        if use_cached != mixture_caches.USE:
            raise ConfigError(f"use_cached is False, True or {mixture_caches.USE!r}, got {use_cached!r}")
        if stop is not None:
            raise ConfigError(f"stop={stop!r}: a cached order has its own end, which `tokenreel cache-tasks` was told. Leave stop out.")
        self._check_features()
        stream = mixture_caches.stream(
            self,
            split,
            sequence_length=sequence_length,
            seed=seed,
            shard_info=shard_info,
            trim_output_features=trim_output_features,
            keep=Keep(kept),
            with_origin=mixture_caches.ORIGIN in kept,
        )
        return stream if num_epochs == 1 else stream.epochs(num_epochs)

    def _tasks_with(self, split: str) -> list[Task]:
        """Lists the tasks that have a split.

        Raises:
          ValueError: none has it, or the features differ in vocabulary or dtype.
        """
        self._check_features()
        tasks = [task for task in self.tasks if split in task.splits]
        for task in self.tasks:
            if task not in tasks:
                _LOG.warning("Task %s has no '%s' split, skipping.", task.name, split)
        if not tasks:
            raise ValueError(f"No datasets have a '{split}' split")
        return tasks

    def _sampled(self, streams: Sequence[ExampleStream], rates: Sequence[float], seed: int | None) -> ExampleStream:
        sample = self._sample_fn
        assert sample is not None
        steps = [step for stream in streams for step in stream.node.describe()]
        made = OfTensorFlow(lambda epoch: sample([stream.to_tf_data() for stream in streams], rates, seed), self.name, steps)
        return ExampleStream(made)

    def _check_features(self) -> None:
        first, *others = self.tasks
        for name, feature in first.output_features.items():
            for task in others:
                other = task.output_features[name]
                if other.vocabulary != feature.vocabulary:
                    raise ValueError(
                        f"Features across tasks in a mixture must use the same vocabulary.  Got {other.vocabulary} for feature '{name}' in "
                        f"task '{task}', expected {feature.vocabulary}."
                    )
                if other.dtype != feature.dtype:
                    raise ValueError(
                        f"Features across tasks in a mixture must use the same dtype.  Got {other.dtype} for feature '{name}' in task "
                        f"'{task}', expected {feature.dtype}."
                    )

    def __repr__(self) -> str:
        return f"Mixture(name={self.name}, rates={self._rates})"


class Keep:
    """Leaves out the features that are not named."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def __call__(self, example: Example) -> Example:
        """Gives the example without the others."""
        return {name: value for name, value in example.items() if name in self._names}


def _sample_as_seqio(datasets: Sequence[Any], rates: Sequence[float], seed: int | None) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.sample_from_datasets(list(datasets), list(rates), seed=seed, stop_on_empty_dataset=True)


def _member(name: str) -> Any:
    return TaskRegistry.get(name) if name in TaskRegistry.names() else MixtureRegistry.get(name)


class MixtureRegistry(DatasetProviderRegistry):
    """Mixtures by name."""

    _REGISTRY: ClassVar[dict[str, Any]] = {}
    _PROVIDER_TYPE = Mixture

    @classmethod
    def add(
        cls,
        name: str,
        tasks: Sequence[Any],
        default_rate: Rate | None = None,
        mixture_cls: type[Mixture] = Mixture,
        source_info: SourceInfo | None = None,
        **kwargs: Any,
    ) -> Mixture:
        """Makes a mixture and registers it; arguments are those of `Mixture`.

        Raises:
          ValueError: the name is taken, or the mixture cannot be made.
        """
        if not issubclass(mixture_cls, cls._PROVIDER_TYPE):
            cls._refuse(mixture_cls)
        mixture = mixture_cls(name=name, tasks=tasks, default_rate=default_rate, source_info=source_info, **kwargs)
        cls.add_provider(name, mixture)
        return mixture

    @classmethod
    def get(cls, name: str) -> Mixture:
        """Gives a mixture.

        Raises:
          ValueError: there is none of this name.
        """
        found: Mixture = super().get(name)
        return found
