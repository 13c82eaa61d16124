"""A task: a source, the steps from its examples to the features that a model reads, and how a model is judged on them."""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from tokenreel import keys
from tokenreel.errors import ConfigError
from tokenreel.tasks import cache_directories, cached_sources, task_steps
from tokenreel.tasks.data_sources import DataSource
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.features import Feature
from tokenreel.tasks.metrics import ModelOutputType, PassthroughLegacyMetric, output_type_of
from tokenreel.tasks.output_checks import OutputCheck
from tokenreel.tasks.preprocessor_marks import is_random, step_name
from tokenreel.tasks.providers import DatasetProviderBase, DatasetProviderRegistry, Lengths, ShardInfo, SourceInfo
from tokenreel.tasks.step_binding import argument_names
from tokenreel.tasks.task_steps import CacheDatasetPlaceholder

SHUFFLE_BUFFER_SIZE = 1000
"""Examples that are shuffled together, where a task says nothing else."""

_SEEDS_OF_A_STEP = 42  # SeqIO's

_NAME = re.compile(r"^[\w\d\.\:_#]+$")
_LOG = logging.getLogger(__name__)


class Task(DatasetProviderBase):
    """Gives examples whose features a model reads. It needs no registry, and pickles if its functions do.

    Args:
      name: letters, digits and `.:_#`; that of its cache's directory, with "/" for ":".
      source: gives the raw examples.
      output_features: what every example has after the steps, by name. It may have more, which travel along.
      preprocessors: the steps, each a function of the whole dataset that may ask for `output_features` and `sequence_length` by name; among
        them at most one `CacheDatasetPlaceholder`. They take and give `tf.data`, unless they are marked by `numpy_preprocessor`.
      postprocess_fn: makes what metrics compare of decoded outputs and of targets.
      metric_fns: functions of (targets, predictions), (targets, scores) or (targets, predictions, aux_values).
      metric_objs: metrics as objects.
      shuffle_buffer_size: examples that are shuffled together; None forbids shuffling.
      source_info: where it was defined.
      compat: "seqio" for SeqIO's draws: a random step's seeds are numbered from the seed of the run on, through all steps, and belong to
        places in the stream. States are then restored by replay, and TensorFlow draws. A cache's steps draw by example all the same.

    Raises:
      ValueError: the name has other characters, or there are several placeholders or one that the source forbids.
    """

    def __init__(
        self,
        name: str,
        source: DataSource,
        output_features: Mapping[str, Feature],
        preprocessors: Sequence[Callable[..., Any]] | None = None,
        postprocess_fn: Callable[..., Any] | None = None,
        metric_fns: Sequence[Callable[..., Any]] | None = None,
        metric_objs: Sequence[Any] | None = None,
        shuffle_buffer_size: int | None = SHUFFLE_BUFFER_SIZE,
        source_info: SourceInfo | None = None,
        *,
        compat: str | None = None,
    ) -> None:
        if compat not in (None, "seqio"):
            raise ConfigError(f"compat is None or 'seqio', got {compat!r}")
        if not _NAME.match(name):
            raise ValueError(f"Task name '{name}' contains invalid characters. Must match regex: {_NAME.pattern}")
        self._name, self._source, self._source_info = name, source, source_info
        self._output_features = dict(sorted(output_features.items()))
        self._steps = tuple(preprocessors or ())
        self._postprocess_fn = postprocess_fn
        self._metric_fns, self._metric_objs = tuple(metric_fns or ()), tuple(metric_objs or ())
        self._shuffle_buffer_size, self.compat = shuffle_buffer_size, compat
        places = [place for place, step in enumerate(self._steps) if isinstance(step, CacheDatasetPlaceholder)]
        if len(places) > 1:
            raise ValueError(
                f"`CacheDatasetPlaceholder` can appear at most once in the preprocessing pipeline. Found multiple in '{name}'."
            )
        self._cache_step = places[0] if places else None
        if places and not source.caching_permitted:
            raise ValueError(
                f"Caching was requested for '{name}', but the underlying data source prohibits caching. "
                "Please remove `CacheDatasetPlaceholder` and try again."
            )

    # What it is.

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def source(self) -> DataSource:
        """What gives the raw examples."""
        return self._source

    @property
    def source_info(self) -> SourceInfo | None:
        """Where it was defined."""
        return self._source_info

    @property
    def output_features(self) -> Mapping[str, Feature]:
        """The features that every example has, sorted by name."""
        return self._output_features

    @property
    def splits(self) -> Sequence[str]:
        """The names of its splits.

        Raises:
          ValueError: there is none.
        """
        if not self.source.splits:
            raise ValueError(f"Task {self.name} has no splits")
        return tuple(self.source.splits)

    def num_input_examples(self, split: str) -> int | None:
        """Counts the raw examples of a split; None where the source does not know."""
        return self.source.num_input_examples(split)

    @property
    def shuffle_buffer_size(self) -> int | None:
        """Examples that are shuffled together; None forbids shuffling."""
        return self._shuffle_buffer_size

    @functools.cached_property
    def preprocessors(self) -> Sequence[Callable[..., Any]]:
        """The steps, the placeholder among them.

        Raises:
          ValueError: one before the placeholder asks for `sequence_length`, which a cache cannot know.
        """
        for step in self._steps[: self._cache_step or 0]:
            names = argument_names(step)
            if "sequence_length" in names:
                raise ValueError(
                    f"'{step_name(step)}' has a `sequence_length` argument but occurs before `CacheDatasetPlaceholder` in "
                    f"'{self.name}'. This is not allowed since the sequence length is specified at run time."
                )
            if is_random(step):
                _LOG.warning(
                    "'%s' has a `seed(s)` argument but occurs before `CacheDatasetPlaceholder` in '%s': its draws are those of the cache, "
                    "the same in each epoch.",
                    step_name(step),
                    self.name,
                )
        return self._steps

    def replace(self, **changes: Any) -> Task:
        """Makes a task like this one, with some of its arguments changed.

        Raises:
          ValueError: there is no such argument.
        """
        arguments = {
            "name": self._name,
            "source": self._source,
            "output_features": self._output_features,
            "preprocessors": self._steps,
            "postprocess_fn": self._postprocess_fn,
            "metric_fns": self._metric_fns,
            "metric_objs": self._metric_objs,
            "shuffle_buffer_size": self._shuffle_buffer_size,
            **({"compat": self.compat} if self.compat else {}),  # users' own tasks may not take it
        }
        if unknown := changes.keys() - arguments.keys() - {"compat"}:
            raise ValueError(
                f"Expected keys of kwargs argument task.replace to be one of {list(arguments)}. "
                f"However, there were keys in kwargs that are not in this set: {unknown}"
            )
        return type(self)(**{**arguments, **changes})

    def __repr__(self) -> str:
        return f"Task(name={self.name}, source={self.source})"

    # How a model is judged.

    @property
    def postprocessor(self) -> Callable[..., Any] | None:
        """The function that `postprocess_fn` calls."""
        return self._postprocess_fn

    def postprocess_fn(self, decoded_model_output: Any, **postprocess_kwargs: Any) -> Any:
        """Makes what metrics compare of an output; without a function, the output itself."""
        return self._postprocess_fn(decoded_model_output, **postprocess_kwargs) if self._postprocess_fn else decoded_model_output

    def _metric_fns_of(self, kind: ModelOutputType) -> list[Callable[..., Any]]:
        return [function for function in self._metric_fns if output_type_of(function) == kind]

    @property
    def metric_fns(self) -> Sequence[Callable[..., Any]]:
        """All metric functions.

        Raises:
          ValueError: one takes other arguments than metrics do.
        """
        return [*self.predict_metric_fns, *self.score_metric_fns, *self.predict_with_aux_metric_fns]

    @property
    def predict_metric_fns(self) -> Sequence[Callable[..., Any]]:
        """Those of targets and predictions."""
        return self._metric_fns_of(ModelOutputType.PREDICTION)

    @property
    def score_metric_fns(self) -> Sequence[Callable[..., Any]]:
        """Those of targets and scores."""
        return self._metric_fns_of(ModelOutputType.SCORE)

    @property
    def predict_with_aux_metric_fns(self) -> Sequence[Callable[..., Any]]:
        """Those of targets, predictions and further values."""
        return self._metric_fns_of(ModelOutputType.PREDICTION_WITH_AUX)

    @property
    def metric_objs(self) -> Sequence[Any]:
        """All metrics as objects: those that were given, and those made of functions, which compare what the postprocessor makes.

        Raises:
          ValueError: a function takes other arguments than metrics do.
        """
        of_functions = [PassthroughLegacyMetric.from_metric_fn(function, self._postprocess_fn).empty() for function in self.metric_fns]
        return [*self._metric_objs, *of_functions]

    # Its cache.

    @property
    def supports_caching(self) -> bool:
        """Whether a placeholder stands among its steps."""
        return self._cache_step is not None

    @property
    def requires_caching(self) -> bool:
        """Whether it can be read from a cache alone."""
        return self._cache_step is not None and self._steps[self._cache_step].required  # type: ignore[attr-defined]

    @property
    def cache_dir(self) -> str | None:
        """The directory of its cache, looked for now; None where there is none."""
        return cache_directories.find(self.name)

    def assert_cached(self) -> None:
        """Checks that there is a cache.

        Raises:
          AssertionError: there is none.
        """
        self._found_cache()

    def _found_cache(self) -> str:
        """Gives the directory of its cache, which is looked for once: that reads files, which may be remote."""
        directory = self.cache_dir
        if not directory:
            raise AssertionError(
                f"'{self.name}' does not exist in any of the task cache directories. They are "
                f"{cache_directories.get_global_cache_dirs()}: name another with add_global_cache_dirs, or run `tokenreel cache-tasks`."
            )
        return directory

    def get_cached_stats(self, split: str = "train") -> Mapping[str, Any]:
        """Gives what the cache's statistics say of a split.

        Raises:
          AssertionError: there is no cache.
          ValueError: it does not hold the split.
        """
        return cached_sources.stats(self._found_cache(), split)

    # Its examples.

    def preprocess_precache(self, dataset: Any, seed: int | None = None) -> ExampleStream:
        """Runs the steps before the placeholder; without one, none."""
        return self._run(dataset, 0, self._cache_step or 0, seed, None)

    def preprocess_postcache(self, dataset: Any, sequence_length: Lengths | None, seed: int | None = None) -> ExampleStream:
        """Runs the steps after the placeholder; without one, all."""
        first = 0 if self._cache_step is None else self._cache_step + 1
        return self._run(dataset, first, len(self._steps), seed, sequence_length)

    def _run(self, dataset: Any, first: int, end: int, seed: int | None, sequence_length: Lengths | None) -> ExampleStream:
        steps, arguments = self.preprocessors[first:end], {"output_features": self.output_features, "sequence_length": sequence_length}
        if self.compat:
            # SeqIO leaves 42 integers to each step before the placeholder, and counts on behind it.
            return task_steps.run_as_seqio(dataset, steps, (seed or 0) + _SEEDS_OF_A_STEP * max(first - 1, 0), **arguments)
        return task_steps.run(dataset, steps, first, self.run_seed(seed), **arguments)

    def finish(self, dataset: Any, sequence_length: Lengths | None, seed: int | None, trim_output_features: bool) -> ExampleStream:
        """Runs the steps after the placeholder, and checks and trims what they give, as `get_dataset` does."""
        stream = self.preprocess_postcache(dataset, sequence_length, seed)
        check = OutputCheck(self.output_features, sequence_length if trim_output_features else None)
        return ExampleStream(task_steps.Checked(stream.node, check))

    def run_seed(self, seed: int | None) -> int:
        """Gives the seed of this task's draws: members of a mixture have one seed and draw each their own."""
        return keys.key(seed or 0, "tasks", self.name) >> 33

    def get_dataset(  # type: ignore[override]  # SeqIO has its own argument in the middle
        self,
        sequence_length: Lengths | None = None,
        split: str = "train",
        use_cached: bool = False,
        shuffle: bool = True,
        shuffle_buffer_size: int | None = None,
        seed: int | None = None,
        shard_info: ShardInfo | None = None,
        num_epochs: int | None = 1,
        trim_output_features: bool = True,
        try_in_mem_cache: bool = True,
    ) -> ExampleStream:
        """Gives the examples of a split: of the source or the cache, in epochs, through the steps, checked, trimmed and shuffled.

        The same arguments give the same examples, and no seed stands for seed 0. A cache is shuffled as a whole where each step after it
        makes one example of one; otherwise files are shuffled, and `shuffle_buffer_size` examples together.

        Args:
          sequence_length: the longest that each feature may be; one number for its first axis, or one for each axis; None trims nothing.
          split: its name.
          use_cached: whether the cache is read, and the steps before the placeholder are not run.
          shuffle: whether the order is random.
          shuffle_buffer_size: examples that are shuffled together; None for the task's own.
          seed: of the order and of random steps.
          shard_info: gives one share alone: of the source's files where there are enough, of the examples otherwise.
          num_epochs: how often the split is passed over, each time with draws of its own; None for ever.
          trim_output_features: whether features are trimmed to `sequence_length`.
          try_in_mem_cache: SeqIO's, without effect here: what lies in files is read again.

        Raises:
          ValueError: the cache is required and not asked for, shuffling is forbidden, or the first example lacks what the task promises;
            another example may raise it later.
          AssertionError: there is no cache.
        """
        cache = self._cache_to_read(use_cached, shuffle)
        if cache is not None:
            stream = cached_sources.stream(self, cache, split, self.run_seed(seed) if shuffle else None)
            stream = stream if shard_info is None else stream.shard(shard_info.num_shards, shard_info.index)
        else:
            self._check_split(split)
            stream = self.preprocess_precache(task_steps.of_source(self.source, split, shuffle, seed, shard_info), seed)
        if num_epochs != 1:
            stream = stream.epochs(num_epochs)
        stream = self.finish(stream, sequence_length, seed, trim_output_features)
        next(iter(stream), None)  # what is wrong with all examples is said now
        if shuffle and not (cache is not None and task_steps.one_to_one(stream.node)) and self._shuffle_buffer_size is not None:
            stream = stream.shuffle(shuffle_buffer_size or self._shuffle_buffer_size, self.run_seed(seed))
        return stream

    def _cache_to_read(self, use_cached: bool, shuffle: bool) -> str | None:
        """Checks what is asked against what the task allows, and gives the directory of its cache; None where no cache is read."""
        if isinstance(use_cached, str):
            raise ConfigError(f"use_cached={use_cached!r} is for mixtures; for task '{self.name}' it is True or False")
        if use_cached and not self.supports_caching:
            _LOG.warning("Task '%s' does not support caching. Switching to on-the-fly preprocessing.", self.name)
            use_cached = False
        elif self.requires_caching and not use_cached:
            raise ValueError(f"Task '{self.name}' requires caching, but was called with `use_cached=False`.")
        if shuffle and self._shuffle_buffer_size is None and not self.source.performs_internal_shuffling:
            raise ValueError(
                f"Shuffling is disallowed for Task '{self.name}' since its `shuffle_buffer_size` was set to `None` on construction."
            )
        return self._found_cache() if use_cached else None

    def _check_split(self, split: str) -> None:
        if split not in self.splits and "[" not in split:  # a slice of TFDS is no split of its own
            raise ConfigError(f"Task '{self.name}' has no split {split!r}; it has {', '.join(self.splits)}")


