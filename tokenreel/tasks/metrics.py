"""What metrics give and how they are computed: functions of targets and what a model made of them, or objects.

A metric function is known by its arguments without defaults: `(targets, predictions)`, `(targets, scores)` or
`(targets, predictions, aux_values)`. It returns a dictionary of numbers, or of the values below, which loggers write each in its way.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError

Example = Mapping[str, Any]
Features = Mapping[str, Any]


@dataclasses.dataclass
class MetricValue:
    """What a metric function gives for a name. A bare number is taken for a `Scalar`."""


@dataclasses.dataclass
class Scalar(MetricValue):
    """A number: a point of a curve over the steps."""

    value: int | float


@dataclasses.dataclass
class Text(MetricValue):
    """A text in Markdown."""

    textdata: str | bytes


@dataclasses.dataclass
class Image(MetricValue):
    """Images.

    Attributes:
      image: [images, height, width, channels] of 1 to 4 channels, uint8, or floats from 0 to 1.
      max_outputs: how many of them are written, from the first.
    """

    image: npt.ArrayLike
    max_outputs: int = 3


@dataclasses.dataclass
class Audio(MetricValue):
    """Sounds.

    Attributes:
      audiodata: [sounds, frames, channels], floats from -1 to 1.
      sample_rate: frames a second.
      max_outputs: how many of them are written, from the first.
    """

    audiodata: npt.ArrayLike
    sample_rate: int = 44100
    max_outputs: int = 3


@dataclasses.dataclass
class Histogram(MetricValue):
    """The distribution of some values, of any shape, in `bins` (30 without)."""

    values: npt.ArrayLike
    bins: int | None = None


@dataclasses.dataclass
class Generic(MetricValue):
    """An array for a plugin of TensorBoard, which its `SummaryMetadata` names (TensorFlow's or tensorboard's own)."""

    tensor: Any
    metadata: Any


class ModelOutputType(enum.IntEnum):
    """What a metric needs of the model: a function of this kind is called for it."""

    PREDICTION = 1
    SCORE = 2
    PREDICTION_WITH_AUX = 3
    SCORE_WITH_INTERMEDIATES = 4

    @classmethod
    def to_str(cls, enm: ModelOutputType) -> str:
        """Names a kind.

        >>> ModelOutputType.to_str(ModelOutputType.PREDICTION_WITH_AUX)
        'prediction_with_aux'
        """
        return cls(enm).name.lower()


MetricFnCallable = Callable[..., Mapping[str, MetricValue | float]]

_OUTPUT_TYPES = {
    ("targets", "scores"): ModelOutputType.SCORE,
    ("targets", "predictions"): ModelOutputType.PREDICTION,
    ("targets", "predictions", "aux_values"): ModelOutputType.PREDICTION_WITH_AUX,
}


def output_type_of(metric_fn: MetricFnCallable) -> ModelOutputType:
    """Says what a metric function needs, by the names of its arguments without defaults.

    Raises:
      ConfigError: they are none of the three lists.

    >>> output_type_of(lambda targets, scores, weight=1.0: {}).name
    'SCORE'
    """
    parameters = inspect.signature(metric_fn).parameters.items()
    names = tuple(name for name, p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD)
    if names not in _OUTPUT_TYPES:
        raise ConfigError(
            "Metric functions must have positional arguments matching either ('targets', 'scores'), ('targets', 'predictions') or "
            f"('targets', 'predictions', 'aux_values'). Got: {names}. Give other arguments a default, or bind them by functools.partial."
        )
    return _OUTPUT_TYPES[names]


# What all metrics do with examples and outputs.


def targets_of(examples: Iterable[Example], features: Features, field: str, postprocess: Callable[..., Any]) -> list[Any]:
    """Gives the postprocessed targets of a task's examples.

    Args:
      examples: of the task.
      features: its output features; the vocabulary of `field` decodes where no `<field>_pretokenized` travels along.
      field: the feature that holds the targets.
      postprocess: called with a target, `example=` and `is_target=True`.
    """
    found = []
    for example in examples:
        target = example.get(f"{field}_pretokenized")
        if target is None:
            target = features[field].vocabulary.decode(list(example[field]))
        found.append(postprocess(target.decode("utf-8") if isinstance(target, bytes) else target, example=example, is_target=True))
    return found


def decode_outputs(outputs: Iterable[Any], vocabulary: Any) -> list[Any]:
    """Gives the texts of what a model predicted.

    Args:
      outputs: for each example token ids; or several lists of them, of the best so many predictions; or a text, which stays.
      vocabulary: decodes.

    Returns:
      for each example a text, or a list of texts.
    """
    return [_decode(output, vocabulary) for output in outputs]


def _decode(output: Any, vocabulary: Any) -> Any:
    if isinstance(output, str | bytes) or not np.iterable(output):
        return output
    first = next(iter(output), 0)
    if isinstance(first, str | bytes):
        return output
    return [vocabulary.decode(each) for each in output] if np.iterable(first) else vocabulary.decode(output)


def as_array(outputs: Sequence[Any]) -> Any:
    """Gives the outputs of all examples as one array where they have one shape; lists of several lengths, and texts, stay a list."""
    if any(isinstance(output, str | bytes) for output in outputs):
        return list(outputs)  # NumPy would cut zeros off their ends
    try:
        return np.array(outputs)
    except ValueError:  # of several lengths
        return list(outputs)


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """Applies a function to the lists and arrays of nested dictionaries and tuples."""
    if isinstance(tree, Mapping):
        return {name: map_leaves(function, value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        return tuple(map_leaves(function, value) for value in tree)
    return function(tree)


def take(values: Any, places: Iterable[int]) -> Any:
    """Takes some elements of a list or an array."""
    if isinstance(values, np.ndarray):
        return values[np.asarray(places, dtype=np.int64)]
    return [values[place] for place in places]


def remove_padding_examples(model_output: Any, indices_2d: npt.NDArray[Any], mask: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Any]:
    """Removes what only filled up the last batch.

    Args:
      model_output: for each example, an array, a list, or dictionaries and tuples of them.
      indices_2d: [n, 2] shard and place in the shard of each.
      mask: [n] 1 where it is an example.

    Returns:
      the indices and outputs of the examples.
    """
    places = np.flatnonzero(np.asarray(mask) == 1)
    return np.asarray(indices_2d)[places], map_leaves(lambda values: take(values, places), model_output)


def globally_sort_model_output(model_output: Any, indices_2d: npt.NDArray[Any]) -> Any:
    """Sorts outputs by shard, and by place within it.

    >>> globally_sort_model_output(np.array([10, 30, 20]), np.array([[0, 0], [1, 5], [0, 7]])).tolist()
    [10, 20, 30]
    """
    order = np.lexsort((indices_2d[:, 1], indices_2d[:, 0]))
    return map_leaves(lambda values: take(values, order), model_output)


# Metrics as objects.


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric that is gathered batch by batch: `from_model_output` of each, `merge`d, `compute`d.

    Subclasses are dataclasses, flax's included, that begin with `model_output_type`.
    """

    model_output_type: ModelOutputType

    @classmethod
    def empty(cls) -> Metric:
        """Gives the metric of no examples."""
        raise NotImplementedError("Must override empty()")

    @classmethod
    def from_model_output(
        cls,
        inputs: Sequence[Example],
        model_output: Any,
        features: Features,
        target_field_name: str = "targets",
        mask: npt.NDArray[Any] | None = None,
        indices_2d: npt.NDArray[Any] | None = None,
    ) -> Metric:
        """Makes the metric of some examples.

        Args:
          inputs: the examples.
          model_output: what the model gave for each: an array, or a pair of one and of auxiliary values.
          features: output features of the task.
          target_field_name: the feature that holds the targets.
          mask: [n] 1 for the examples that count.
          indices_2d: [n, 2] shard of each example, and place in the shard.
        """
        raise NotImplementedError("Must override from_model_output()")

    def merge(self, other: Any) -> Metric:
        """Gives the metric of this one's examples and the other's."""
        raise NotImplementedError("Must override merge()")

    def compute(self) -> Mapping[str, MetricValue | float]:
        """Gives the values."""
        raise NotImplementedError("Must override compute()")


