import functools
import logging
import pickle

import numpy as np
import pytest

from tests.tokenreel.tasks.test_example_stream import check_states
from tokenreel.errors import ConfigError
from tokenreel.tasks import cache_directories, example_keys, step_seeds
from tokenreel.tasks.data_sources import DataSource, FunctionDataSource, TextLineDataSource
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.features import Feature
from tokenreel.tasks.map_over_dataset import map_examples, map_over_dataset
from tokenreel.tasks.preprocessor_marks import numpy_preprocessor
from tokenreel.tasks.providers import ShardInfo
from tokenreel.tasks.task import Task, TaskRegistry
from tokenreel.tasks.task_steps import CacheDatasetPlaceholder
from tokenreel.tasks.vocabularies import PassThroughVocabulary

VOCABULARY = PassThroughVocabulary(100)
FEATURES = {"targets": Feature(VOCABULARY), "inputs": Feature(VOCABULARY)}


def rows(split, shuffle_files):
    return [{"inputs": [n] * (n % 4 + 1), "targets": [n, 1], "text": f"row {n}"} for n in range({"train": 12, "test": 3}[split])]


SOURCE = FunctionDataSource(rows, ["train", "test"], num_input_examples={"train": 12, "test": 3})


@numpy_preprocessor
def add(dataset, output_features, amount=1):
    def change(example):
        return {name: value + amount if name in output_features else value for name, value in example.items()}

    return dataset.map(change)


@numpy_preprocessor
def draw(dataset):
    seeds = step_seeds.current()
    seed, name = seeds.seed, seeds.name("draw")
    return dataset.map_keyed(lambda e: {**e.value, "draw": example_keys.seeds(seed, name, e.key, e.epoch)[0, 0]})


@numpy_preprocessor
def cut(dataset, sequence_length):
    return dataset.map(lambda example: {**example, "most": np.int32((sequence_length or {}).get("inputs", -1))})


def task(*steps, **arguments):
    return Task(**{"name": "ns:a.task#1", "source": SOURCE, "output_features": FEATURES, "preprocessors": steps, **arguments})


def inputs(dataset):
    return [example["inputs"].tolist() for example in dataset]


def heads(dataset):
    return [int(example["targets"][0]) for example in dataset]


def test_a_task_gives_what_its_steps_make():
    plain = task().get_dataset(None, "train", shuffle=False)
    assert (
        heads(plain) == list(range(12)) and next(iter(plain))["text"] == b"row 0" and list(task().output_features) == ["inputs", "targets"]
    )
    assert heads(task(add, functools.partial(add, amount=5)).get_dataset(None, "test", shuffle=False)) == [6, 7, 8]
    assert inputs(task().get_dataset({"inputs": 2}, "test", shuffle=False)) == [[0], [1, 1], [2, 2]]
    assert inputs(task().get_dataset({"inputs": 2, "targets": None}, "test", shuffle=False, trim_output_features=False))[2] == [2, 2, 2]
    assert [int(e["most"]) for e in task(cut).get_dataset({"inputs": 7}, "test", shuffle=False)] == [7, 7, 7]
    check_states(task(add, draw).get_dataset({"inputs": 2}, "train", seed=3, num_epochs=2), 24)


def test_shuffles_epochs_and_shards():
    one = task()
    shuffled = heads(one.get_dataset(None, "train", seed=1))
    assert sorted(shuffled) == list(range(12)) and shuffled != list(range(12))
    assert shuffled == heads(one.get_dataset(None, "train", seed=1)) != heads(one.get_dataset(None, "train", seed=2))
    assert heads(one.get_dataset(None, "train")) == heads(one.get_dataset(None, "train", seed=0))
    assert heads(one.get_dataset(None, "test", shuffle=False, num_epochs=3)) == [0, 1, 2] * 3
    assert heads(one.get_dataset(None, "test", shuffle=False, num_epochs=None).take(7)) == [0, 1, 2, 0, 1, 2, 0]
    assert heads(one.get_dataset(None, "train", shuffle=False, shard_info=ShardInfo(1, 5))) == [1, 6, 11]
    assert heads(one.get_dataset(None, "train", shuffle_buffer_size=2, seed=0))[:2] in ([0, 1], [1, 0])


