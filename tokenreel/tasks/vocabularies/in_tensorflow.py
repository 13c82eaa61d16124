"""Vocabularies over tensors; TensorFlow is imported when one of these is called.

Tested in tests/tokenreel/tasks/vocabularies/test_base.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged


def encode(encode_text: Callable[[bytes], npt.NDArray[np.int32]], texts: Any) -> Any:
    """Encodes a string tensor by a function of one text; see `Vocabulary.encode_tf`."""
    import tensorflow as tf

    if isinstance(texts, tf.RaggedTensor):
        return texts.with_flat_values(encode(encode_text, texts.flat_values))
    texts = tf.convert_to_tensor(texts)

    def encode_all(flat: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        parts = [encode_text(text) for text in flat.tolist()]
        values = np.concatenate([np.zeros(0, np.int32), *parts]).astype(np.int32)
        return values, ragged.offsets_of(np.array([len(part) for part in parts], dtype=np.int64))

    ids, bounds = tf.numpy_function(encode_all, [tf.reshape(texts, [-1])], (tf.int32, tf.int64), stateful=False)
    ids.set_shape([None])
    bounds.set_shape([None])
    if not texts.shape.rank:
        return ids
    rows = tf.RaggedTensor.from_row_splits(ids, bounds, validate=False)
    for axis in range(texts.shape.rank - 1, 0, -1):
        size = texts.shape[axis] if texts.shape[axis] is not None else tf.shape(texts, tf.int64)[axis]
        rows = tf.RaggedTensor.from_uniform_row_length(rows, size, nrows=tf.reduce_prod(tf.shape(texts, tf.int64)[:axis]))
    return rows


def holds_ids(ids: Any) -> bool:
    """False for a tensor of no ids, known to be one, of which there is nothing to decode."""
    return tuple(getattr(ids, "shape", np.shape(ids))) != (0,)


def no_text() -> Any:
    """Gives the empty string."""
    import tensorflow as tf

    return tf.constant(b"")


def clean(ids: Any, vocabulary: Any) -> Any:
    """Puts unk in place of ids above a vocabulary, and padding behind the first EOS of each row."""
    import tensorflow as tf

    if not isinstance(ids, tf.RaggedTensor):
        ids = tf.convert_to_tensor(ids)
    if vocabulary.unk_id is not None:
        ids = tf.where(tf.less(ids, tf.cast(vocabulary._base_vocab_size, ids.dtype)), ids, tf.cast(vocabulary.unk_id, ids.dtype))
    if vocabulary.eos_id is not None:
        behind = tf.cumsum(tf.cast(tf.equal(ids, vocabulary.eos_id), tf.int32), exclusive=True, axis=-1)
        ids = tf.where(tf.cast(behind, tf.bool), tf.cast(vocabulary.pad_id, ids.dtype), ids)
    return ids


def decode(decode_row: Callable[[Sequence[int]], str], ids: Any) -> Any:
    """Decodes the rows of a tensor, its last axis, by a function of one row: strings of the shape of the other axes."""
    import tensorflow as tf

    def decode_all(flat: npt.NDArray[np.integer[Any]], bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        values = flat.tolist()
        texts = [decode_row(values[start:stop]).encode() for start, stop in itertools.pairwise(bounds.tolist())]
        return np.array([*texts, None], dtype=object)[:-1]  # NumPy takes a list of equally long bytes for something else

    def call(flat: Any, bounds: Any) -> Any:
        texts = tf.numpy_function(decode_all, [flat, bounds], tf.string, stateful=False)
        texts.set_shape([None])
        return texts

    if isinstance(ids, tf.RaggedTensor):
        if ids.flat_values.shape.rank > 1:
            return ids.with_flat_values(decode(decode_row, ids.flat_values))
        *outer, last = ids.nested_row_splits
        texts = call(ids.flat_values, tf.cast(last, tf.int64))
        return tf.RaggedTensor.from_nested_row_splits(texts, outer) if outer else texts
    shape = tf.shape(ids, tf.int64)
    rows = tf.reduce_prod(shape[:-1])
    texts = tf.reshape(call(tf.reshape(ids, [-1]), tf.range(rows + 1) * shape[-1]), shape[:-1])
    texts.set_shape(ids.shape[:-1])
    return texts
