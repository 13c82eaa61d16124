"""The numbers are those of TensorFlow 2.21 for the same seeds."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tokenreel.tasks import stateless_random


def test_numbers_of_pairs() -> None:
    wide = np.array([2985944072, 3810604164])
    assert stateless_random.split((1, 2)).tolist() == [[1105988140, 1738052849], [-335576002, 370444179]]
    assert stateless_random.split((1, 2)).dtype == np.int32 and stateless_random.split(wide).dtype == np.int64
    assert stateless_random.split(wide, 6).shape == (6, 2)
    assert stateless_random.uniform((1, 2), 2).tolist() == [0.8440604209899902, 0.19204533100128174]
    assert stateless_random.integers((1, 2), 3, 10, 3).tolist() == [8, 4, 8]
    with pytest.raises(ValueError, match="low 3 and high 3"):
        stateless_random.integers((1, 2), 3, 3)


def test_what_is_drawn_first_does_not_depend_on_how_much_is_drawn() -> None:
    many = stateless_random.uniform((5, 6), 1000)
    for count in (0, 1, 15, 16, 17, 18, 999):
        assert np.array_equal(stateless_random.uniform((5, 6), count), many[:count])
    assert many.dtype == np.float32 and many.min() >= 0 and many.max() < 1 and abs(many.mean() - 0.5) < 0.05


def test_a_shuffle_loses_nothing() -> None:
    shuffled = stateless_random.shuffle(np.arange(50), (7, 8))
    assert sorted(shuffled.tolist()) == list(range(50)) != shuffled.tolist()


@pytest.mark.tensorflow
def test_tensorflow_draws_the_same() -> None:
    import tensorflow as tf

    rng = random.Random(1)
    for _ in range(100):
        bits = rng.choice([31, 63])
        seed = np.array([rng.randrange(-(2**bits), 2**bits) for _ in range(2)], np.int32 if bits == 31 else np.int64)
        count, low = rng.randrange(40), rng.randrange(-100, 100)
        high = low + rng.randrange(1, 1000)
        draw = tf.random.stateless_uniform
        assert np.array_equal(stateless_random.uniform(seed, count), draw([count], seed))
        assert np.array_equal(stateless_random.uniform(seed, count, -2.5, 3.1), draw([count], seed, -2.5, 3.1))
        assert np.array_equal(stateless_random.integers(seed, low, high, count), draw([count], seed, low, high, tf.int32))
        parts = tf.random.experimental.stateless_split(seed, 5).numpy()
        made = stateless_random.split(seed, 5)
        assert np.array_equal(made, parts) and made.dtype == parts.dtype