def test_draws_belong_to_examples():
    def draws(**arguments):
        return {(int(e["targets"][0]), int(e["draw"])) for e in task(draw).get_dataset(None, "train", **arguments)}

    everything = draws(shuffle=False)
    assert len({drawn for _, drawn in everything}) == 12 and draws(shuffle=True) == everything
    assert draws(shuffle=False, shard_info=ShardInfo(0, 3)) < everything
    assert everything < draws(shuffle=False, num_epochs=2) and len(draws(shuffle=False, num_epochs=2)) == 24
    assert not draws(shuffle=False, seed=1) & everything
    again = {int(e["targets"][0]): int(e["draw"]) for e in task(draw, name="other").get_dataset(None, "train", shuffle=False)}
    assert all(again[number] != drawn for number, drawn in everything), "tasks of a mixture draw each their own"
    two = next(iter(task(draw, rename, draw).get_dataset(None, "train", shuffle=False)))
    assert two["draw"] != two["first"], "a step that stands twice draws twice"


@map_examples(num_seeds=1)
def drawn(example, seed):
    return {**example, f"drawn_{len(example)}": seed}


@map_examples(num_seeds=2)
def drawn_twice(example, seeds):
    return {**example, f"drawn_{len(example)}": seeds}


def of_tensors(dataset):
    """A step of tf.data with a random one inside, as T5's are."""
    return map_over_dataset(lambda example, seed: {**example, f"drawn_{len(example)}": seed}, num_seeds=1)(dataset)


SEQIO = [[2985944072, 3810604164], [4132877644, 4228622225], [929418493, 3523798452]]  # what SeqIO draws from seed 42


def test_compat_is_kept_and_checked():
    assert task().compat is None and task(compat="seqio").replace(name="b").compat == "seqio"
    assert task(compat="seqio").replace(compat=None).compat is None
    assert heads(task(add, compat="seqio").get_dataset(None, "test", shuffle=False)) == [1, 2, 3], "nothing is drawn, nothing differs"
    with pytest.raises(ConfigError, match="compat is None or 'seqio', got 't5'"):
        task(compat="t5")


@pytest.mark.tensorflow
def test_compat_draws_what_seqio_draws():
    """The literals are SeqIO's; a second step's seeds count on, and those behind a placeholder begin 42 later for each step before it."""
    import tensorflow as tf

    def of_seeds(*seeds):
        return [list(each) for each in zip(*(tf.data.Dataset.random(seed).take(6).as_numpy_iterator() for seed in seeds), strict=True)]

    def drawn_by(*steps, name, **arguments):
        found = task(*steps, compat="seqio").get_dataset(None, "test", shuffle=False, **arguments)
        return [np.array(example[name]).ravel().tolist() for example in found]

    assert of_seeds(42, 43)[:3] == SEQIO
    for first in (drawn, of_tensors):
        assert drawn_by(first, drawn_twice, name="drawn_3", seed=42) == SEQIO
        assert drawn_by(first, drawn_twice, name="drawn_4", seed=42) == of_seeds(44, 45, 46, 47)[:3]
        assert drawn_by(add, drawn, CacheDatasetPlaceholder(), first, name="drawn_4", seed=-42) == SEQIO
        whole = drawn_by(drawn, CacheDatasetPlaceholder(), add, first, name="drawn_4", seed=7, num_epochs=2)
        assert whole == of_seeds(49, 50), "a second pass draws on"
        assert drawn_by(drawn, CacheDatasetPlaceholder(), name="drawn_3", seed=7, num_epochs=2) == of_seeds(7, 8)[:3] * 2


@numpy_preprocessor
def rename(dataset):
    return dataset.map(lambda example: {**example, "first": example["draw"]})


class Half(DataSource):
    """A source of one's own, which makes any number of shards."""

    supports_arbitrary_sharding = True

    def list_shards(self, split):
        return ["all"]

    def get_dataset(self, split, shuffle=True, seed=None, shard_info=None):
        stream = ExampleStream.from_examples(rows(split, shuffle))
        return stream if shard_info is None else stream.shard(shard_info.num_shards, shard_info.index)


def test_sources_of_ones_own():
    assert heads(task(source=Half(["test"])).get_dataset(None, "test", shuffle=False, shard_info=ShardInfo(1, 2))) == [1]
    with pytest.raises(ValueError, match=r"has no split 'train'; it has test"):
        task(source=Half(["test"])).get_dataset(None, "train")
    with pytest.raises(ValueError, match=r"Task ns:a.task#1 has no splits"):
        _ = task(source=Half([])).splits
    with pytest.raises(ValueError, match=r"gives a dict: a source gives"):
        task(source=FunctionDataSource(lambda split, shuffle_files: {}, ["train"])).get_dataset(None, "train")