@dataclasses.dataclass(frozen=True)
class CollectingMetric:
    """A metric over everything at once: outputs are collected, and `actual_compute` sees them beside the examples.

    Attributes:
      values: "model_output", and of each example "indices_2d" (shard, place) and "mask" (1 where it counts).
    """

    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def empty(cls) -> Any:
        """Gives the metric of no examples."""
        return cls(values={})

    @classmethod
    def from_model_output(
        cls,
        inputs: Sequence[Example],
        model_output: Any,
        features: Features,
        target_field_name: str = "targets",
        mask: npt.NDArray[Any] | None = None,
        indices_2d: npt.NDArray[Any] | None = None,
    ) -> Any:
        """Collects the outputs of some examples; see `Metric.from_model_output`."""
        return cls(values=_collected(model_output, mask, indices_2d))

    def merge(self, other: Any) -> Any:
        """Gives the metric of this one's examples and the other's."""
        if not self.values or not other.values:
            return self if self.values else other
        return dataclasses.replace(self, values=_joined(self.values, other.values))

    def compute(self) -> Mapping[str, Any]:
        """Gives what was collected."""
        return self.values

    def actual_compute(
        self,
        task_dataset_as_numpy: Sequence[Example],
        task_output_features: Features,
        target_field_name: str = "targets",
        cached_targets: list[Any] | None = None,
    ) -> tuple[Mapping[str, MetricValue | float], dict[str, Any]]:
        """Computes the metric.

        Args:
          task_dataset_as_numpy: all examples of the task.
          task_output_features: its output features.
          target_field_name: the feature that holds the targets.
          cached_targets: what this returned as "targets" at an earlier evaluation; they need not be postprocessed again.

        Returns:
          the values; and "targets" with what was made of the outputs, for loggers.
        """
        raise NotImplementedError("Must override actual_compute()")