class TaskRegistry(DatasetProviderRegistry):
    """Tasks by name."""

    _REGISTRY: ClassVar[dict[str, Any]] = {}
    _PROVIDER_TYPE = Task

    @classmethod
    def add(
        cls,
        name: str,
        source: DataSource,
        output_features: Mapping[str, Feature],
        preprocessors: Sequence[Callable[..., Any]] | None = None,
        postprocess_fn: Callable[..., Any] | None = None,
        metric_fns: Sequence[Callable[..., Any]] | None = None,
        metric_objs: Sequence[Any] | None = None,
        task_cls: type[Task] = Task,
        source_info: SourceInfo | None = None,
        **kwargs: Any,
    ) -> Task:
        """Makes a task and registers it; arguments are those of `Task`.

        Raises:
          ValueError: the name is taken, or the task cannot be made.
        """
        if not issubclass(task_cls, cls._PROVIDER_TYPE):
            cls._refuse(task_cls)
        task = task_cls(
            name=name,
            source=source,
            output_features=output_features,
            preprocessors=preprocessors,
            postprocess_fn=postprocess_fn,
            metric_fns=metric_fns,
            metric_objs=metric_objs,
            source_info=source_info,
            **kwargs,
        )
        cls.add_provider(name, task)
        return task

    @classmethod
    def get(cls, name: str) -> Task:
        """Gives a task.

        Raises:
          ValueError: there is none of this name.
        """
        found: Task = super().get(name)
        return found
