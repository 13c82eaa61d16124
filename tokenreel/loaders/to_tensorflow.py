"""Datasets in `tf.data`: parsed natively from the files, or in the exact order of a run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.format import manifest as manifests
from tokenreel.format import schema
from tokenreel.format.manifest import FIXED, Manifest
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.opening import resolved
from tokenreel.storage import files


def parsed(
    path: str | os.PathLike[str],
    split: str = "train",
    *,
    batch_size: int,
    shuffle_buffer: int = 0,
    seed: int = 0,
    features: Sequence[str] | None = None,
    drop_remainder: bool = True,
    cycle_length: int = 16,
) -> Any:
    """Reads a dataset of either record format with TensorFlow alone: an ordinary graph, for its own services and exports.

    It has what `tf.data` has and no more: a shuffle buffer, no exact resume, no check that a shard is whole. CRCs are checked by its
    reader.

    Args:
      path: directory of the dataset.
      split: to read.
      batch_size: rows of a batch.
      shuffle_buffer: examples to shuffle among; 0 keeps the stored order. Files are shuffled and interleaved too.
      seed: of the shuffles.
      features: to parse; None for all.
      drop_remainder: whether to leave out the last, smaller batch.
      cycle_length: files read at a time, when shuffling.

    Returns:
      a `tf.data.Dataset` of {feature: [batch_size, *shape]}; unsigned integers as int32, bits as bool.

    Raises:
      ConfigError: there is no such split or feature.
    """
    import tensorflow as tf

    path = resolved(path)
    manifest = manifests.read(path)
    if split not in manifest.splits:
        raise ConfigError(f"{path}: no split {split!r}; there are {', '.join(manifest.splits)}")
    known = {feature.name: feature for feature in manifest.features}
    wanted = list(known) if features is None else list(features)
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigError(f"no feature {unknown[0]!r}; the records hold {', '.join(known)}")
    names = [files.join(path, shard.file) for shard in manifest.splits[split].shards]
    if shuffle_buffer:
        dataset = tf.data.Dataset.from_tensor_slices(names).shuffle(len(names), seed=seed, reshuffle_each_iteration=True)
        dataset = dataset.interleave(
            tf.data.TFRecordDataset, cycle_length=min(cycle_length, len(names)), num_parallel_calls=tf.data.AUTOTUNE
        )
        dataset = dataset.shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=True)
    else:
        dataset = tf.data.TFRecordDataset(names)
    return dataset.batch(batch_size, drop_remainder=drop_remainder).map(_parser(manifest, wanted)).prefetch(tf.data.AUTOTUNE)


def _parser(manifest: Manifest, names: Sequence[str]) -> Any:
    """Makes a graph function from [n] serialized Examples to arrays: whole batches parse ten times faster than one Example at a time."""
    import tensorflow as tf

    chosen = [feature for feature in manifest.features if feature.name in set(names)]
    if manifest.record_format == FIXED:
        spec = {feature.name: tf.io.FixedLenFeature([], tf.string) for feature in chosen}
    else:
        spec = {
            feature.name: tf.io.FixedLenFeature(feature.shape, tf.float32 if feature.dtype == "float32" else tf.int64) for feature in chosen
        }

    def parse(records: Any) -> dict[str, Any]:
        found = tf.io.parse_example(records, spec)
        return {feature.name: _decode(feature, found[feature.name], manifest.record_format == FIXED) for feature in chosen}

    return parse


def _decode(feature: schema.Feature, values: Any, fixed: bool) -> Any:
    """Turns parsed values of a feature, [n] strings of the fixed format or [n, *shape] numbers, into [n, *shape] of the final dtype."""
    import tensorflow as tf

    final = {"bit": tf.bool, "uint8": tf.int32, "uint16": tf.int32, "int32": tf.int32, "int64": tf.int64, "float32": tf.float32}[
        feature.dtype
    ]
    if not fixed:
        return tf.cast(values, final)
    if feature.dtype == schema.BIT:
        # Eight booleans from each byte, the first from its lowest bit; the last byte may have bits to spare.
        packed = tf.io.decode_raw(values, tf.uint8)
        bits = tf.bitwise.right_shift(packed[..., None], tf.constant(np.arange(8, dtype=np.uint8))) & tf.constant(1, tf.uint8)
        flat = tf.cast(tf.reshape(bits, [tf.shape(packed)[0], -1])[:, : feature.size], tf.bool)
    else:
        flat = tf.cast(tf.io.decode_raw(values, tf.as_dtype(feature.dtype)), final)
    return tf.reshape(flat, [-1, *feature.shape])


def exact(batches: Batches) -> Any:
    """Gives the batches of a run, in its exact order, as a `tf.data.Dataset`.

    It begins where `batches` stands, so that a run resumes by `batches.set_state`; after k steps the state is
    `batches.get_state(start + k * batch_size)`. It may also be checkpointed by `tf.train.Checkpoint`: its position is an index.
    """
    import tensorflow as tf

    start, size = batches.cursor, batches.batch_size
    sample = batches.example_batch()
    names = list(sample)
    left = np.iinfo(np.int64).max if batches.num_batches is None else max(0, -(-(_end(batches) - start) // size))

    def read(index: Any) -> list[Any]:
        batch = batches.batch_at(start + int(index) * size)
        return [batch[name] for name in names]

    def load(index: Any) -> dict[str, Any]:
        found = tf.numpy_function(read, [index], [sample[name].dtype for name in names], stateful=False)
        rows = len(batches.rows_at(start)) if batches.drop_remainder or batches.pad_remainder else None
        for name, tensor in zip(names, found, strict=True):
            tensor.set_shape([rows, *sample[name].shape[1:]])
        return dict(zip(names, found, strict=True))

    return tf.data.Dataset.range(left).map(load).prefetch(max(1, batches.prefetch))


def _end(batches: Batches) -> int:
    """Gives the sample behind the last batch of a run that ends."""
    assert batches.num_batches is not None
    return batches.num_batches * batches.batch_size if batches.drop_remainder else len(batches.plan)
