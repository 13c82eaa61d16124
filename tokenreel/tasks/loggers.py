"""Where an `Evaluator` writes metrics, and what models predicted: Python's log, files of JSON lines, TensorBoard."""

from __future__ import annotations

import abc
import base64
import dataclasses
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel import storage
from tokenreel.errors import ConfigError
from tokenreel.tasks import metrics as metrics_lib
from tokenreel.tasks import tensorboard_events

_LOG = logging.getLogger(__name__)


class Logger(abc.ABC):
    """Writes what an evaluation of a task gave.

    Args:
      output_dir: directory for its files, local or `gs://`.
    """

    def __init__(self, output_dir: str) -> None:
        self.output_dir = output_dir

    @abc.abstractmethod
    def __call__(
        self,
        task_name: str,
        step: int | None,
        metrics: Mapping[str, metrics_lib.MetricValue],
        dataset: Any,
        inferences: Mapping[str, Any] | None,
        targets: Sequence[Any] | None,
    ) -> None:
        """Writes one evaluation of one task.

        Args:
          task_name: of the task.
          step: of the training; None is written as -1.
          metrics: their values by name.
          dataset: the task's examples: an `ExampleStream`, or anything else that gives dictionaries.
          inferences: "prediction", "score" and "output", each in the order of the examples, and "aux_value": a dictionary of such lists.
          targets: postprocessed, in the order of the examples.
        """


class PyLoggingLogger(Logger):
    """Writes metrics to Python's log.

    Args:
      output_dir: is not used.
      level: of its lines.
    """

    def __init__(self, output_dir: str, level: int = logging.INFO) -> None:
        super().__init__(output_dir)
        self._level = level

    def __call__(
        self,
        task_name: str,
        step: int | None,
        metrics: Mapping[str, metrics_lib.MetricValue],
        dataset: Any = None,
        inferences: Mapping[str, Any] | None = None,
        targets: Sequence[Any] | None = None,
    ) -> None:
        for name, value in metrics.items():
            _LOG.log(self._level, "%s/%s at step %d: %s", task_name, name, _number(step), _in_words(value))


class TensorBoardLogger(Logger):
    """Writes metrics for TensorBoard: in the folder of the task, with the tag `eval/<metric>`. Needs the package tensorboard.

    Args:
      output_dir: directory that TensorBoard is started with.

    Raises:
      ConfigError: tensorboard is not installed; or, at a call, a value has a shape that its kind cannot have.
    """

    def __init__(self, output_dir: str) -> None:
        super().__init__(output_dir)
        tensorboard_events.messages()  # tells at once if it is missing
        self._files: dict[str, tensorboard_events.EventFile] = {}

    def __call__(
        self,
        task_name: str,
        step: int | None,
        metrics: Mapping[str, metrics_lib.MetricValue],
        dataset: Any = None,
        inferences: Mapping[str, Any] | None = None,
        targets: Sequence[Any] | None = None,
    ) -> None:
        summaries = [self._summary(f"eval/{name}", value) for name, value in metrics.items()]
        if task_name not in self._files:
            self._files[task_name] = tensorboard_events.EventFile(storage.join(self.output_dir, task_name))
        self._files[task_name].append(_number(step), summaries)

    def _summary(self, tag: str, value: metrics_lib.MetricValue) -> Any:
        return tensorboard_events.summary(tag, value)


class TensorBoardLoggerV1(TensorBoardLogger):
    """Writes metrics for TensorBoard as TensorFlow 1 did: numbers alone, as `simple_value`."""

    def _summary(self, tag: str, value: metrics_lib.MetricValue) -> Any:
        if not isinstance(value, metrics_lib.Scalar):
            raise ConfigError(
                f"Value for metric '{tag.removeprefix('eval/')}' should be of type 'Scalar', got '{type(value).__name__}'. "
                "TensorBoardLogger writes the other kinds."
            )
        from tensorboard.compat.proto.summary_pb2 import Summary

        return Summary(value=[Summary.Value(tag=tag, simple_value=float(np.array(value.value)))])


class TensorAndNumpyEncoder(json.JSONEncoder):
    """Encodes arrays, tensors, bytes and dataclasses.

    Args:
      max_ndarray_size: elements of the largest array that is written out; of others the shape and both ends.
    """

    def __init__(self, *args: Any, max_ndarray_size: int = 32, **kwargs: Any) -> None:
        self.max_ndarray_size = max_ndarray_size
        super().__init__(*args, **kwargs)

    def default(self, o: Any) -> Any:
        """Gives something that JSON knows."""
        if isinstance(o, bytes):
            try:
                return o.decode("utf-8")
            except UnicodeDecodeError:
                return base64.b64encode(o).decode("ascii")
        if dataclasses.is_dataclass(o) and not isinstance(o, type):
            return dataclasses.asdict(o, dict_factory=lambda pairs: {name: value for name, value in pairs if value is not None})
        if hasattr(o, "to_list"):  # TensorFlow's ragged values
            return o.to_list()
        if not isinstance(o, np.ndarray | np.generic) and hasattr(o, "__array__"):  # tensors, whosesoever
            o = np.asarray(o)
        if isinstance(o, np.ndarray | np.generic):
            return self._array(np.asarray(o))
        return super().default(o)

    def _array(self, array: np.ndarray[Any, Any]) -> Any:
        dtype = array.dtype
        if dtype.name == "bfloat16":
            array = array.astype(np.float32)
        if array.size <= self.max_ndarray_size:
            return array.tolist()
        ends = [str(part.tolist())[1:-1] for part in (array.reshape(-1)[:5], array.reshape(-1)[-5:])]
        return f"ndarray(shape={array.shape}, dtype={dtype}); summary: {ends[0]} ... {ends[1]}"


