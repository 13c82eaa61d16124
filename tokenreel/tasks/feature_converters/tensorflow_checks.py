"""Checks and padding of a `tf.data.Dataset`, as SeqIO makes them, for converters that are called on one.

Tested in tests/tokenreel/tasks/feature_converters/test_base.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenreel.tasks.feature_converters.specs import FeatureSpec, Lengths, Specs, check_kind, check_same_names, check_there
from tokenreel.tasks.features import numpy_dtype


def read(dataset: Any) -> Iterator[dict[str, Any]]:
    """Iterates over a data set in NumPy.

    Raises:
      ValueError: what a check in the data set says, in a form in which TensorFlow hands it on from a generator.
    """
    import tensorflow as tf

    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(error.message) from error


def check_input(dataset: Any, specs: Specs, lengths: Lengths, *, check_lengths: bool) -> Any:
    """Checks the features of a data set at once, and their lengths as examples are read.

    Raises:
      ConfigError: a feature is missing, or of another dtype or rank.
    """
    _check_kinds(specs, dataset, "input_validation")
    return _check_lengths(dataset, specs, lengths, strict=False) if check_lengths else dataset


def check_output(dataset: Any, specs: Specs, lengths: Lengths, *, check_lengths: bool) -> Any:
    """Checks what a `_convert_features` of one's own gives.

    Raises:
      ConfigError: a feature is missing or too many, or of another dtype or rank.
    """
    check_same_names(specs, dataset.element_spec, "model_feature_names", "output_dataset")
    _check_kinds(specs, dataset, "output_validation")
    return _check_lengths(dataset, specs, lengths, strict=True) if check_lengths else dataset


def _check_kinds(specs: Specs, dataset: Any, stage: str) -> None:
    for name, spec in specs.items():
        check_there(name, dataset.element_spec, stage)
        there = dataset.element_spec[name]
        check_kind(name, spec, numpy_dtype(there.dtype), len(there.shape), stage)


def _check_lengths(dataset: Any, specs: Specs, lengths: Lengths, *, strict: bool) -> Any:
    import tensorflow as tf

    compare = tf.debugging.assert_equal if strict else tf.debugging.assert_less_equal
    wrong, stage = ("not equal to", "output_validation") if strict else ("not less than or equal to", "input_validation")

    def check(example: Any) -> Any:
        for name, spec in specs.items():
            if spec.rank and isinstance(lengths[name], int):
                message = f"Feature '{name}' has length {wrong} the expected length of {lengths[name]} during {stage} validation"
                length = _length(example[name], spec)
                compare(length, tf.constant(lengths[name], tf.int64), message=message)
        return example

    return dataset.map(check)


def _length(feature: Any, spec: FeatureSpec) -> Any:
    import tensorflow as tf

    if isinstance(feature, tf.RaggedTensor):
        return feature.bounding_shape(axis=spec.sequence_dim, out_type=tf.int64)
    return tf.shape(feature, out_type=tf.int64)[spec.sequence_dim]


def trim_and_pad(dataset: Any, lengths: Lengths) -> Any:
    """Trims and pads features, each to its length or its axes to theirs; those without a length are left as they are."""
    import tensorflow as tf

    def change(name: str, feature: Any) -> Any:
        if name not in lengths:
            return feature
        if isinstance(feature, tf.RaggedTensor):
            feature = feature.to_tensor()
        sizes = [lengths[name]] if isinstance(lengths[name], int) else list(lengths[name])
        feature = feature[tuple(slice(0, size) for size in sizes)]
        missing = [[0, size - tf.shape(feature)[axis]] for axis, size in enumerate(sizes)]
        padded = tf.pad(feature, missing + [[0, 0]] * (len(feature.shape) - len(sizes)))
        padded.set_shape([*sizes, *feature.shape.as_list()[len(sizes) :]])
        return padded

    return dataset.map(lambda example: {name: change(name, feature) for name, feature in example.items()})
