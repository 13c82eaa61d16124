import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from tests.tokenreel.tasks.test_example_stream import check_states
from tokenreel.errors import ConfigError
from tokenreel.tasks import mixture as mixtures
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.features import Feature
from tokenreel.tasks.mixture import Mixture, MixtureRegistry
from tokenreel.tasks.providers import ShardInfo
from tokenreel.tasks.task import Task, TaskRegistry
from tokenreel.tasks.vocabularies import PassThroughVocabulary

FEATURES = {"targets": Feature(PassThroughVocabulary(10**6))}


class Rows:
    """Examples of task `base`: base + 0, base + 1, ..."""

    def __init__(self, base, count):
        self.base, self.count = base, count

    def __call__(self, split, shuffle_files):
        return [{"targets": [self.base + n], "targets_pretokenized": "x", "more": 1, "other": 2} for n in range(self.count)]


def task(name, count, base=0, splits=("train",), **changes):
    source = FunctionDataSource(Rows(base, count), splits, num_input_examples=dict.fromkeys(splits, count))
    return Task(**{"name": name, "source": source, "output_features": FEATURES, **changes})


def values(dataset):
    return [int(example["targets"][0]) for example in dataset]


def tens(dataset):
    """How many examples come of each task, by the thousands of their numbers."""
    return Counter(value // 1000 for value in values(dataset))


A, B, C = task("a", 3), task("b", 3, 1000), task("c", 90, 2000)


def test_every_example_comes_once_whatever_the_seed():
    """With rates 1:1 SeqIO gives all six with seed 2, five with seed 0, and the three of one task alone with seed 42."""
    for seed in (0, 2, 42):
        found = values(Mixture("m", [(A, 1), (B, 1)]).get_dataset(None, "train", seed=seed, num_epochs=1))
        assert sorted(found) == [0, 1, 2, 1000, 1001, 1002]
    small = task("small", 10)
    for seed in range(5):
        found = values(Mixture("m", [(small, 10), (C, 90)]).get_dataset(None, "train", seed=seed, num_epochs=1))
        assert sorted(found) == sorted([*range(10), *range(2000, 2090)])
        assert all(abs(sum(value < 1000 for value in found[:step]) - step / 10) < 1 for step in range(1, 101))


def test_rates_hold_without_end_and_epochs_by_task():
    endless = Mixture("m", [A, (C, 2)], default_rate=1).get_dataset(None, "train", shuffle=False)
    assert tens(endless.take(3000)) == {0: 1000, 2: 2000}
    assert sorted(values(Mixture("m", [A, B], default_rate=1).get_dataset(None, "train", num_epochs=2))) == sorted(values_of(A, B) * 2)
    check_states(Mixture("m", [(A, 1), (B, 2)]).get_dataset(None, "train", num_epochs=2, seed=1), 12)


def values_of(*tasks):
    return [value for one in tasks for value in values(one.get_dataset(None, "train", shuffle=False))]


def test_stop_rules():
    mixture = Mixture("m", [(A, 1), (C, 1)])
    assert len(values(mixture.get_dataset(None, "train", num_epochs=1))) == 93
    assert tens(mixture.get_dataset(None, "train", num_epochs=1, stop="first_empty"))[0] == 3
    assert len(values(mixture.get_dataset(None, "train", num_epochs=1, stop="first_empty"))) in (6, 7)
    assert len(values(Mixture("m", [(A, 1), (C, 1)], stop=20).get_dataset(None, "train"))) == 20
    with pytest.raises(ConfigError, match=r"a mixture stops at"):
        Mixture("m", [(A, 1)], stop="never").get_dataset(None, "train")


def test_rates_of_nested_mixtures_are_exact():
    inner = Mixture("inner", [(A, 0.1), (B, 0.2)])
    outer = Mixture("outer", [(inner, 0.3), (C, 0.7), (A, 0.1)])
    assert outer.exact_rate(A) == Fraction(2, 10) and outer.exact_rate(B) == Fraction(2, 10) and outer.exact_rate(C) == Fraction(7, 10)
    assert outer.get_rate(A) == 0.2 and outer.total_rate == 1.1 and inner.total_rate == 0.3
    assert [one.name for one in outer.tasks] == ["a", "b", "c"] and outer.rate_per_task_name == {"inner": 0.3, "c": 0.7, "a": 0.1}
    assert tens(outer.get_dataset(None, "train").take(1100)) == {0: 200, 1: 200, 2: 700}
    thirds = Mixture("thirds", [(Mixture("inner", [(A, 1), (B, 1), (C, 1)]), 1), (A, 1)])
    assert thirds.exact_rate(A) == Fraction(4, 3)
    assert tens(thirds.get_dataset(None, "train").take(6)) == {0: 4, 1: 1, 2: 1}
    deep = Mixture("deep", [(outer, 1), (inner, 1)])
    assert sum(deep.exact_rate(one) for one in deep.tasks) == 2


def test_rates_may_be_functions():
    mixture = Mixture("m", [A, (C, lambda one: one.num_input_examples("train") / 30)], default_rate=lambda one: float(len(one.name)))
    assert [mixture.get_rate(A), mixture.get_rate(C), mixture.total_rate] == [1.0, 3.0, 4.0]
    nested = Mixture("n", [(Mixture("inner", [(A, 1)]), lambda one: 1.0)])
    with pytest.raises(ValueError, match=r"'rate' for sub-mixture 'inner' must be a number."):
        nested.get_dataset(None, "train")
    with pytest.raises(ConfigError, match=r"the rate of 'a' in mixture 'm' must be a number or give one"):
        Mixture("m", [(A, "much")]).get_rate(A)


def test_rates_that_are_functions_are_not_called_for_each_other_task():
    called = []

    def rate(one):
        called.append(one.name)
        return 1.0

    outer = Mixture("outer", [(Mixture("inner", [A, B, C], default_rate=rate), 1)])
    assert tens(outer.get_dataset(None, "train").take(6)) == {0: 2, 1: 2, 2: 2}
    assert [called.count(one.name) for one in (A, B, C)] == [2, 2, 2]  # for the sum, and for its share


def test_a_rate_of_nothing():
    assert tens(Mixture("m", [(A, 0), (C, 1)]).get_dataset(None, "train", num_epochs=1)) == {2: 90}
    with pytest.raises(ConfigError, match=r"mixture rates must be at least 0"):
        Mixture("m", [(A, 0)]).get_dataset(None, "train")


def test_what_cannot_be_mixed():
    with pytest.raises(ValueError, match=r"need a rate for each task"):
        Mixture("m", [A])
    with pytest.raises(ValueError, match=r"Mixture, m, does not contain any Tasks."):
        Mixture("m", [])
    others = {"inputs": FEATURES["targets"]}
    with pytest.raises(ValueError, match=r"Mixture, 'm' contains Tasks with different output features"):
        Mixture("m", [A, task("d", 1, output_features=others)], default_rate=1)
    vocabulary = task("d", 1, output_features={"targets": Feature(PassThroughVocabulary(5))})
    with pytest.raises(ValueError, match=r"must use the same vocabulary"):
        Mixture("m", [A, vocabulary], default_rate=1).get_dataset(None, "train")
    dtype = task("d", 1, output_features={"targets": Feature(PassThroughVocabulary(10**6), dtype=np.int64)})
    with pytest.raises(ValueError, match=r"must use the same dtype"):
        Mixture("m", [A, dtype], default_rate=1).get_dataset(None, "train")
    with pytest.raises(ConfigError, match=r"compat is None or 'seqio'"):
        Mixture("m", [(A, 1)], compat="t5")


def test_splits_and_counts():
    mixture = Mixture("m", [A, task("d", 2, 3000, ("train", "test"))], default_rate=1)
    assert set(mixture.splits) == {"train", "test"} and mixture.num_input_examples("train") == 5 and mixture.num_input_examples("test") == 2
    assert values(mixture.get_dataset(None, "test", num_epochs=1, shuffle=False)) == [3000, 3001]
    with pytest.raises(ValueError, match=r"No datasets have a 'validation' split"):
        mixture.get_dataset(None, "validation")
    halves = [values(mixture.get_dataset(None, "train", num_epochs=1, shard_info=ShardInfo(i, 2), shuffle=False)) for i in (0, 1)]
    assert sorted(halves[0] + halves[1]) == [0, 1, 2, 3000, 3001]


def test_features_beyond_the_output_are_left_out_unless_asked_for():
    mixture = Mixture("m", [A], default_rate=1)
    assert set(next(iter(mixture.get_dataset(None, "train")))) == {"targets"}
    kept = mixture.get_dataset(None, "train", copy_pretokenized=True, passthrough_features=["more"])
    assert set(next(iter(kept))) == {"targets", "targets_pretokenized", "more"}


@pytest.fixture
def registries():
    yield
    TaskRegistry.reset()
    MixtureRegistry.reset()


def test_names_of_the_registries(registries):
    TaskRegistry.add_provider("a", A)
    MixtureRegistry.add("inner", ["a"], default_rate=1)
    mixture = MixtureRegistry.add("m", ["inner", (B, 2)], default_rate=1)
    assert mixture.tasks == [A, B] and MixtureRegistry.get("m") is mixture and mixture.get_rate(A) == 1
    with pytest.raises(ValueError, match=r"Attempting to register duplicate provider: m"):
        MixtureRegistry.add("m", [B], default_rate=1)
    with pytest.raises(ValueError, match=r"Provider name not registered: z"):
        Mixture("n", ["z"], default_rate=1)
    with pytest.raises(ValueError, match=r"invalid type"):
        MixtureRegistry.add("n", [B], default_rate=1, mixture_cls=Task)
    found = values(MixtureRegistry.get_dataset("m", None, "train"))
    assert sorted(found) == sorted(values_of(A, B))
    travelled = pickle.loads(pickle.dumps(mixture))
    TaskRegistry.reset()
    MixtureRegistry.reset()
    assert values(travelled.get_dataset(None, "train", num_epochs=1)) == values(mixture.get_dataset(None, "train", num_epochs=1))


@pytest.mark.tensorflow
def test_the_answer_of_seqio():
    """The turns that SeqIO takes with these seeds, and what it drops."""
    mixture = Mixture("m", [(A, 1), (B, 1)], compat="seqio")
    turns = {
        seed: [value // 1000 + 1 for value in values(mixture.get_dataset(None, "train", num_epochs=1, seed=seed, shuffle=False))]
        for seed in (0, 2, 42)
    }
    assert turns == {0: [2, 2, 2, 1, 1], 2: [2, 1, 2, 1, 2, 1], 42: [2, 2, 2]}
    assert values(mixture.get_dataset(None, "train", num_epochs=1, shuffle=False)) == [1000, 1001, 1002], (
        "without seed and shuffle, seed 42"
    )
    check_states(mixture.get_dataset(None, "train", num_epochs=1, seed=2, shuffle=False), 6)


@pytest.mark.tensorflow
def test_a_function_that_samples():
    import tensorflow as tf

    def in_turn(datasets, rates, seed):
        assert rates == [1.0, 2.0] and seed == 7
        return tf.data.Dataset.choose_from_datasets(datasets, tf.data.Dataset.range(2).repeat(3))

    mixture = Mixture("m", [(A, 1), (B, 2)], sample_fn=in_turn)
    assert values(mixture.get_dataset(None, "train", num_epochs=1, seed=7, shuffle=False)) == [0, 1000, 1, 1001, 2, 1002]
    assert mixtures.Mixture is Mixture