class JSONLogger(Logger):
    """Writes metrics to `<task>-metrics.jsonl`, a line an evaluation, and examples with what was made of them to `<task>-<step>.jsonl`.

    Numbers and texts stand there as they are. Of the other kinds of values there is a dictionary: images and sounds as base64 under
    "image/png" and "audio/wav", histograms as "histogram": [left edge, right edge, count] of each bin; a `Generic` is its nested list.

    Args:
      output_dir: directory of the files.
      write_n_results: examples that are written at each evaluation, from the first; None for all.
      json_encoder_cls: encodes what JSON does not know.
    """

    def __init__(
        self,
        output_dir: str,
        write_n_results: int | None = None,
        json_encoder_cls: type[json.JSONEncoder] = TensorAndNumpyEncoder,
    ) -> None:
        super().__init__(output_dir)
        self._write_n_results = write_n_results
        self._encoder = json_encoder_cls

    def __call__(
        self,
        task_name: str,
        step: int | None,
        metrics: Mapping[str, metrics_lib.MetricValue],
        dataset: Any = None,
        inferences: Mapping[str, Any] | None = None,
        targets: Sequence[Any] | None = None,
    ) -> None:
        number = _number(step)
        if metrics:
            path = storage.join(self.output_dir, f"{task_name}-metrics.jsonl")
            line = json.dumps({"step": number, **self._values(metrics)}, cls=self._encoder)
            before = b"" if storage.size(path) is None else storage.read_bytes(path)
            storage.write_bytes(path, before + line.encode() + b"\n")
        if self._write_n_results == 0:
            return
        if not inferences or not targets or dataset is None:
            _LOG.info("%s at step %d: no predictions are written, because there are no examples, targets or outputs", task_name, number)
            return
        with storage.write_atomic(storage.join(self.output_dir, f"{task_name}-{number:06}.jsonl")) as file:
            for record in itertools.islice(self._records(dataset, inferences, targets), self._write_n_results):
                file.write(json.dumps(record, cls=self._encoder).encode() + b"\n")

    def _values(self, metrics: Mapping[str, metrics_lib.MetricValue]) -> dict[str, Any]:
        found = {}
        for name, value in metrics.items():
            try:
                found[name] = _as_json(value)
                json.dumps(found[name], cls=self._encoder)
            except (TypeError, ValueError) as error:
                found.pop(name, None)
                _LOG.warning("metric %s, a %s, is left out of the JSON lines: %s", name, type(value).__name__, error)
        return found

    def _records(self, dataset: Any, inferences: Mapping[str, Any], targets: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """What is written of each example."""
        columns = {"target": targets, **{kind: values for kind, values in inferences.items() if kind != "aux_value"}}
        columns |= {f"aux_{name}": values for name, values in (inferences.get("aux_value") or {}).items()}
        columns = {name: values for name, values in columns.items() if values is not None}
        for number, example in enumerate(dataset.as_numpy_iterator() if hasattr(dataset, "as_numpy_iterator") else dataset):
            record = {"input": example}
            for name, values in columns.items():
                if number < len(values) and self._can_be_written(name, values[number]):
                    record[name] = values[number]
            yield record

    def _can_be_written(self, name: str, value: Any) -> bool:
        try:
            json.dumps(value, cls=self._encoder)
        except TypeError:
            _LOG.warning("`%s` is not JSON serializable", name, exc_info=True)
            return False
        return True


def _number(step: int | None) -> int:
    if step is None:
        _LOG.warning("Step number for the logging session is not provided. A dummy value of -1 will be used.")
        return -1
    return step


def _in_words(value: metrics_lib.MetricValue) -> str:
    if isinstance(value, metrics_lib.Scalar):
        return f"{float(np.array(value.value)):.3f}"
    if isinstance(value, metrics_lib.Text):
        return value.textdata.decode("utf-8", "replace") if isinstance(value.textdata, bytes) else value.textdata
    what = next((np.shape(getattr(value, name)) for name in ("image", "audiodata", "values", "tensor") if hasattr(value, name)), ())
    return f"{type(value).__name__} of the shape {list(what)}"


def _as_json(value: metrics_lib.MetricValue) -> Any:
    for kind, convert in _JSON.items():
        if isinstance(value, kind):
            return convert(value)
    raise TypeError(f"no metric value: {type(value).__name__}")


def _base64(parts: list[bytes]) -> list[str]:
    return [base64.b64encode(part).decode("ascii") for part in parts]


def _bins(value: Any) -> dict[str, Any]:
    counts, edges = np.histogram(np.asarray(value.values, dtype=np.float64), bins=30 if value.bins is None else value.bins)
    return {"histogram": np.stack([edges[:-1], edges[1:], counts], axis=1).tolist()}


_JSON: Mapping[type[metrics_lib.MetricValue], Callable[[Any], Any]] = {
    metrics_lib.Scalar: lambda value: value.value,
    metrics_lib.Text: lambda value: value.textdata,
    metrics_lib.Image: lambda value: {"image/png": _base64(tensorboard_events.pngs(value))},
    metrics_lib.Audio: lambda value: {"audio/wav": _base64(tensorboard_events.wavs(value)), "sample_rate": value.sample_rate},
    metrics_lib.Histogram: _bins,
    metrics_lib.Generic: lambda value: np.asarray(value.tensor).tolist(),
}