def test_examples_that_are_not_as_promised():
    def get(**features):
        return task(output_features=features).get_dataset(None, "train", shuffle=False)

    with pytest.raises(ValueError, match=r"Task dataset is missing expected output feature after preprocessing: more"):
        get(more=Feature(VOCABULARY))
    assert len(list(get(more=Feature(VOCABULARY, required=False)))) == 12
    with pytest.raises(ValueError, match=r"incorrect type for feature 'inputs' after preprocessing: Got int32, expected int64"):
        get(inputs=Feature(VOCABULARY, dtype=np.int64))
    with pytest.raises(ValueError, match=r"incorrect type for feature 'text' after preprocessing: Got string, expected int32"):
        get(text=Feature(VOCABULARY))
    with pytest.raises(ValueError, match=r"incorrect rank for feature 'inputs' after preprocessing: Got 1, expected 2"):
        get(inputs=Feature(VOCABULARY, rank=2))
    later = FunctionDataSource(lambda split, shuffle_files: [{"inputs": [1]}, {"inputs": [0.5]}], ["train"])
    stream = task(source=later, output_features={"inputs": Feature(VOCABULARY)}).get_dataset(None, "train", shuffle=False)
    with pytest.raises(ValueError, match=r"Got float32, expected int32"):
        list(stream)


def test_features_of_several_axes_are_trimmed_by_axis():
    frames = FunctionDataSource(lambda split, shuffle_files: [{"frames": np.ones((4, 6), np.float32)}], ["train"])
    one = Task("t", frames, {"frames": Feature(VOCABULARY, dtype=np.float32, rank=2)})

    def shape(length):
        return next(iter(one.get_dataset({"frames": length}, "train")))["frames"].shape

    assert [shape(3), shape((3, 2)), shape([None, 5]), shape(None)] == [(3, 6), (3, 2), (4, 5), (4, 6)]


def test_names_and_arguments():
    for name in ("a/b", "a b", ""):
        with pytest.raises(ValueError, match=r"contains invalid characters. Must match regex"):
            task(name=name)
    with pytest.raises(ValueError, match=r"Expected keys of kwargs argument task.replace to be one of"):
        task().replace(preprocess=[])
    other = task(add).replace(name="other", preprocessors=[])
    assert other.name == "other" and heads(other.get_dataset(None, "test", shuffle=False)) == [0, 1, 2] and other.source is SOURCE
    assert task().num_input_examples("train") == 12 and task().splits == ("train", "test") and "ns:a.task#1" in str(task())
    with pytest.raises(ValueError, match=r"Shuffling is disallowed for Task 'ns:a.task#1'"):
        task(shuffle_buffer_size=None).get_dataset(None, "train")
    assert heads(task(shuffle_buffer_size=None).get_dataset(None, "test", shuffle=False)) == [0, 1, 2]
    assert heads(pickle.loads(pickle.dumps(task(add))).get_dataset(None, "test", shuffle=False)) == [1, 2, 3]


def test_metric_functions_are_told_by_their_arguments():
    def predicted(targets, predictions, more=1): ...
    def scored(targets, scores): ...
    def with_aux(targets, predictions, aux_values): ...

    one = task(metric_fns=[scored, predicted, with_aux], postprocess_fn=lambda output, is_target: (output, is_target))
    assert one.predict_metric_fns == [predicted] and one.score_metric_fns == [scored] and one.predict_with_aux_metric_fns == [with_aux]
    assert one.metric_fns == [predicted, scored, with_aux] and one.postprocess_fn("a", is_target=True) == ("a", True)
    assert task().postprocess_fn("a") == "a" and task().metric_objs == []
    wrong = task(metric_fns=[lambda predictions, targets: {}])
    with pytest.raises(ValueError, match=r"Metric functions must have positional arguments matching either"):
        _ = wrong.metric_fns


