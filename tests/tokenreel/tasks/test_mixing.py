import itertools
import json
import random
from fractions import Fraction

import pytest

from tests.tokenreel.tasks.test_example_stream import check_states, numbers
from tokenreel.errors import ConfigError
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.mixing import Mixed, Turns

WEIGHTS = [[1], [1, 1], [2, 1], [10, 90], [3, 5, 7], [1, 1, 1, 97], [0, 2, 3], [10**12 + 1, 10**12, 7], [1] * 40, [333, 333, 334]]


@pytest.mark.parametrize("weights", WEIGHTS, ids=str)
def test_counts_are_within_one_example_of_the_rates_at_every_step(weights):
    turns = Turns(weights, [str(number) for number in range(len(weights))], seed=1)
    counts = [0] * len(weights)
    for step in range(1, 601):
        counts[turns.next()] += 1
        for count, weight in zip(counts, weights, strict=True):
            assert abs(count - Fraction(step * weight, sum(weights))) < 1
    assert counts == turns.counts


def test_counts_hold_for_any_weights():
    chosen = random.Random(5)
    for _ in range(60):
        weights = [chosen.choice([1, 2, 3, 17, 100, 10**6]) + chosen.randrange(9) for _ in range(chosen.randrange(1, 12))]
        turns = Turns(weights, [str(number) for number in range(len(weights))], seed=chosen.randrange(99))
        for step in range(1, 200):
            turns.next()
            assert all(
                abs(count * sum(weights) - step * weight) < sum(weights) for count, weight in zip(turns.counts, weights, strict=True)
            )


def test_seeds_break_ties():
    orders = {tuple(Turns([1, 1, 1], "abc", seed).next() for _ in range(1)) for seed in range(20)}
    assert len(orders) == 3


def mixed(sizes, weights, stop="all_used", epochs=1, seed=0):
    """Streams of (stream, number), each stream of its size."""
    streams = [
        ExampleStream.from_examples([{"s": stream, "n": number} for number in range(size)], name=str(stream)).epochs(epochs)
        for stream, size in enumerate(sizes)
    ]
    return ExampleStream(Mixed([stream.node for stream in streams], [str(n) for n in range(len(sizes))], weights, seed, stop))


def pairs(stream):
    return [(int(example["s"]), int(example["n"])) for example in stream]


@pytest.mark.parametrize(("sizes", "weights"), [([3, 3], [1, 1]), ([10, 90], [10, 90]), ([5, 0, 9], [1, 1, 1]), ([2, 50], [9, 1])])
def test_every_example_comes_once(sizes, weights):
    found = pairs(mixed(sizes, weights))
    assert sorted(found) == [(stream, number) for stream, size in enumerate(sizes) for number in range(size)]
    check_states(mixed(sizes, weights), sum(sizes))
    twice = pairs(mixed(sizes, weights, epochs=2))
    assert sorted(twice) == sorted(found * 2)


def test_the_others_go_on_in_their_proportions():
    found = pairs(mixed([4, 100, 50], [4, 2, 1]))
    after = [stream for stream, _ in found[7:]]
    assert 0 not in after and all(abs(after[:step].count(1) - step * 2 / 3) < 1 for step in range(1, 146))


def test_stop_rules():
    assert len(mixed([3, 100], [1, 1], "first_empty").map(lambda e: e).node.parent.parents) == 2
    first = pairs(mixed([3, 100], [1, 1], "first_empty"))
    assert len(first) in (6, 7) and [stream for stream, _ in first].count(0) == 3
    assert len(pairs(mixed([3, 100], [1, 1], 10))) == 10 and len(pairs(mixed([3, 1], [1, 1], 10))) == 4 and pairs(mixed([3], [1], 0)) == []
    check_states(mixed([3, 100], [1, 1], "first_empty"), len(first))
    check_states(mixed([3, 100], [1, 1], 10), 10)
    assert [len(mixed([3, 5], [1, 1])), len(mixed([3, 5], [1, 1], 6)), len(mixed([3, 5], [0, 1]))] == [8, 6, 5]
    for wrong in ("never", -1, True):
        with pytest.raises(ConfigError, match="a mixture stops at 'first_empty'"):
            mixed([1], [1], wrong)
    with pytest.raises(ConfigError, match="needs a rate above 0: all of 0, 1"):
        mixed([1, 1], [0, 0])


def test_endless_streams_and_their_states():
    stream = mixed([3, 4], [2, 1], epochs=None)
    found = pairs(stream.take(900))
    assert [s for s, _ in found].count(0) == 600
    walk = iter(stream)
    for _ in range(500):
        next(walk)
    other = iter(stream)
    other.set_state(json.loads(json.dumps(walk.get_state())))
    assert [repr(e) for e in itertools.islice(other, 50)] == [repr(e) for e in itertools.islice(walk, 50)]
    with pytest.raises(TypeError, match="is not known"):
        len(stream)


def test_a_stream_of_weight_nothing_is_not_opened():
    def refuse():
        raise AssertionError

    both = Mixed([ExampleStream(refuse).node, numbers(2).node], ["a", "b"], [0, 1], 0, "all_used")
    assert len(list(ExampleStream(both))) == 2
