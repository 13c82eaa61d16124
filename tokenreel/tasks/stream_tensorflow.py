"""Streams of examples from and to `tf.data`; TensorFlow is imported when one of these is called.

Tested in tests/tokenreel/tasks/test_example_stream.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel.tasks import example_keys
from tokenreel.tasks.example_keys import Key
from tokenreel.tasks.stream_nodes import Generated, Keyed, Node, NumberedIterator


def from_tf_data(dataset: Any, name: str, with_keys: bool) -> Node:
    """Makes the node of what a `tf.data.Dataset` gives; see `ExampleStream.from_tf_data`."""
    return OfTensorFlow(lambda epoch: dataset, name, with_keys=with_keys)


class OfTensorFlow(Generated):
    """What a `tf.data.Dataset` gives, which is made anew for each pass; the next step of TensorFlow takes it as it is.

    Args:
      dataset: makes it for an epoch.
      name: of the source or step.
      describes: the steps before it.
      with_keys: whether its elements are pairs of keys and values; without, places are taken for keys.
    """

    def __init__(self, dataset: Callable[[int], Any], name: str, describes: Sequence[str] = (), *, with_keys: bool = False) -> None:
        self.dataset, self.with_keys, self._steps = dataset, with_keys, [*describes, name]
        self._source = example_keys.source_key(*self._steps)
        super().__init__(self._elements, name)

    def _elements(self, epoch: int) -> Iterator[tuple[Key, Any] | Keyed]:
        elements = self.dataset(epoch).as_numpy_iterator()
        if not self.with_keys:
            return NumberedIterator(map(_to_arrays, elements), self._source)
        return (Keyed((int(key[0]),), int(key[1]), _to_arrays(value)) for key, value in elements)

    def describe(self) -> list[str]:
        return self._steps

    def of_pass(self, epoch: int, with_keys: bool) -> Any:
        """Gives the data set of a pass, without the keys if they are not wanted."""
        dataset = self.dataset(epoch)
        return dataset if self.with_keys == with_keys else dataset.map(lambda key, value: value)


def through(node: Node, function: Callable[[Any, int], Any], name: str, *, with_keys: bool = False) -> OfTensorFlow:
    """Makes the node of what a function of `tf.data` and of the epoch makes of a stream; see `ExampleStream.through_tf_data`."""
    return OfTensorFlow(lambda epoch: function(to_tf_data(node, None, with_keys, epoch), epoch), name, node.describe(), with_keys=with_keys)


def to_tf_data(node: Node, spec: Mapping[str, tuple[Any, tuple[int | None, ...]]] | None, with_keys: bool, epoch: int = 0) -> Any:
    """Makes a `tf.data.Dataset` of a node's elements; see `ExampleStream.to_tf_data`."""
    import tensorflow as tf

    if isinstance(node, OfTensorFlow) and (node.with_keys or not with_keys):
        return node.of_pass(epoch, with_keys)
    first = None
    if spec is None:
        element = next(iter(node.open(epoch)), None)
        if element is None:
            return tf.data.Dataset.from_tensor_slices({"nothing": np.zeros(0, np.int32)})
        first = element.value
    signature = _signature(first) if spec is None else {name: _tensor_spec(dtype, shape) for name, (dtype, shape) in spec.items()}
    if with_keys:
        signature = (tf.TensorSpec([2], tf.int64), signature)

    def generate() -> Iterator[Any]:
        for element in node.open(epoch):
            if with_keys:
                yield np.array([example_keys.number(element.key), element.epoch], dtype=np.int64), _to_tensors(element.value)
            else:
                yield _to_tensors(element.value)

    return tf.data.Dataset.from_generator(generate, output_signature=signature)


def _signature(value: Any) -> Any:
    """Describes a value to TensorFlow: its type and rank; no length, since another example may have another."""
    if isinstance(value, dict):
        return {name: _signature(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_signature(part) for part in value)
    array = np.asarray(value)
    if _has_rows(array):
        import tensorflow as tf

        rows = _to_tensors(array)
        return tf.RaggedTensorSpec([None] * rows.shape.rank, rows.dtype, rows.ragged_rank, rows.row_splits.dtype)
    return _tensor_spec(array.dtype, (None,) * array.ndim)


def _has_rows(value: Any) -> bool:
    """Says whether a value is an array of arrays, each of a length of its own."""
    return isinstance(value, np.ndarray) and value.dtype == object and value.size > 0 and isinstance(value.flat[0], np.ndarray)


def _to_tensors(value: Any) -> Any:
    """Makes ragged tensors of the arrays of arrays in a value; everything else stays."""
    if isinstance(value, dict):
        return {name: _to_tensors(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_to_tensors, value))
    if not _has_rows(value):
        return value
    import tensorflow as tf

    rows = tf.ragged.stack([_as_ragged(row) for row in value.ravel()])
    for axis in range(value.ndim - 1, 0, -1):
        rows = tf.RaggedTensor.from_uniform_row_length(rows, value.shape[axis], nrows=int(np.prod(value.shape[:axis])))
    return rows


def _as_ragged(row: np.ndarray[Any, Any]) -> Any:
    import tensorflow as tf

    return _to_tensors(row) if _has_rows(row) else tf.convert_to_tensor(row)


def _to_arrays(value: Any) -> Any:
    """Makes arrays of arrays of the ragged tensors in a value, as `as_numpy_iterator` gives them; everything else stays."""
    if isinstance(value, dict):
        return {name: _to_arrays(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_to_arrays, value))
    if not hasattr(value, "row_splits"):
        return value
    rows = np.empty(len(value.row_splits) - 1, dtype=object)
    values = _to_arrays(value.values)
    for place in range(len(rows)):
        rows[place] = values[value.row_splits[place] : value.row_splits[place + 1]]
    return rows


def _tensor_spec(dtype: Any, shape: tuple[int | None, ...]) -> Any:
    import tensorflow as tf

    of_text = np.dtype(dtype).kind in "OUS"
    return tf.TensorSpec(list(shape), tf.string if of_text else tf.as_dtype(np.dtype(dtype)))
