"""The derived fields of a batch as a graph of TensorFlow's: `fields.Fields` without NumPy.

Tested in tests/tokenreel/loaders/test_to_tensorflow.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenreel.format import schema
from tokenreel.loaders.fields import (
    INPUTS,
    LOSS_WEIGHTS,
    NUM_TARGETS,
    PADDING_MASK,
    POSITIONS,
    PREFIX,
    SEGMENT_IDS,
    SLOTS,
    TARGET_WEIGHTS,
    TARGETS,
    Fields,
)


def derive(fields: Fields, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Does what `Fields` does when it is called, for tensors of the stored features: {feature: [n, *shape]}."""
    import tensorflow as tf

    shifted = not fields.hides and any(name in fields.names and name not in arrays for name in (INPUTS, TARGETS))
    out = {name: arrays[name] for name in fields.names if name in arrays}
    made: dict[str, Any] = {}
    if schema.TOKENS in arrays and not fields.hides:
        made[INPUTS] = arrays[schema.TOKENS][:, : fields.seq_len]
        following = arrays[schema.TOKENS][:, 1:]
        made[TARGETS] = tf.pad(following, [[0, 0], [0, fields.seq_len - following.shape[1]]], constant_values=fields.pad_id)
    if fields.hides and set(SLOTS) <= set(arrays):
        places, ids, weights = (arrays[name] for name in SLOTS)
        used = tf.where(weights > 0)  # [k, 2] row and slot
        at = tf.stack([used[:, 0], tf.cast(tf.gather_nd(places, used), tf.int64)], axis=1)
        made[TARGETS] = tf.tensor_scatter_nd_update(arrays[schema.TOKENS], at, tf.gather_nd(ids, used))
        made[TARGET_WEIGHTS] = tf.tensor_scatter_nd_update(tf.zeros_like(arrays[schema.TOKENS]), at, tf.gather_nd(weights, used))
    if NUM_TARGETS in arrays and TARGETS in arrays:
        made[LOSS_WEIGHTS] = tf.sequence_mask(arrays[NUM_TARGETS], arrays[TARGETS].shape[1], tf.float32)
    if PADDING_MASK in fields.names and fields.align == 1:
        mask = tf.ones_like(arrays[schema.TOKENS], tf.int32)
        if schema.NUM_TOKENS in arrays:
            mask *= tf.sequence_mask(arrays[schema.NUM_TOKENS], mask.shape[1], tf.int32)
        made[PADDING_MASK] = mask[:, : fields.seq_len] if shifted else mask
    if any(name in fields.names and name not in (*out, *made) for name in (SEGMENT_IDS, POSITIONS, LOSS_WEIGHTS, PADDING_MASK)):
        found = _of_segments(fields, arrays[schema.DOCUMENT_STARTS], arrays.get(schema.NUM_TOKENS))
        if fields.targets_only and PREFIX in arrays:
            visible = tf.pad(arrays[PREFIX][:, 1:], [[0, 0], [0, found[LOSS_WEIGHTS].shape[1] - arrays[PREFIX].shape[1] + 1]])
            found[LOSS_WEIGHTS] *= tf.cast(~visible, tf.float32)
        made |= {name: values[:, : fields.seq_len] if shifted else values for name, values in found.items()}
    return {name: out[name] if name in out else made[name] for name in fields.names}


def _of_segments(fields: Fields, document_starts: Any, num_tokens: Any) -> dict[str, Any]:
    """Gives segment ids, positions and the padding mask, int32 [n, L], and loss weights, float32 [n, L].

    What a start means is told in `format.segments`.

    Args:
      fields: whose `align` and `across_documents` hold.
      document_starts: bool [n, L].
      num_tokens: int32 [n], or None where every example is full.
    """
    import tensorflow as tf

    length = document_starts.shape[1]
    column = tf.range(length, dtype=tf.int32)[None, :]
    rows = tf.shape(document_starts)[0]
    tokens = tf.fill([rows, 1], length) if num_tokens is None else tf.cast(num_tokens, tf.int32)[:, None]
    begins = document_starts | (column == 0) | (column == tokens)  # the padding behind the tokens begins too
    # Segments are numbered through the whole batch, so that one gather finds where the segment of a position begins.
    number = tf.cumsum(tf.cast(tf.reshape(begins, [-1]), tf.int32)) - 1
    first = tf.reshape(tf.gather(tf.boolean_mask(tf.tile(column, [rows, 1]), begins), number), tf.shape(begins))
    is_real = (first % fields.align == 0) & (first < tokens)  # a start between two multiples of `align` marks a gap
    counted = tf.cumsum(tf.cast(begins & is_real, tf.int32), axis=1)
    following = is_real[:, 1:] & (is_real[:, :-1] if fields.across_documents else ~begins[:, 1:])
    return {
        SEGMENT_IDS: tf.where(is_real, counted, 0),
        PADDING_MASK: tf.cast(is_real, tf.int32),
        POSITIONS: tf.where(is_real, column - first, 0),
        LOSS_WEIGHTS: tf.cast(tf.pad(following, [[0, 0], [0, 1]]), tf.float32),
    }
