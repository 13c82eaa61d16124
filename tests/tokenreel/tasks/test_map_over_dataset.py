"""Functions of an example as steps: their seeds belong to the example, over tf.data to its place as in SeqIO."""

from __future__ import annotations

import functools
import inspect
import pickle

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks import (
    CacheDatasetPlaceholder,
    ExampleStream,
    Feature,
    FunctionDataSource,
    PassThroughVocabulary,
    Task,
    preprocessor_marks,
)
from tokenreel.tasks.map_over_dataset import map_examples, map_over_dataset, stream_step
from tokenreel.tasks.step_seeds import map_seed_manager

STREAM = ExampleStream.from_examples([{"a": np.int32(i)} for i in range(6)])


@map_examples
def double(example, factor=2):
    example["a"] = example["a"] * factor
    return example


@map_examples(num_seeds=1)
def drawn(example, seed):
    return {"a": example["a"], "seed": seed}


@map_examples(num_seeds=2)
def drawn_twice(example, seeds, sequence_length=None):
    return {"a": example["a"], "seed": np.concatenate(seeds)}


def by_a(dataset):
    return {int(example["a"]): tuple(np.ravel(example["seed"]).tolist()) for example in dataset.as_numpy_iterator()}


def test_a_function_of_an_example() -> None:
    assert [int(example["a"]) for example in double(STREAM)] == [0, 2, 4, 6, 8, 10]
    assert [int(example["a"]) for example in double(STREAM, 3)] == [0, 3, 6, 9, 12, 15]
    assert [int(example["a"]) for example in double(STREAM, factor=3)] == [0, 3, 6, 9, 12, 15]
    with pytest.raises(ConfigError, match=r"takes an ExampleStream or a tf\.data\.Dataset, got list"):
        double([1])


def test_seeds_belong_to_examples() -> None:
    with map_seed_manager(42):
        whole = by_a(drawn(STREAM))
    assert len(set(whole.values())) == 6
    for part in (STREAM.filter(lambda example: example["a"] % 2), STREAM.shard(3, 1), STREAM.skip(4)):
        with map_seed_manager(42):
            found = by_a(drawn(part))
        assert found == {a: whole[a] for a in found} and len(found) in (2, 3)
    with map_seed_manager(43):
        assert not set(by_a(drawn(STREAM)).values()) & set(whole.values())
    with map_seed_manager(42):
        epochs = [tuple(example["seed"].tolist()) for example in drawn(STREAM.epochs(2))]
    assert epochs[:6] == list(whole.values()) and len(set(epochs)) == 12


def test_each_step_draws_for_itself() -> None:
    with map_seed_manager(42):
        first, second, both = by_a(drawn(STREAM)), by_a(drawn(STREAM)), by_a(drawn_twice(STREAM))
    assert not set(first.values()) & set(second.values())
    assert all(len(seeds) == 4 and seeds[:2] != seeds[2:] for seeds in both.values())


def test_what_a_task_sees_of_a_step() -> None:
    assert preprocessor_marks.takes_streams(drawn) and preprocessor_marks.is_random(drawn) and not preprocessor_marks.is_random(double)
    assert list(inspect.signature(drawn_twice).parameters) == ["example", "sequence_length"]
    assert preprocessor_marks.asks_for(drawn_twice) == ("sequence_length",)
    assert pickle.loads(pickle.dumps(functools.partial(double, factor=3))).func is double


@stream_step
def halved(dataset):
    return dataset.shard(2, 0)


def as_tensors(example):
    import tensorflow as tf

    return {"a": tf.constant(example["a"])}


@pytest.mark.tensorflow
def test_over_tf_data() -> None:
    import tensorflow as tf

    dataset = tf.data.Dataset.range(4).map(lambda i: {"a": i})
    assert [example["a"] for example in double(dataset).as_numpy_iterator()] == [0, 2, 4, 6]
    assert isinstance(halved(dataset), tf.data.Dataset) and isinstance(halved(STREAM), ExampleStream)
    assert [example["a"] for example in halved(dataset).as_numpy_iterator()] == [0, 2]


