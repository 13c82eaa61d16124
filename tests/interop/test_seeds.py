"""Random steps of a whole task draw what SeqIO's draw, with `compat="seqio"` and the same seed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tokenreel import tasks

pytestmark = pytest.mark.interop

ROWS = 40


def make_task(library: Any, **more: Any) -> Any:
    """A task with four random steps, one before the placeholder and one that takes a whole data set; one filters by what it drew."""
    import tensorflow as tf

    def source(split: str, shuffle_files: bool, seed: int | None = None) -> Any:
        return tf.data.Dataset.range(ROWS).map(lambda n: {"targets": tf.fill([12], tf.cast(n, tf.int32) + 2)})

    @library.map_over_dataset(num_seeds=1)
    def draw(example: Any, seed: Any) -> Any:
        return {**example, f"draw_{len(example)}": tf.random.stateless_uniform([], seed)}

    @library.map_over_dataset(num_seeds=2)
    def replace(example: Any, seeds: Any, sequence_length: Any) -> Any:
        mask = tf.random.stateless_uniform([12], seeds[0]) < 0.5
        drawn = tf.random.stateless_uniform([12], seeds[1], 2, 90, tf.int32)
        return {**example, "targets": tf.where(mask, drawn, example["targets"])[: sequence_length["targets"]]}

    def keep_some(dataset: Any) -> Any:
        return draw(dataset).filter(lambda example: example["draw_2"] < 0.6)

    return library.Task(
        "drawn",
        source=library.FunctionDataSource(source, splits=["train"]),
        preprocessors=[draw, library.CacheDatasetPlaceholder(), keep_some, replace, draw],
        output_features={"targets": library.Feature(library.PassThroughVocabulary(100), add_eos=False)},
        **more,
    )


@pytest.fixture(scope="module")
def both() -> Iterator[tuple[Any, Any]]:
    import seqio

    yield make_task(seqio), make_task(tasks, compat="seqio")


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("seed", [0, 42])
def test_a_whole_task_draws_what_seqios_draws(both: Any, seed: int, epochs: int, counted: Callable[[str, int, int], None]) -> None:
    arguments = {"split": "train", "shuffle": False, "seed": seed, "num_epochs": epochs}
    theirs, ours = (list(task.get_dataset({"targets": 9}, **arguments).as_numpy_iterator()) for task in both)
    assert len(theirs) == len(ours) and epochs * ROWS * 0.3 < len(ours) < epochs * ROWS * 0.9
    equal = functools.partial(np.testing.assert_array_equal, strict=True)
    for one, other in zip(theirs, ours, strict=True):
        assert one.keys() == other.keys() and len(one) == 4
        for name, value in one.items():
            equal(np.asarray(value), np.asarray(other[name]))
    counted("random steps of a whole task, examples", len(ours), len(theirs))
