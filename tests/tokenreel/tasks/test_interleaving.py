import functools
import itertools
import json
import random

import numpy as np
import pytest

from tokenreel.tasks.interleaving import InterleavedFiles, places


def interleaved(sizes, cycle, block, reads=None):
    def read(name):
        for place in range(sizes[int(name)]):
            if reads is not None:
                reads.append((int(name), place))
            yield int(name), place

    names = [str(number) for number in range(len(sizes))]
    return InterleavedFiles(read, names, range(len(sizes)), 5, cycle, block)


def test_files_take_turns():
    walk = interleaved([3, 1, 4], cycle=2, block=2)
    assert [value for _, value in walk] == [(0, 0), (0, 1), (1, 0), (0, 2), (2, 0), (2, 1), (2, 2), (2, 3)]
    assert [key for key, _ in interleaved([1, 2], 2, 1)] == [(5, 0, 0), (5, 1, 0), (5, 1, 1)]
    assert list(interleaved([], 4, 4)) == list(interleaved([0, 0, 0], 2, 2)) == []


def test_a_state_reads_the_open_files_alone():
    sizes = [5, 0, 7, 3, 3, 6]
    everything = list(interleaved(sizes, 2, 2))
    walk = interleaved(sizes, 2, 2)
    for place in range(len(everything) + 1):
        state = json.loads(json.dumps(walk.get_state()))
        reads = []
        other = interleaved(sizes, 2, 2, reads)
        other.set_state(state)
        assert len({name for name, _ in reads}) <= 2
        assert list(other) == everything[place:]
        next(walk, None)


@pytest.mark.parametrize("seed", range(20))
def test_places_are_those_of_a_walk(seed):
    drawn = random.Random(seed)
    sizes = [drawn.choice([0, 1, 2, 3, 4, 6, 9, 30]) for _ in range(drawn.randrange(1, 9))]
    cycle, block = drawn.randrange(1, 5), drawn.randrange(1, 5)
    walked = [value for _, value in interleaved(sizes, cycle, block)]
    file, number = np.array(walked, np.int64).reshape(-1, 2).T
    assert places(sizes, cycle, block, file, number).tolist() == list(range(sum(sizes)))


@pytest.mark.tensorflow
def test_the_order_is_that_of_tensorflow():
    import tensorflow as tf

    chosen = random.Random(3)
    for _ in range(25):
        sizes = [chosen.randrange(9) for _ in range(chosen.randrange(1, 8))]
        cycle, block = chosen.randrange(1, 5), chosen.randrange(1, 5)
        dataset = tf.data.Dataset.from_tensor_slices((list(range(len(sizes))), sizes)).interleave(
            lambda name, size: tf.data.Dataset.range(tf.cast(size, tf.int64)).enumerate().map(functools.partial(_pair, name)),
            cycle_length=cycle,
            block_length=block,
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        expected = [(int(name), int(place)) for name, place in dataset.as_numpy_iterator()]
        assert [value for _, value in interleaved(sizes, cycle, block)] == expected, (sizes, cycle, block)
        assert len(expected) == sum(sizes) == len(list(itertools.chain(expected)))


def _pair(name, place, _):
    return name, place
