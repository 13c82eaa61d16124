"""Datasets in `tf.data`: parsed natively from the files, or in the exact order of a run."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.format import manifest as manifests
from tokenreel.format import schema
from tokenreel.format.manifest import FIXED, Manifest
from tokenreel.loaders.batches import Batches
from tokenreel.loaders.conversion import Conversion
from tokenreel.loaders.fields import OF_BATCH, Arrays, Fields
from tokenreel.loaders.opening import resolved
from tokenreel.loaders.records.fetch_threads import FetchThreads, done_within
from tokenreel.loaders.tensorflow_fields import derive
from tokenreel.storage import files

_THREADS = 4  # that read for TensorFlow's, of all pipelines
_LOOK_SECONDS = 0.1  # between two looks whether the interpreter is ending
_END_SECONDS = 5.0  # that its end waits for reads to stop; they take two looks


def parsed(
    path: str | os.PathLike[str],
    split: str = "train",
    *,
    batch_size: int,
    shuffle_buffer: int = 0,
    seed: int = 0,
    features: Sequence[str] | None = None,
    across_documents: bool = False,
    rename: Mapping[str, str] | None = None,
    dtypes: Mapping[str, Any] | None = None,
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
      features: stored ones, or any of `fields.DERIVED`, which the graph computes; None for all that are stored.
      across_documents: as in `batches`.
      rename: as in `batches`.
      dtypes: as in `batches`, but values that a narrower dtype cannot hold wrap around, as everywhere in TensorFlow.
      drop_remainder: whether to leave out the last, smaller batch.
      cycle_length: files read at a time, when shuffling.

    Returns:
      a `tf.data.Dataset` of {feature: [batch_size, *shape]}, as `Dataset.take` gives them: unsigned integers as int32, bits as bool.

    Raises:
      ConfigError: there is no such split or feature, or what it derives from is not stored.
    """
    import tensorflow as tf

    path = resolved(path)
    manifest = manifests.read(path)
    if split not in manifest.splits:
        raise ConfigError(f"{path}: no split {split!r}; there are {', '.join(manifest.splits)}")
    fields = Fields(manifest, features, across_documents=across_documents)
    convert = Conversion(rename, dtypes)
    convert.check(fields.names)
    names = [files.join(path, shard.file) for shard in manifest.splits[split].shards]
    if shuffle_buffer:
        dataset = tf.data.Dataset.from_tensor_slices(names).shuffle(len(names), seed=seed, reshuffle_each_iteration=True)
        dataset = dataset.interleave(
            tf.data.TFRecordDataset, cycle_length=min(cycle_length, len(names)), num_parallel_calls=tf.data.AUTOTUNE
        )
        dataset = dataset.shuffle(shuffle_buffer, seed=seed, reshuffle_each_iteration=True)
    else:
        dataset = tf.data.TFRecordDataset(names)
    return dataset.batch(batch_size, drop_remainder=drop_remainder).map(_parser(manifest, fields, convert)).prefetch(tf.data.AUTOTUNE)


def _parser(manifest: Manifest, fields: Fields, convert: Conversion) -> Any:
    """Makes a graph function from [n] serialized Examples to arrays: whole batches parse ten times faster than one Example at a time."""
    import tensorflow as tf

    chosen = [feature for feature in manifest.features if feature.name in set(fields.stored)]
    if manifest.record_format == FIXED:
        spec = {feature.name: tf.io.FixedLenFeature([], tf.string) for feature in chosen}
    else:
        spec = {
            feature.name: tf.io.FixedLenFeature(feature.shape, tf.float32 if feature.dtype == "float32" else tf.int64) for feature in chosen
        }

    def parse(records: Any) -> dict[str, Any]:
        found = tf.io.parse_example(records, spec)
        stored = {feature.name: _decode(feature, found[feature.name], manifest.record_format == FIXED) for feature in chosen}
        made = derive(fields, stored)
        return {convert.name(name): tf.cast(values, convert.dtype(name) or values.dtype) for name, values in made.items()}

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

    With `hosts` greater than 1 the batches are this host's share already, so TensorFlow is told not to share them out once more
    (`AutoShardPolicy.OFF`). A strategy gets such a run by `distribute_datasets_from_function`, and a whole run (of one host) by
    `experimental_distribute_dataset` or Keras' `fit`, which give each replica its rows.
    """
    import tensorflow as tf

    shared = batches.hosts > 1 or batches.options.rows is not None
    batches.options.check_whole_batches("tf.data", "a run over several hosts" if shared else "")
    start, size = batches.cursor, batches.batch_size
    sample = batches.example_batch()
    names = list(sample)
    whole = {batches.name_of(field) for field in OF_BATCH}
    left = np.iinfo(np.int64).max if batches.num_batches is None else max(0, -(-(_end(batches) - start) // size))

    def read(index: Any) -> list[Any]:
        batch = _READS.run(batches.batch_at, start + int(index) * size)
        return [batch[name] for name in names]

    def load(index: Any) -> dict[str, Any]:
        found = tf.numpy_function(read, [index], [sample[name].dtype for name in names], stateful=False)
        rows = len(batches.rows_at(start)) if batches.drop_remainder or batches.pad_remainder else None
        for name, tensor in zip(names, found, strict=True):
            tensor.set_shape(sample[name].shape if name in whole else [rows, *sample[name].shape[1:]])
        return dict(zip(names, found, strict=True))

    dataset = tf.data.Dataset.range(left).map(load).prefetch(max(1, batches.prefetch))
    if shared:
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        dataset = dataset.with_options(options)
    return dataset


class _Reads:
    """The reads that TensorFlow's threads ask for; they stop when the interpreter ends.

    A thread that asks for the interpreter's lock while the interpreter ends waits for ever, and the interpreter, which takes the pipelines
    down, for that thread. So a read is done by a thread of ours, and whoever waits for it stops waiting when the interpreter begins to end;
    what is asked for later fails at once. Then the buffers of the pipelines are full of failures, and nothing more is asked for.
    """

    def __init__(self) -> None:
        self._threads: FetchThreads | None = None
        self._lock = threading.Lock()
        self._ending = False
        self._begun = self._under_way = 0

    def run(self, action: Callable[..., Arrays], *arguments: Any) -> Arrays:
        """Calls an action and gives its result.

        Raises:
          RuntimeError: the interpreter is ending.
          BaseException: what the action raised.
        """
        with self._lock:
            if self._threads is None:
                self._threads = FetchThreads(_THREADS, "tokenreel-tensorflow")
                atexit.register(self._end)
            self._begun += 1
            self._under_way += 1
            future = None if self._ending else self._threads.submit(action, *arguments)
        try:
            while future is not None and not self._ending:
                if done_within(future, _LOOK_SECONDS):
                    return future.result()
            raise RuntimeError("no batch is read any more: the interpreter is ending")
        finally:
            with self._lock:
                self._under_way -= 1

    def _end(self) -> None:
        self._ending = True
        deadline, begun = time.monotonic() + _END_SECONDS, -1
        while time.monotonic() < deadline and (self._under_way or begun != self._begun):
            begun = self._begun
            time.sleep(2 * _LOOK_SECONDS)


_READS = _Reads()


def _end(batches: Batches) -> int:
    """Gives the sample behind the last batch of a run that ends."""
    assert batches.num_batches is not None
    return batches.num_batches * batches.batch_size if batches.drop_remainder else len(batches.plan)