def _collected(outputs: Any, mask: npt.NDArray[Any] | None, indices_2d: npt.NDArray[Any] | None) -> dict[str, Any]:
    count = len(outputs[0] if isinstance(outputs, tuple) else outputs)
    if mask is None:
        mask = np.ones(count, dtype=np.int32)
    if indices_2d is None:
        indices_2d = np.stack([np.zeros(count, dtype=np.int32), np.arange(count, dtype=np.int32)], axis=1)
    return {"model_output": outputs, "indices_2d": np.asarray(indices_2d), "mask": np.asarray(mask)}


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, Mapping):
        return {name: _joined(value, other[name]) for name, value in one.items()}
    if isinstance(one, tuple):
        return tuple(_joined(*pair) for pair in zip(one, other, strict=True))
    return as_array([*one, *other])


def _unchanged(value: Any, **unused: Any) -> Any:
    return value


@dataclasses.dataclass(frozen=True)
class PassthroughLegacyMetric(CollectingMetric):
    """A metric function, and the postprocessor of its task, as an object. It pickles where the two do.

    >>> metric = PassthroughLegacyMetric.from_metric_fn(lambda targets, predictions: {"n": len(targets)})
    >>> metric.model_output_type.name
    'PREDICTION'
    """

    metric_fn: MetricFnCallable | None = None
    postprocess_fn: Callable[..., Any] | None = None
    model_output_type: ModelOutputType = ModelOutputType.PREDICTION

    @classmethod
    def from_metric_fn(cls, metric_fn: MetricFnCallable, postprocess_fn: Callable[..., Any] | None = None) -> PassthroughLegacyMetric:
        """Makes one of a function.

        Raises:
          ConfigError: the function's arguments are none that a metric function has.
        """
        return cls(metric_fn=metric_fn, postprocess_fn=postprocess_fn, model_output_type=output_type_of(metric_fn))

    def empty(self) -> PassthroughLegacyMetric:  # type: ignore[override]
        """Gives the metric of the same function for no examples."""
        return dataclasses.replace(self, values={})

    def from_model_output(  # type: ignore[override]
        self,
        inputs: Sequence[Example],
        model_output: Any,
        features: Features,
        target_field_name: str = "targets",
        mask: npt.NDArray[Any] | None = None,
        indices_2d: npt.NDArray[Any] | None = None,
    ) -> PassthroughLegacyMetric:
        """Collects the outputs of some examples; see `Metric.from_model_output`."""
        return dataclasses.replace(self, values=_collected(model_output, mask, indices_2d))

    def postprocess(self, targets_or_predictions: Any, **postprocess_kwargs: Any) -> Any:
        """Postprocesses a decoded target or prediction."""
        return (self.postprocess_fn or _unchanged)(targets_or_predictions, **postprocess_kwargs)

    def postprocess_targets(self, task_dataset_as_numpy: Iterable[Example], features: Features, field: str = "targets") -> list[Any]:
        """Gives the postprocessed targets of a task's examples."""
        return targets_of(task_dataset_as_numpy, features, field, self.postprocess)

    def actual_compute(
        self,
        task_dataset_as_numpy: Sequence[Example],
        task_output_features: Features,
        target_field_name: str = "targets",
        cached_targets: list[Any] | None = None,
    ) -> tuple[Mapping[str, MetricValue | float], dict[str, Any]]:
        """Computes the metric; see `CollectingMetric.actual_compute`.

        Raises:
          ConfigError: there are not as many outputs as examples.
        """
        targets = cached_targets or self.postprocess_targets(task_dataset_as_numpy, task_output_features, target_field_name)
        indices, outputs = remove_padding_examples(self.values["model_output"], self.values["indices_2d"], self.values["mask"])
        if len(targets) != len(indices):
            raise ConfigError(f"the model gave {len(indices):,} outputs for {len(targets):,} examples: it must give one for each")
        outputs = globally_sort_model_output(outputs, indices)
        vocabulary = task_output_features[target_field_name].vocabulary
        arguments, logged = self.arguments(targets, outputs, task_dataset_as_numpy, vocabulary)
        assert self.metric_fn is not None
        return self.metric_fn(**arguments), {"targets": targets, **logged}

    def arguments(
        self, targets: list[Any], outputs: Any, examples: Iterable[Example], vocabulary: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Gives what the function is called with, and what loggers write of it.

        Args:
          targets: postprocessed.
          outputs: of the model, in the order of the examples.
          examples: the task's.
          vocabulary: decodes predictions.
        """
        if self.model_output_type == ModelOutputType.SCORE:
            return {"targets": targets, "scores": outputs}, {"score": outputs}
        arguments, logged = {"targets": targets}, {}
        if self.model_output_type == ModelOutputType.PREDICTION_WITH_AUX:
            outputs, arguments["aux_values"] = outputs
            logged["aux_value"] = arguments["aux_values"]
        logged["output"] = decode_outputs(outputs, vocabulary)
        pairs = zip(examples, logged["output"], strict=False)
        predictions = [self.postprocess(text, example=example, is_target=False) for example, text in pairs]
        return arguments | {"predictions": predictions}, logged | {"prediction": predictions}


class LegacyMetric:
    """A metric function as an object that is filled in place: SeqIO's older form of `PassthroughLegacyMetric`.

    Attributes:
      model_output_type: what the function needs.
      metric_fn_kwargs: what it is called with.
      targets_and_inferences: what was made of targets and outputs, for loggers.
    """

    def __init__(self, metric: PassthroughLegacyMetric) -> None:
        self._metric = metric
        self.model_output_type = metric.model_output_type
        self.metric_fn_kwargs: dict[str, Any] = {}
        self.targets_and_inferences: dict[str, Any] = {}

    @classmethod
    def empty(cls, metric_fn: MetricFnCallable, postprocess_fn: Callable[..., Any] | None) -> LegacyMetric:
        """Makes one of a function and the postprocessor of its task.

        Raises:
          ConfigError: the function's arguments are none that a metric function has.
        """
        return cls(PassthroughLegacyMetric.from_metric_fn(metric_fn, postprocess_fn))

    def postprocess_fn(self, targets_or_predictions: Any, **postprocess_kwargs: Any) -> Any:
        """Postprocesses a decoded target or prediction."""
        return self._metric.postprocess(targets_or_predictions, **postprocess_kwargs)

    def from_model_output(
        self,
        inputs: Sequence[Example],
        model_output: Any,
        features: Features,
        target_field_name: str = "targets",
        mask: npt.NDArray[Any] | None = None,
    ) -> LegacyMetric:
        """Takes the outputs for all examples; see `Metric.from_model_output`."""
        targets = self._metric.postprocess_targets(inputs, features, target_field_name)
        vocabulary = features[target_field_name].vocabulary
        self.metric_fn_kwargs, logged = self._metric.arguments(targets, model_output, inputs, vocabulary)
        self.targets_and_inferences = {"targets": targets, **logged}
        return self

    def compute(self) -> Mapping[str, MetricValue | float]:
        """Calls the function."""
        assert self._metric.metric_fn is not None
        return self._metric.metric_fn(**self.metric_fn_kwargs)