def test_placeholders(caplog):
    with pytest.raises(ValueError, match=r"can appear at most once in the preprocessing pipeline. Found multiple in 'ns:a.task#1'"):
        task(CacheDatasetPlaceholder(), add, CacheDatasetPlaceholder())
    forbidden = FunctionDataSource(rows, ["train"], caching_permitted=False)
    with pytest.raises(ValueError, match=r"the underlying data source prohibits caching"):
        task(CacheDatasetPlaceholder(), source=forbidden)
    with pytest.raises(ValueError, match=r"'cut' has a `sequence_length` argument but occurs before .* in 'ns:a.task#1'"):
        task(cut, CacheDatasetPlaceholder()).get_dataset(None, "train")
    with caplog.at_level(logging.WARNING):
        _ = task(lambda dataset, seed: dataset, CacheDatasetPlaceholder()).preprocessors
    assert "occurs before `CacheDatasetPlaceholder`" in caplog.text
    with pytest.raises(RuntimeError, match=r"should never be called"):
        CacheDatasetPlaceholder()(None)
    required = task(CacheDatasetPlaceholder(required=True))
    assert required.requires_caching and required.supports_caching and not task().supports_caching
    with pytest.raises(ValueError, match=r"requires caching, but was called with `use_cached=False`"):
        required.get_dataset(None, "train")
    with pytest.raises(AssertionError, match=r"'ns:a.task#1' does not exist in any of the task cache directories"):
        required.get_dataset(None, "train", use_cached=True)
    assert heads(task(add, CacheDatasetPlaceholder(), add).get_dataset(None, "test", shuffle=False)) == [2, 3, 4]
    caplog.clear()
    assert heads(task().get_dataset(None, "test", use_cached=True, shuffle=False)) == [0, 1, 2]
    assert "does not support caching" in caplog.text


@pytest.fixture
def registries():
    yield
    TaskRegistry.reset()
    cache_directories.set_global_cache_dirs([])


def test_registries(registries):
    one = TaskRegistry.add("a", source=SOURCE, output_features=FEATURES, preprocessors=[add])
    assert TaskRegistry.get("a") is one and list(TaskRegistry.names()) == ["a"]
    with pytest.raises(ValueError, match=r"Attempting to register duplicate provider: a"):
        TaskRegistry.add("a", SOURCE, FEATURES)
    with pytest.raises(ValueError, match=r"Attempting to register a class of an invalid type"):
        TaskRegistry.add_provider("b", object())
    with pytest.raises(ValueError, match=r"Attempting to register a class of an invalid type"):
        TaskRegistry.add("b", SOURCE, FEATURES, task_cls=dict)
    assert heads(TaskRegistry.get_dataset("a", None, "test", shuffle=False)) == [1, 2, 3]
    TaskRegistry.remove("a")
    TaskRegistry.remove("a")
    with pytest.raises(ValueError, match=r"Provider name not registered: a"):
        TaskRegistry.get("a")


@pytest.mark.tensorflow
def test_steps_of_tensorflow_and_of_numpy_in_any_order(tmp_path):
    import tensorflow as tf

    def plus(dataset, output_features):
        return dataset.map(lambda e: {**e, "targets": e["targets"] + len(output_features)})

    def only_even(dataset):
        return dataset.filter(lambda e: e["targets"][0] % 2 == 0)

    assert heads(task(add, plus, only_even, add).get_dataset(None, "train", shuffle=False)) == [5, 7, 9, 11, 13, 15]
    check_states(task(add, plus, draw).get_dataset({"inputs": 2}, "train", num_epochs=2, seed=1), 24)
    (tmp_path / "a.txt").write_text("3\n4\n")
    lines = TextLineDataSource({"train": str(tmp_path / "a.txt")})

    def parse(dataset):
        return dataset.map(lambda line: {"targets": tf.strings.to_number([line], tf.int32)})

    parsed = Task("t", lines, {"targets": Feature(VOCABULARY, dtype=tf.int32)}, [parse, CacheDatasetPlaceholder()])
    assert heads(parsed.get_dataset(None, "train", shuffle=False, num_epochs=2)) == [3, 4, 3, 4]
    with pytest.raises(ValueError, match=r"is missing expected output feature after preprocessing: inputs"):
        Task("t", lines, FEATURES, [parse]).get_dataset(None, "train")


@pytest.mark.tensorflow
def test_sources_of_tensorflow():
    import tensorflow as tf

    def make(split, shuffle_files, seed=None):
        dataset = tf.data.Dataset.from_tensor_slices({"inputs": [[n, n, n] for n in range(8)], "targets": [[n] for n in range(8)]})
        return dataset.shuffle(8, seed=seed) if shuffle_files else dataset

    one = task(add, source=FunctionDataSource(make, ["train"]))
    assert heads(one.get_dataset({"inputs": 1}, "train", shuffle=False)) == list(range(1, 9))
    assert heads(one.get_dataset(None, "train", shuffle=False, shard_info=ShardInfo(2, 3))) == [3, 6]
    dataset = one.get_dataset({"inputs": 1}, "train", shuffle=True, seed=4, num_epochs=2)
    assert sorted(heads(dataset)) == sorted([*range(1, 9)] * 2)
    check_states(dataset, 16)
    assert len(list(dataset.to_tf_data())) == 16
