import itertools
import json
import pickle
from collections import Counter

import numpy as np
import pytest

from tokenreel.errors import ConfigError, ManifestError
from tokenreel.tasks import example_keys
from tokenreel.tasks.example_stream import ExampleStream, as_value


def numbers(count):
    return ExampleStream.from_examples([{"n": number} for number in range(count)])


def made(count):
    """The same by a generator, which cannot seek."""
    return ExampleStream(lambda: ({"n": np.int32(number)} for number in range(count)))


def listed(stream):
    return [int(example["n"]) for example in stream]


def double(example):
    return {"n": example["n"] * 2}


STREAMS = {
    "map": (lambda s: s.map(double), [0, 2, 4, 6, 8, 10, 12]),
    "filter": (lambda s: s.filter(lambda e: e["n"] % 2), [1, 3, 5]),
    "flat_map": (lambda s: s.flat_map(lambda e: [e] * int(e["n"] % 3)), [1, 2, 2, 4, 5, 5]),
    "take": (lambda s: s.take(3), [0, 1, 2]),
    "take all": (lambda s: s.take(-1), list(range(7))),
    "skip": (lambda s: s.skip(5), [5, 6]),
    "shard": (lambda s: s.shard(3, 1), [1, 4]),
    "shard of a part": (lambda s: s.skip(1).shard(2, 1).take(2), [2, 4]),
    "repeat": (lambda s: s.take(2).repeat(3), [0, 1, 0, 1, 0, 1]),
    "epochs": (lambda s: s.take(2).epochs(2), [0, 1, 0, 1]),
    "nothing": (lambda s: s.filter(lambda e: False).repeat(), []),
    "cache": (lambda s: s.cache().map(double).take(2), [0, 2]),
    "steps": (
        lambda s: s.repeat(2).filter(lambda e: e["n"] != 3).flat_map(lambda e: [e, double(e)]).skip(3).take(5),
        [2, 2, 4, 4, 8],
    ),
    "regroup": (lambda s: s.regroup(lambda elements: ({"n": e.value["n"] + 1} for e in elements)), [1, 2, 3, 4, 5, 6, 7]),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("source", [numbers, made])
def test_steps_and_their_states(source, name):
    step, expected = STREAMS[name]
    stream = step(source(7))
    assert listed(stream) == expected == listed(stream), "every iteration begins anew"
    check_states(stream, len(expected))


def check_states(stream, count):
    """A state is taken at every place, sent through JSON, and continued by another iterator."""
    everything = [repr(element) for element in itertools.islice(stream, count + 3)]
    walk = iter(stream)
    first = walk.get_state()
    written = json.dumps(first)
    for place in range(len(everything) + 1):
        state = json.loads(json.dumps(walk.get_state()))
        other = iter(stream)
        other.set_state(state)
        assert [repr(element) for element in itertools.islice(other, len(everything) - place)] == everything[place:]
        if place < len(everything):
            assert repr(next(walk)) == everything[place]
    assert json.dumps(first) == written, "a state does not move with its iterator"


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("source", [numbers, made])
def test_many_at_once_are_those_one_by_one(source, name):
    stream = STREAMS[name][0](source(7))
    expected = [repr(element) for element in stream.keyed()]
    for counts in ([1], [2], [3, 1, 5], [100]):
        walk, found = stream.keyed(), []
        for count in itertools.cycle(counts):
            many = walk.read_many(count)
            assert len(many) <= count
            if not many:
                break
            found += many
            other = stream.keyed()
            other.set_state(walk.get_state())
            assert [repr(element) for element in other] == expected[len(found) :]
        assert [repr(element) for element in found] == expected


@pytest.mark.parametrize("source", [numbers, made])
def test_a_shuffle_loses_nothing_and_is_another_in_each_epoch(source):
    stream = source(20).shuffle(6, seed=3)
    once = listed(stream)
    assert sorted(once) == list(range(20)) and once != list(range(20)) and listed(stream) == once
    assert sorted(once[:6]) == [0, 1, 2, 3, 4, 5]
    twice = listed(stream.epochs(2))
    assert twice[:20] == once and sorted(twice[20:]) == list(range(20)) and twice[20:] != once
    assert listed(stream.repeat(2)) == once * 2
    assert listed(source(20).shuffle(6, seed=4)) != once
    check_states(stream.epochs(2).map(double), 40)


def test_batches_and_numbers():
    batches = [batch["n"].tolist() for batch in numbers(5).batch(2)]
    assert batches == [[0, 1], [2, 3], [4]]
    assert [batch["n"].tolist() for batch in numbers(5).batch(2, drop_remainder=True)] == [[0, 1], [2, 3]]
    pairs = list(numbers(3).enumerate().map(lambda number, example: {"n": number * 10 + example["n"]}))
    assert [int(pair["n"]) for pair in pairs] == [0, 11, 22]
    indices, examples = next(iter(numbers(3).enumerate().batch(2)))
    assert indices.tolist() == [0, 1] and examples["n"].tolist() == [0, 1]
    check_states(numbers(5).enumerate().batch(2), 3)
    assert [len(numbers(5).batch(2)), len(numbers(5).repeat(2)), len(numbers(5).skip(2)), len(numbers(5).enumerate())] == [3, 10, 3, 5]
    texts = next(iter(ExampleStream.from_examples([{"t": "a"}, {"t": "b"}]).batch(2)))["t"]
    assert texts.dtype == object and texts.tolist() == [b"a", b"b"]


def test_batches_of_unequal_shapes_are_refused():
    ragged = ExampleStream.from_examples([{"n": [1]}, {"n": [1, 2]}])
    with pytest.raises(ConfigError, match=r"feature 'n' has \(1,\) and \(2,\)"):
        list(ragged.batch(2))
    with pytest.raises(ConfigError, match="without 'n'"):
        list(ExampleStream.from_examples([{"n": 1}, {"m": 1}]).batch(2))


def draws(stream):
    """What a random step draws for each example."""
    return stream.map_keyed(
        lambda e: {"n": e.value["n"], "draw": example_keys.seeds(0, "draw", e.key, e.epoch)[0, 0]},
    )


def pairs(stream):
    return [(int(example["n"]), int(example["draw"])) for example in stream]


def test_draws_belong_to_the_example_and_not_to_its_place():
    of_all = dict(pairs(draws(numbers(9))))
    assert len(set(of_all.values())) == 9
    for stream in (numbers(9).skip(4), numbers(9).shard(2, 1), numbers(9).filter(lambda e: e["n"] % 3), numbers(9).shuffle(9, seed=1)):
        assert all(of_all[number] == draw for number, draw in pairs(draws(stream)))


def test_epochs_draw_anew_and_repetitions_do_not():
    repeated = Counter(pairs(draws(numbers(4)).repeat(2)))
    assert set(repeated.values()) == {2}
    epochs = pairs(draws(numbers(4)).epochs(2))
    assert len(set(epochs)) == 8 and epochs[:4] == pairs(draws(numbers(4)))
    assert pairs(draws(numbers(4).epochs(2))) == epochs, "a step draws the same before and after the passes were made"


def test_parts_of_an_example_have_keys_of_their_own():
    stream = numbers(2).flat_map(lambda example: [example, example])
    assert len(set(pairs(draws(stream)))) == 4


def test_a_state_of_other_steps_is_refused():
    state = iter(numbers(5).shuffle(3, seed=0)).get_state()
    with pytest.raises(ManifestError, match="with other steps"):
        iter(numbers(5).shuffle(3, seed=1)).set_state(state)
    with pytest.raises(ManifestError, match="of format 'x'"):
        iter(numbers(5)).set_state({"format": "x"})


class Seekable:
    """An iterator that tells its own place."""

    reads = 0

    def __init__(self):
        self.at = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.at == 6:
            raise StopIteration
        self.at += 1
        Seekable.reads += 1
        return {"n": np.int32(self.at)}

    def get_state(self):
        return self.at

    def set_state(self, state):
        self.at = state


def test_an_iterator_that_can_seek_is_not_read_again():
    walk = iter(ExampleStream(Seekable))
    for _ in range(4):
        next(walk)
    other = iter(ExampleStream(Seekable))
    before = Seekable.reads
    other.set_state(walk.get_state())
    assert next(other)["n"] == 5 and Seekable.reads == before + 1


def test_streams_pickle_and_say_what_they_are():
    stream = numbers(4).map(double).shuffle(2, seed=5).take(3)
    assert listed(pickle.loads(pickle.dumps(stream))) == listed(stream)
    assert repr(stream) == "ExampleStream(examples[0:4:1] | map(double) | shuffle(2, seed=5) | [0:3:1])"


def test_values_of_python_become_those_of_tensorflow():
    assert as_value([]).dtype == np.int32 and as_value(3).dtype == np.int32 and as_value(3, np.int64).dtype == np.int64
    assert as_value([[1.5], [2.5]]).dtype == np.float32 and as_value(True).dtype == np.bool_
    assert as_value(["a", "é"]).tolist() == [b"a", "é".encode()]
    assert as_value(np.uint16(3)).dtype == np.uint16
    for wrong in (2**40, [[1], [1, 2]], None, {"a": 1}):
        with pytest.raises(ConfigError, match="is no value of an example"):
            as_value(wrong)


@pytest.mark.tensorflow
def test_to_and_from_tensorflow():
    import tensorflow as tf

    stream = ExampleStream.from_examples([{"ids": [1, 2], "text": "a", "x": 0.5}, {"ids": [], "text": "b", "x": 1.5}])
    dataset = stream.to_tf_data()
    assert dataset.element_spec == {
        "ids": tf.TensorSpec([None], tf.int32),
        "text": tf.TensorSpec([], tf.string),
        "x": tf.TensorSpec([], tf.float32),
    }
    assert stream.element_spec == dataset.element_spec
    back = list(ExampleStream.from_tf_data(dataset))
    assert [example["ids"].tolist() for example in back] == [[1, 2], []] and [example["text"] for example in back] == [b"a", b"b"]
    check_states(ExampleStream.from_tf_data(tf.data.Dataset.range(5).map(lambda n: {"n": n})), 5)
    assert list(ExampleStream(lambda: iter([])).to_tf_data()) == []
    enumerated = list(numbers(2).enumerate().to_tf_data().as_numpy_iterator())
    assert enumerated == [(0, {"n": 0}), (1, {"n": 1})]


@pytest.mark.tensorflow
def test_keys_and_epochs_travel_through_tensorflow():
    stream = numbers(4).epochs(2)
    there = stream.to_tf_data(with_keys=True).map(lambda key, e: (key, {"n": e["n"]})).filter(lambda key, e: e["n"] > 0)
    back = ExampleStream.from_tf_data(there, with_keys=True)
    assert pairs(draws(back)) == [pair for pair in pairs(draws(stream)) if pair[0]]
