import functools

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks import model_outputs
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.model_outputs import numpy_model_fn
from tokenreel.tasks.providers import ShardInfo

ROWS = ExampleStream.from_examples([{"tokens": np.array([number, number + 1])} for number in range(5)])


def run(answer, **arguments):
    return model_outputs.run(ROWS, 5, numpy_model_fn(answer), **arguments)


def test_outputs_are_put_in_order():
    assert run(lambda dataset: [(4, "e"), (1, "b"), (0, "a"), (3, "d"), (2, "c")]) == ["a", "b", "c", "d", "e"]
    assert run(lambda dataset: tuple((index, row["tokens"].tolist()) for index, row in dataset)) == [[n, n + 1] for n in range(5)]


def test_further_values_go_with_their_outputs():
    outputs, further = run(
        lambda dataset: (
            [(4, 40), (3, 30), (2, 20), (1, 10), (0, 0)],
            {"a": [4, 3, 2, 1, 0], "b": {"c": np.arange(10).reshape(5, 2)}},
        )
    )
    assert outputs == [0, 10, 20, 30, 40] and further["a"] == [0, 1, 2, 3, 4]
    assert further["b"]["c"].tolist() == [[8, 9], [6, 7], [4, 5], [2, 3], [0, 1]]


def test_batches_are_arrays():
    def answer(dataset, scale):
        found = []
        for indices, batch in dataset.batch(2):
            assert batch["tokens"].shape == (len(indices), 2)
            found += zip(indices, batch["tokens"].sum(axis=1) * scale, strict=True)
        return found

    scaled = functools.partial(numpy_model_fn(answer), scale=10)
    assert model_outputs.run(ROWS, 5, scaled) == [10, 30, 50, 70, 90]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([(0, 1)], "each of 5 examples.*gave 1: nothing for 1, 2, 3, 4"),
        ([(index, 0) for index in (0, 1, 2, 3, 4, 4)], "gave 6: 1 index again"),
        ([(index, 0) for index in range(1, 6)], "nothing for 0; something for 5, which are no examples"),
        ([], "gave 0: nothing for 0, 1, 2, 3, 4"),
        ([0.5] * 5, r"length-2 tuples with \(index, score\) format.*a model function gave float '0.5' among them"),
        ([(0, 1, 2)], "gave tuple"),
    ],
)
def test_one_output_for_each_example(answer, message):
    with pytest.raises(ConfigError, match=message):
        run(lambda dataset: answer)


def test_hosts_share_the_rows_and_gather_what_they_gave():
    def answer(dataset):
        rows = list(dataset)
        return [(index, row["tokens"][0] * 10) for index, row in rows], {"place": [index for index, _ in rows]}

    parts = []
    for host in range(2):
        with pytest.raises(ConfigError, match="nothing for"):  # alone it has not all
            run(answer, shard_info=ShardInfo(host, 2), gather=lambda part: parts.append(part) or [part])
    assert [part[0] for part in parts] == [[0, 2, 4], [1, 3]]
    outputs, further = run(answer, shard_info=ShardInfo(0, 2), gather=lambda part: parts)
    assert outputs == [0, 10, 20, 30, 40] and further == {"place": [0, 1, 2, 3, 4]}


@pytest.mark.tensorflow
def test_a_function_without_mark_gets_tf_data():
    import tensorflow as tf

    def answer(dataset):
        assert isinstance(dataset, tf.data.Dataset) and len(dataset) == 3
        return [(index, row["tokens"][0]) for index, row in dataset.as_numpy_iterator()]

    shares = [answer(model_outputs.enumerated(ROWS, 5, answer, ShardInfo(host, 2)).concatenate(part)) for host, part in parts(tf)]
    assert shares == [[(0, 0), (2, 2), (4, 4)], [(1, 1), (3, 3), (0, 0)]]


def parts(tf):
    """Fills up the share of the second host, as T5X does."""
    whole = model_outputs.enumerated(ROWS, 5, lambda dataset: [], None)
    return [(0, whole.take(0)), (1, whole.take(1))]
