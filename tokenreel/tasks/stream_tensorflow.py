"""Streams of examples from and to `tf.data`; TensorFlow is imported when one of these is called.

Tested in tests/tokenreel/tasks/test_example_stream.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tokenreel.tasks import example_keys
from tokenreel.tasks.example_keys import Key
from tokenreel.tasks.stream_nodes import Generated, Keyed, Node, NumberedIterator


def from_tf_data(dataset: Any, name: str, with_keys: bool) -> Node:
    """Makes the node of what a `tf.data.Dataset` gives; see `ExampleStream.from_tf_data`."""
    source = example_keys.source_key(name)

    def make(epoch: int) -> Iterator[tuple[Key, Any] | Keyed]:
        if not with_keys:
            return NumberedIterator(dataset.as_numpy_iterator(), source)
        return (Keyed((int(key[0]),), int(key[1]), value) for key, value in dataset.as_numpy_iterator())

    return Generated(make, name)


def to_tf_data(node: Node, spec: Mapping[str, tuple[Any, tuple[int | None, ...]]] | None, with_keys: bool) -> Any:
    """Makes a `tf.data.Dataset` of a node's elements; see `ExampleStream.to_tf_data`."""
    import tensorflow as tf

    first = None
    if spec is None:
        element = next(iter(node.open(0)), None)
        if element is None:
            return tf.data.Dataset.from_tensor_slices({"nothing": np.zeros(0, np.int32)})
        first = element.value
    signature = _signature(first) if spec is None else {name: _tensor_spec(dtype, shape) for name, (dtype, shape) in spec.items()}
    if with_keys:
        signature = (tf.TensorSpec([2], tf.int64), signature)

    def generate() -> Iterator[Any]:
        for element in node.open(0):
            if with_keys:
                yield np.array([example_keys.number(element.key), element.epoch], dtype=np.int64), element.value
            else:
                yield element.value

    return tf.data.Dataset.from_generator(generate, output_signature=signature)


def _signature(value: Any) -> Any:
    """Describes a value to TensorFlow: its type and rank; no length, since another example may have another."""
    if isinstance(value, dict):
        return {name: _signature(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_signature(part) for part in value)
    array = np.asarray(value)
    return _tensor_spec(array.dtype, (None,) * array.ndim)


def _tensor_spec(dtype: Any, shape: tuple[int | None, ...]) -> Any:
    import tensorflow as tf

    of_text = np.dtype(dtype).kind in "OUS"
    return tf.TensorSpec(list(shape), tf.string if of_text else tf.as_dtype(np.dtype(dtype)))
