import numpy as np
import pytest

from tests.tokenreel.tasks.caches import write_cache
from tokenreel.errors import ConfigError
from tokenreel.tasks import cache_directories, experimental
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.features import Feature
from tokenreel.tasks.mixture import MixtureRegistry
from tokenreel.tasks.preprocessor_marks import numpy_preprocessor
from tokenreel.tasks.task import TaskRegistry
from tokenreel.tasks.task_steps import CacheDatasetPlaceholder
from tokenreel.tasks.vocabularies import PassThroughVocabulary


def rows(split, shuffle_files):
    return [{"inputs": [n] * 9, "targets": [n] * 9} for n in range(4)]


@numpy_preprocessor
def cut(dataset, sequence_length):
    return dataset.map(lambda example: {name: value[: sequence_length[name]] for name, value in example.items()})


@pytest.fixture(autouse=True)
def _registries():
    features = {name: Feature(PassThroughVocabulary(10)) for name in ("inputs", "targets")}
    for name in ("a", "b"):
        source = FunctionDataSource(rows, ["train"])
        TaskRegistry.add(name, source, features, [CacheDatasetPlaceholder(), cut], postprocess_fn=str)
    yield
    TaskRegistry.reset()
    MixtureRegistry.reset()
    cache_directories.set_global_cache_dirs([])


def test_a_fully_cached_task(tmp_path):
    task = experimental.add_fully_cached_task("a", {"inputs": 5, "targets": 6})
    assert task.name == "a_i5_t6" and task.requires_caching and task.postprocessor is str
    assert experimental.add_fully_cached_task("a", {"inputs": 5, "targets": 6}) is task is TaskRegistry.get("a_i5_t6")
    before = list(task.preprocess_precache(task.source.get_dataset("train", shuffle=False)))
    assert [(len(row["inputs"]), len(row["targets"])) for row in before] == [(5, 6)] * 4, "all steps stand before the placeholder"
    write_cache(tmp_path / "a_i5_t6", {"train": [before]})
    cache_directories.set_global_cache_dirs([str(tmp_path)])
    for lengths in (None, {"inputs": 5, "targets": 6}):
        assert len(list(task.get_dataset(lengths, "train", use_cached=True))) == 4
    with pytest.raises(ValueError, match="Fully-cached task 'a_i5_t6' can only be loaded with"):
        task.get_dataset({"inputs": 5, "targets": 7}, "train", use_cached=True)
    fixed = experimental.add_fully_cached_task("a", {"inputs": 1, "targets": 1}, disallow_shuffling=True)
    with pytest.raises(ValueError, match="Shuffling is disallowed"):
        fixed.get_dataset(None, "train", use_cached=True)


def test_names_tell_lengths():
    assert experimental._name("a", {"targets": 6}) == "a_6"
    assert experimental._name("a", {"inputs": 5, "inputs2": 3, "targets": np.int64(7)}) == "a_inputs5_inputs23_targets7"
    with pytest.raises(ConfigError, match="sequence_length is empty for 'a'"):
        experimental._name("a", {})


def test_a_fully_cached_mixture():
    MixtureRegistry.add("m", [("a", 1), ("b", 3)])
    mixture = experimental.add_fully_cached_mixture("m", {"inputs": 5, "targets": 6})
    assert mixture.name == "m_i5_t6" and [task.name for task in mixture.tasks] == ["a_i5_t6", "b_i5_t6"]
    assert [mixture.get_rate(task) for task in mixture.tasks] == [1, 3]