@map_over_dataset(num_seeds=1)
def noisy(example, seed):
    import tensorflow as tf

    assert tf.random.stateless_uniform([], seed=seed).dtype == tf.float32
    return {"a": example["a"], "seed": tf.stack(seed)}


@map_over_dataset(num_seeds=2)
def noisy_twice(example, seeds, output_features=None):
    import tensorflow as tf

    return {"a": example["a"] + (output_features or 0), "seed": tf.stack(seeds)}


@map_over_dataset
def squared(example):
    return {**example, "a": example["a"] ** 2}


# What SeqIO 0.0.20 draws with seed 42.
SEQIO = [(2985944072, 3810604164), (4132877644, 4228622225), (929418493, 3523798452)]


@pytest.mark.tensorflow
def test_functions_of_tensorflow_draw_for_examples_of_a_stream() -> None:
    with map_seed_manager(42):
        whole = by_a(noisy(STREAM))
    with map_seed_manager(42):
        part = by_a(noisy(squared(STREAM.skip(3).take(1))))
    assert len(set(whole.values())) == 6 and part == {9: whole[3]}
    with map_seed_manager(42):
        assert by_a(noisy_twice(STREAM, output_features=10)).keys() == set(range(10, 16))


@pytest.mark.tensorflow
def test_without_keys_and_with_compat_the_draws_are_those_of_seqio() -> None:
    import tensorflow as tf

    dataset = tf.data.Dataset.range(3).map(lambda i: {"a": i})
    with map_seed_manager(42):
        assert list(by_a(noisy(dataset)).values()) == SEQIO
        twice = by_a(noisy_twice(dataset))
    assert all(len(seeds) == 4 for seeds in twice.values())
    for step in (noisy, drawn):
        with map_seed_manager(42, compat="seqio"):
            assert list(by_a(step(STREAM.take(3))).values()) == SEQIO
    for step in (noisy_twice, drawn_twice):
        with map_seed_manager(44, compat="seqio"):
            assert by_a(step(STREAM.take(3))) == twice


@pytest.mark.tensorflow
def test_rows_of_their_own_lengths_go_through_tensors_and_back() -> None:
    values = np.empty((2, 2), dtype=object)
    for place, row in zip(np.ndindex(2, 2), ([1], [], [2, 3], [4]), strict=True):
        values[place] = np.array(row, np.int32)
    (example,) = squared(ExampleStream.from_examples([{"a": values}, {"a": values}]).take(1))
    assert [[row.tolist() for row in rows] for rows in example["a"]] == [[[1], []], [[4, 9], [16]]]


def noisy_inside(dataset):
    """A step of tf.data as users write them: one function, used twice in a task, and each time with draws of its own."""

    @map_over_dataset(num_seeds=1)
    def add(example, seed):
        import tensorflow as tf

        return {**example, f"draw_{len(example)}": tf.random.stateless_uniform([], seed=seed)}

    return add(dataset)


@pytest.mark.tensorflow
def test_two_steps_of_tf_data_in_a_task_draw_apart(caplog) -> None:
    source = FunctionDataSource(lambda split, shuffle_files: STREAM, splits=["train"])
    features = {"a": Feature(PassThroughVocabulary(9), rank=0)}
    task = Task("twice", source, features, preprocessors=[noisy_inside, noisy_inside])
    made = list(task.get_dataset(None, "train", shuffle=False, seed=5))
    assert len({float(example[name]) for example in made for name in ("draw_1", "draw_2")}) == 12
    task = Task("early", source, features, preprocessors=[drawn, CacheDatasetPlaceholder()])
    list(task.get_dataset(None, "train", shuffle=False, seed=5))
    assert "'drawn' has a `seed(s)` argument but occurs before `CacheDatasetPlaceholder` in 'early'" in caplog.text
