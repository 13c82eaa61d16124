"""Changes to the innermost axis of a feature, whatever it is: an array, an array of rows of their own lengths, or a tensor of TensorFlow.

Texts of several in an example are tokenized to rows of their own lengths: an array of objects here, a ragged tensor there.

Tested in tests/tokenreel/tasks/test_preprocessors.py.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def is_tensor(value: Any) -> bool:
    """Says whether a value is one of TensorFlow's, without importing it."""
    tf = sys.modules.get("tensorflow")
    return tf is not None and isinstance(value, (tf.Tensor, tf.RaggedTensor))


def trim(value: Any, length: int) -> Any:
    """Cuts the innermost axis to `length` values."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        return _rows([trim(row, length) for row in value.ravel()], value.shape)
    return value[..., :length]


def append(value: Any, last: Any) -> Any:
    """Puts a value behind each row of the innermost axis.

    >>> append(np.array([[1, 2], [3, 4]]), -1).tolist()
    [[1, 2, -1], [3, 4, -1]]
    """
    if is_tensor(value):
        return _append_to_tensor(value, last)
    value = np.asarray(value)
    if value.dtype == object:
        return _rows([append(row, last) for row in value.ravel()], value.shape)
    return np.concatenate([value, np.full((*value.shape[:-1], 1), last, dtype=value.dtype)], axis=-1)


def append_to_last(value: Any, last: Any) -> Any:
    """Puts a value behind the last row of each group of rows: a text in parts gets one end. A single row is a group of its own."""
    if is_tensor(value):
        return _append_to_last_of_tensor(value, last)
    value = np.asarray(value)
    if value.dtype != object:
        return append(value, last)
    ends = np.zeros(value.shape, dtype=bool)
    ends[..., -1:] = True
    return _rows([append(row, last) if end else row for row, end in zip(value.ravel(), ends.ravel(), strict=True)], value.shape)


def _rows(rows: list[Any], shape: tuple[int, ...]) -> Any:
    """Makes an array of objects; NumPy would join rows of one length."""
    array = np.empty(len(rows), dtype=object)
    for place, row in enumerate(rows):
        array[place] = row
    return array.reshape(shape)


def _append_to_tensor(value: Any, last: Any) -> Any:
    import tensorflow as tf

    if isinstance(value, tf.RaggedTensor):
        if value.flat_values.shape.rank > 1:  # the innermost axis is a dense one
            return value.with_flat_values(_append_to_tensor(value.flat_values, last))
        if value.ragged_rank > 1:
            return value.with_values(_append_to_tensor(value.values, last))
        return tf.concat([value, tf.fill([value.nrows(), 1], tf.cast(last, value.dtype))], axis=1)
    value = tf.convert_to_tensor(value)
    return tf.pad(value, [[0, 0]] * (value.shape.rank - 1) + [[0, 1]], constant_values=last)


def _append_to_last_of_tensor(value: Any, last: Any) -> Any:
    import tensorflow as tf

    if not isinstance(value, tf.RaggedTensor):
        return _append_to_tensor(value, last)
    if value.ragged_rank > 1:
        *outer, parents, splits = value.nested_row_splits
    else:
        outer, parents, splits = [], None, value.row_splits
    rows = tf.RaggedTensor.from_row_splits(value.flat_values, splits, validate=False)
    bounds = tf.stack([tf.zeros([], splits.dtype), rows.nrows(splits.dtype)]) if parents is None else parents
    ends = tf.boolean_mask(bounds[1:] - 1, bounds[1:] > bounds[:-1])  # the last row of each group that has any
    counts = tf.scatter_nd(ends[:, None], tf.ones_like(ends), [rows.nrows(splits.dtype)])
    marks = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(counts)], tf.cast(last, value.dtype)), counts, validate=False)
    rows = tf.concat([rows, marks], axis=1)
    return rows if parents is None else tf.RaggedTensor.from_nested_row_splits(rows, [*outer, parents], validate=False)
