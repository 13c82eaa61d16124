"""Judges a model on tasks: it is asked for predictions or scores of their examples, and their metrics compare these with the targets."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.tasks import metrics as metrics_lib
from tokenreel.tasks import model_outputs
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.getting import get_subtasks, maybe_get_mixture_or_task
from tokenreel.tasks.loggers import Logger
from tokenreel.tasks.metrics import ModelOutputType
from tokenreel.tasks.model_outputs import Gather, ModelFunction
from tokenreel.tasks.preprocessor_marks import step_name
from tokenreel.tasks.providers import ShardInfo

_LOG = logging.getLogger(__name__)
_ARGUMENTS = {
    ModelOutputType.PREDICTION: "predict_fn",
    ModelOutputType.SCORE: "score_fn",
    ModelOutputType.PREDICTION_WITH_AUX: "predict_with_aux_fn",
}
Metrics = dict[str, Any]


def get_valid_eval_tasks(tasks: Sequence[Any], split: str) -> list[Any]:
    """Gives the tasks that have a split, and metrics; what is left out is logged."""
    valid = []
    for task in tasks:
        if split not in task.splits:
            _LOG.info("Task %s has no '%s' split; skipping eval.", task.name, split)
        elif not task.metric_fns and not task.metric_objs:
            _LOG.info("Task %s has no metrics defined; skipping eval.", task.name)
        else:
            valid.append(task)
    return valid


@dataclasses.dataclass(frozen=True)
class Measured:
    """The examples of a task, and what was seen of them.

    Attributes:
      examples: features of the task.
      count: how many there are.
      longest: length of each output feature's longest.
    """

    examples: ExampleStream
    count: int
    longest: Mapping[str, int]


def measure(
    examples: ExampleStream, features: Mapping[str, Any], sequence_dims: Mapping[str, int], num_examples: int | None, keep: bool
) -> Measured:
    """Walks over the examples of a task once.

    Args:
      examples: of the task.
      features: its output features.
      sequence_dims: the axis that is measured, of features where it is not the first.
      num_examples: how many are taken; None for all.
      keep: whether they are held in memory.
    """
    taken = examples.take(num_examples) if num_examples else examples
    longest: dict[str, int] = {}
    kept, count = [], 0
    for example in taken:
        for name in features:
            if np.ndim(example.get(name)) > sequence_dims.get(name, 0):
                longest[name] = max(longest.get(name, 0), np.shape(example[name])[sequence_dims.get(name, 0)])
        count += 1
        if keep:
            kept.append(example)
    return Measured(ExampleStream.from_examples(kept) if keep else taken, count, longest)


class Evaluator:
    """Evaluates a model on one task, or on each of the tasks of a mixture by itself.

    The examples are made once, at the start. `evaluate` gives them to the functions of the model as often as it is called.

    Args:
      mixture_or_task_name: registered name, or a `Task` or `Mixture`. Tasks without the split or without metrics are left out.
      feature_converter: makes the model's features; without packing.
      eval_split: name of the split.
      use_cached: whether tasks are read from their caches.
      seed: of random steps, and of the order if there is one.
      sequence_length: the longest that each feature may be. Features that are not named, or all, get the length of their longest.
      num_examples: examples that are taken of each task, from the first; None for all.
      shuffle: whether they are taken in a random order, the same at every evaluation.
      logger_cls: where results are written; classes, or functions, that are called with `output_dir`.
      log_dir: directory for the loggers.
      use_memory_cache: whether the examples are held in memory; otherwise they are made again whenever they are read.
      async_compute_metrics: whether metrics are computed in a thread while the trainer goes on.
      target_field_name: the feature that metrics compare.
      shard_info: which share of each task this host's model functions get; None for all. Where a function of the model shares the work
        out among hosts by itself, as T5X's do, nothing is to be said here.
      gather: joins the outputs of all hosts: called with any value, in all processes alike, it returns the list of what all were called
        with. `model_outputs.gather_with_jax` and `gather_with_torch` are two. Every host computes the metrics of all examples; those of
        the first are logged.

    Attributes:
      eval_tasks: the tasks.
      cached_task_datasets: their examples.
      cached_model_datasets: what the model gets: (index, features of the model).
      model_feature_shapes: shape of each feature of the model that has any axes.
      loggers: where results are written.

    Raises:
      ValueError: a step of a task needs `sequence_length` and there is none; the converter packs; tasks have other features than the
        first; there are loggers and no `log_dir`; a task has no examples.
    """

    def __init__(
        self,
        mixture_or_task_name: Any,
        feature_converter: Any,
        eval_split: str = "validation",
        use_cached: bool = False,
        seed: int | None = 42,
        sequence_length: Mapping[str, Any] | None = None,
        num_examples: int | None = None,
        shuffle: bool = False,
        logger_cls: Sequence[Callable[..., Logger]] = (),
        log_dir: str | None = None,
        use_memory_cache: bool = True,
        async_compute_metrics: bool = True,
        target_field_name: str = "targets",
        *,
        shard_info: ShardInfo | None = None,
        gather: Gather | None = None,
    ) -> None:
        if shard_info is not None and shard_info.num_shards > 1 and gather is None:
            raise ConfigError(
                f"shard_info gives this host one of {shard_info.num_shards} shares of the examples, and metrics need all outputs: "
                "give gather, such as model_outputs.gather_with_jax or model_outputs.gather_with_torch"
            )
        subtasks = get_subtasks(maybe_get_mixture_or_task(mixture_or_task_name))
        self.eval_tasks = get_valid_eval_tasks(subtasks, eval_split)
        self.cached_task_datasets: dict[str, ExampleStream] = {}
        self.cached_model_datasets: dict[str, ExampleStream] = {}
        self.model_feature_shapes: dict[str, tuple[int, ...]] = {}
        self.loggers: tuple[Logger, ...] = ()
        self._target_field_name, self._shard_info, self._gather = target_field_name, shard_info, gather
        self._executor = concurrent.futures.ThreadPoolExecutor(max_workers=1) if async_compute_metrics else None
        self._running: concurrent.futures.Future[Any] | None = None
        self._targets: dict[tuple[str, Any], list[Any]] = {}
        self._rows: dict[str, ExampleStream] = {}
        self._counts: dict[str, int] = {}
        if not self.eval_tasks:
            _LOG.warning("No eval task with valid split and metric fn found. Skipping eval.")
            return
        self._metrics = {task.name: list(task.metric_objs) for task in self.eval_tasks}
        needs_lengths = _needs_lengths(self.eval_tasks, sequence_length)
        arguments = {"split": eval_split, "use_cached": use_cached, "seed": seed, "shuffle": shuffle}
        measured = self._measure(feature_converter, sequence_length, num_examples, use_memory_cache, **arguments)
        longest = {name: max(each.longest.get(name, 0) for each in measured.values()) for name in self.eval_tasks[0].output_features}
        lengths = _lengths(sequence_length, longest, needs_lengths)
        if feature_converter.pack:
            raise ConfigError("During evaluation, packing can't be used.")
        for name, each in measured.items():
            self._counts[name], self.cached_task_datasets[name] = each.count, each.examples
            self._rows[name] = feature_converter(each.examples, lengths)
            self.cached_model_datasets[name] = self._rows[name].enumerate()
        first = next(iter(self._rows[self.eval_tasks[-1].name]))
        self.model_feature_shapes = {name: np.shape(value) for name, value in first.items() if np.ndim(value)}
        self._start_loggers(logger_cls, log_dir)

    def _measure(
        self, converter: Any, lengths: Mapping[str, Any] | None, num_examples: int | None, keep: bool, **arguments: Any
    ) -> dict[str, Measured]:
        """Makes the examples of all tasks."""
        features = self.eval_tasks[0].output_features
        dims = {name: spec.sequence_dim for name, spec in converter.TASK_FEATURES.items()}
        measured = {}
        for task in self.eval_tasks:
            if task.output_features.keys() != features.keys():
                raise ConfigError(
                    f"all tasks must have the same features: {task.name} has {sorted(task.output_features)}, "
                    f"{self.eval_tasks[0].name} has {sorted(features)}"
                )
            examples = task.get_dataset(sequence_length=lengths, num_epochs=1, **arguments)
            measured[task.name] = measure(examples, features, dims, num_examples, keep)
            if not measured[task.name].count:
                raise ConfigError(f"Task {task.name} has no examples in split {arguments['split']!r}: there is nothing to evaluate")
        return measured

    def _start_loggers(self, classes: Sequence[Callable[..., Logger]], log_dir: str | None) -> None:
        if classes and not log_dir:
            raise ConfigError("'log_dir' must be provided to `Evaluator` if `logger_cls` is non-empty.")
        if not classes:
            _LOG.warning("'logger_cls' is empty so the Evaluator will not log its results.")
        if self._shard_info is None or self._shard_info.index == 0:
            self.loggers = tuple(each(output_dir=str(log_dir)) for each in classes)

    def close(self) -> None:
        """Waits until all metrics are computed and written."""
        if self._executor is not None:
            self._executor.shutdown(wait=True)

    def evaluate(
        self,
        *,
        compute_metrics: bool,
        step: int | None = None,
        predict_fn: ModelFunction | None = None,
        score_fn: ModelFunction | None = None,
        predict_with_aux_fn: ModelFunction | None = None,
        model_fns: Mapping[ModelOutputType, ModelFunction] | None = None,
    ) -> tuple[concurrent.futures.Future[Any], dict[str, Any]]:
        """Asks the model, and computes the metrics.

        Each function is called once for each task that has metrics of its kind, with a dataset of (index, features of the model): a
        `tf.data.Dataset`, or an `ExampleStream` if it is marked by `numpy_model_fn`. It answers with the indices, in any order.

        Args:
          compute_metrics: whether metrics are computed; otherwise the model is asked for what the given functions can tell.
          step: of the training, for the loggers.
          predict_fn: gives [(index, token ids)], or (index, several lists of token ids), or (index, text).
          score_fn: gives [(index, score)], or a pair of such a list and a dictionary of lists of further values.
          predict_with_aux_fn: gives a pair of [(index, token ids)] and a dictionary of lists of further values.
          model_fns: any of these by kind.

        Returns:
          a future of {task: {metric: value}} (of None without metrics), and {task: {kind: outputs in the order of the examples}}.

        Raises:
          ValueError: a function is missing, which is said before any is called; or one does not give one output for each example. What is
            wrong with metrics is raised by the future.
        """
        functions = dict(model_fns or {})
        given = {ModelOutputType.PREDICTION: predict_fn, ModelOutputType.SCORE: score_fn}
        given[ModelOutputType.PREDICTION_WITH_AUX] = predict_with_aux_fn
        functions |= {kind: function for kind, function in given.items() if function is not None}
        if compute_metrics:
            self._check_functions(functions)
        outputs: dict[str, Any] = {}
        for task in self.eval_tasks:
            kinds = dict.fromkeys(metric.model_output_type for metric in self._metrics[task.name])
            outputs[task.name] = {kind: self._ask(task, functions[kind]) for kind in kinds if kind in functions}
        if self._running is not None:
            self._running.result()  # what went wrong at the last evaluation is raised at this one
            self._running = None
        if not compute_metrics:
            return _done(None), outputs
        compute = functools.partial(self._compute_all, outputs, step)
        self._running = _done(compute()) if self._executor is None else self._executor.submit(compute)
        return self._running, outputs

    def _check_functions(self, functions: Mapping[ModelOutputType, ModelFunction]) -> None:
        missing: dict[ModelOutputType, list[str]] = {}
        for task in self.eval_tasks:
            for metric in self._metrics[task.name]:
                if metric.model_output_type not in functions and task.name not in missing.setdefault(metric.model_output_type, []):
                    missing[metric.model_output_type].append(task.name)
        wanted = {kind: tasks for kind, tasks in missing.items() if tasks}
        if wanted:
            what = "; ".join(f"{_ARGUMENTS.get(kind, f'model_fns[{kind.name}]')} for {', '.join(tasks)}" for kind, tasks in wanted.items())
            raise ConfigError(f"evaluate() needs a function of the model for every kind of metric that tasks have. Missing: {what}.")

    def _ask(self, task: Any, function: ModelFunction) -> Any:
        try:
            return model_outputs.run(self._rows[task.name], self._counts[task.name], function, self._shard_info, self._gather)
        except ConfigError as error:
            raise ConfigError(f"Failed to evaluate task {task.name}: {error}") from error

    def _compute_all(self, outputs: Mapping[str, Any], step: int | None) -> dict[str, Metrics]:
        found = {}
        for task in self.eval_tasks:
            try:
                found[task.name] = self._compute(task, outputs[task.name], step)
            except Exception as error:
                _LOG.error("Failed to evaluate task %s: %s", task.name, error)
                raise ValueError(f"Failed to evaluate task {task.name}: {error}") from error
        return found

    def _compute(self, task: Any, outputs: Mapping[ModelOutputType, Any], step: int | None) -> Metrics:
        """Computes the metrics of a task, and logs them."""
        values: Metrics = {}
        targets: list[Any] | None = None
        inferences: dict[str, Any] = {}
        for number, metric in enumerate(self._metrics[task.name]):
            made, seen = self._compute_one(task, number, metric, _arrays(outputs[metric.model_output_type]))
            for name, value in made.items():
                if name in values:
                    raise ValueError(f"Duplicate metric key '{name}' in Task '{task.name}'.")
                values[name] = value
            targets = seen.pop("targets", targets)
            inferences |= {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in seen.items()}
        wrapped = {
            name: value if isinstance(value, metrics_lib.MetricValue) else metrics_lib.Scalar(value) for name, value in values.items()
        }
        for logger in self.loggers:
            logger(
                task_name=task.name,
                step=step,
                metrics=wrapped,
                dataset=self.cached_task_datasets[task.name],
                targets=targets,
                inferences=inferences,
            )
        return values

    def _compute_one(self, task: Any, number: int, metric: Any, output: Any) -> tuple[Mapping[str, Any], dict[str, Any]]:
        """Computes one metric; gives its values, and targets and what was made of the outputs."""
        examples, field = self.cached_task_datasets[task.name], self._target_field_name
        instance = metric.from_model_output(examples, output, task.output_features, field)
        if not hasattr(instance, "actual_compute"):
            return instance.compute(), dict(getattr(instance, "targets_and_inferences", {}))
        # Metrics that postprocess alike share their targets, and evaluations do.
        key = (task.name, getattr(metric, "postprocess_fn", number))
        values, seen = instance.actual_compute(examples, task.output_features, field, self._targets.get(key))
        if "targets" in seen:
            self._targets[key] = seen["targets"]
        return values, dict(seen)


def _done(value: Any) -> concurrent.futures.Future[Any]:
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()
    future.set_result(value)
    return future


def _arrays(output: Any) -> Any:
    """Gives outputs as arrays where they have one shape."""
    if isinstance(output, tuple):
        return metrics_lib.as_array(output[0]), metrics_lib.map_leaves(metrics_lib.as_array, output[1])
    return metrics_lib.as_array(output)


def _needs_lengths(tasks: Sequence[Any], lengths: Mapping[str, Any] | None) -> bool:
    """Says whether a step of a task needs `sequence_length`.

    Raises:
      ValueError: it does, and there is none.
    """
    for task in tasks:
        for step in task.preprocessors:
            parameter = inspect.signature(step).parameters.get("sequence_length")
            if parameter is None or parameter.default is not parameter.empty:
                continue
            if lengths is None:
                raise ValueError(
                    f"Preprocessor '{step_name(step)}' in task '{task.name}' has a `sequence_length` argument, making it incompatible with "
                    "automatic sequence length detection. Pass a valid `sequence_length` to `Evaluator` and try again."
                )
            return True
    return False


def _lengths(given: Mapping[str, Any] | None, longest: Mapping[str, int], needed: bool) -> dict[str, Any]:
    """Gives the length of each feature, and warns of lengths that waste computation or cut examples."""
    if given is None:
        _LOG.info("Setting sequence lengths to %s", longest)
        return dict(longest)
    lengths = {name: given.get(name, longest[name]) for name in longest}
    numbers = {name: length for name, length in lengths.items() if isinstance(length, int | np.integer) and name in given}
    way_out = "Consider passing `None` for `sequence_length` to have them be automatically computed."
    if any(length > longest[name] for name, length in numbers.items()):
        _LOG.warning(
            "Given sequence lengths are longer than necessary for some evaluation inputs or targets, resulting in wasted computation. "
            "%s Got: %s, longest: %s",
            way_out,
            lengths,
            longest,
        )
    elif not needed and any(length == longest[name] for name, length in numbers.items()):
        _LOG.warning(
            "Given sequence lengths may be insufficient for some evaluation inputs or targets, which are then truncated. "
            "%s Got: %s, longest: %s",
            way_out,
            lengths,
            longest,
        )
    return lengths
