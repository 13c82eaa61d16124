"""Metric values as events of TensorBoard, in the form that `tf.summary` gives them, written without TensorFlow.

The package tensorboard brings the messages; files are TFRecords of this project's own framing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tokenreel import storage
from tokenreel.errors import ConfigError
from tokenreel.format import tfrecord
from tokenreel.tasks import media, metrics


def messages() -> Any:
    """Gives tensorboard's `event_pb2`.

    Raises:
      ConfigError: tensorboard is not installed.
    """
    try:
        from tensorboard.compat.proto import event_pb2
    except ModuleNotFoundError as error:
        raise ConfigError("loggers of TensorBoard need the package tensorboard: pip install 'tokenreel[tensorboard]'") from error
    return event_pb2


def summary(tag: str, value: metrics.MetricValue) -> Any:
    """Makes tensorboard's `Summary` of a metric's value.

    Args:
      tag: name in TensorBoard.
      value: of any kind.

    Raises:
      ConfigError: the value has a shape or a type that its kind cannot have; or tensorboard is not installed.
      TypeError: it is no `MetricValue` that is known here.
    """
    messages()
    for kind, make in _SUMMARIES.items():
        if isinstance(value, kind):
            try:
                return make(tag, value)
            except ConfigError as error:
                raise ConfigError(f"metric {tag}: {error}") from error
    raise TypeError(f"Value type not understood, got '{type(value).__name__}'.")


def _scalar(tag: str, value: Any) -> Any:
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    return scalar_pb(tag, float(np.array(value.value)))


def _text(tag: str, value: Any) -> Any:
    from tensorboard.plugins.text.metadata import create_summary_metadata

    if not isinstance(value.textdata, str | bytes):
        raise ConfigError(f"`textdata` should be of the type `str` or `bytes`, got {type(value.textdata).__name__}")
    return _tensor(tag, np.array(value.textdata, dtype=object), create_summary_metadata(None, None))


def _histogram(tag: str, value: Any) -> Any:
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb

    return histogram_pb(tag, np.asarray(value.values), buckets=value.bins)


def _image(tag: str, value: Any) -> Any:
    from tensorboard.plugins.image.metadata import create_summary_metadata

    images = pngs(value)
    height, width = np.shape(value.image)[1:3]
    texts = np.array([str(width).encode(), str(height).encode(), *images], dtype=object)
    return _tensor(tag, texts, create_summary_metadata(None, None))


def _audio(tag: str, value: Any) -> Any:
    from tensorboard.plugins.audio import metadata

    sounds = np.array([[sound, b""] for sound in wavs(value)], dtype=object).reshape(-1, 2)  # the second is a label
    return _tensor(tag, sounds, metadata.create_summary_metadata(None, None, metadata.Encoding.Value("WAV")))


def _generic(tag: str, value: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import SummaryMetadata

    if not hasattr(value.metadata, "SerializeToString"):
        raise ConfigError(f"`metadata` of a Generic should be a SummaryMetadata, got {type(value.metadata).__name__}")
    # TensorFlow's message and tensorboard's are one on the wire.
    return _tensor(tag, np.asarray(value.tensor), SummaryMetadata.FromString(value.metadata.SerializeToString()))


def _tensor(tag: str, values: Any, metadata: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.util.tensor_util import make_tensor_proto

    made = Summary()
    made.value.add(tag=tag, tensor=make_tensor_proto(values), metadata=metadata)
    return made


_SUMMARIES: Mapping[type[metrics.MetricValue], Callable[[str, Any], Any]] = {
    metrics.Scalar: _scalar,
    metrics.Text: _text,
    metrics.Image: _image,
    metrics.Audio: _audio,
    metrics.Histogram: _histogram,
    metrics.Generic: _generic,
}


def pngs(value: metrics.Image) -> list[bytes]:
    """Gives the images that a metric value shows, as PNG.

    Raises:
      ConfigError: they are not [images, height, width, channels].
    """
    if np.ndim(value.image) != 4:
        raise ConfigError(f"`image` should be [images, height, width, channels], got the shape {list(np.shape(value.image))}")
    return [media.png(image) for image in np.asarray(value.image)[: value.max_outputs]]


def wavs(value: metrics.Audio) -> list[bytes]:
    """Gives the sounds that a metric value plays, as WAV.

    Raises:
      ConfigError: they are not [sounds, frames, channels].
    """
    if np.ndim(value.audiodata) != 3:
        raise ConfigError(f"`audiodata` should be [sounds, frames, channels], got the shape {list(np.shape(value.audiodata))}")
    return [media.wav(sound, value.sample_rate) for sound in np.asarray(value.audiodata)[: value.max_outputs]]


class EventFile:
    """Events of one directory. Locally they are appended to one file; in a bucket, where nothing is appended, each call makes a file.

    Args:
      directory: where TensorBoard looks.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._opened = 0
        self._path: str | None = None

    def append(self, step: int, summaries: list[Any]) -> None:
        """Writes an event for each summary."""
        event_pb2 = messages()
        now = time.time()
        events = [event_pb2.Event(wall_time=now, step=step, summary=each) for each in summaries]
        if self._path is None or storage.is_remote(self._directory):
            self._path = storage.join(self._directory, self._name(now))
            self._opened += 1
            events.insert(0, event_pb2.Event(wall_time=now, file_version="brain.Event:2"))  # a file begins with it
        data = b"".join(tfrecord.frame(event.SerializeToString()) for event in events)
        if storage.is_remote(self._path):
            storage.write_bytes(self._path, data)
            return
        os.makedirs(self._directory, exist_ok=True)
        with open(self._path, "ab") as file:
            file.write(data)

    def _name(self, now: float) -> str:
        """A name that TensorBoard knows, and reads after the earlier ones."""
        return f"events.out.tfevents.{int(now):010d}.{socket.gethostname()}.{os.getpid()}.{self._opened:06d}.v2"
