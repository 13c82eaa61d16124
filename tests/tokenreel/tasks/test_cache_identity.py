"""What a cache is known by: an edited function changes it, and nothing else does."""

import dataclasses
import functools
import importlib
import json
import sys
import types

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.tasks import cache_identity
from tokenreel.tasks.cache_identity import describe
from tokenreel.tasks.data_sources import FunctionDataSource
from tokenreel.tasks.vocabularies import ByteVocabulary

SOURCE = """
import functools
LIMIT = 3

def helper(x):
    return x + 1

def step(dataset, limit=2):
    return [helper(x) for x in dataset][:LIMIT]

def decorated(function):
    @functools.wraps(function)
    def inner(dataset):
        return function(dataset)
    return inner

@decorated
def wrapped(dataset):
    return dataset

def make(n):
    def made(dataset):
        return dataset[:n]
    return made

class Step:
    def __init__(self, n):
        self.n = n
    def __call__(self, dataset):
        return dataset[: self.n]
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    number = iter(range(100))

    def load(text):
        folder = tmp_path / str(next(number))
        folder.mkdir()
        (folder / "edited_steps.py").write_text(text)
        sys.modules.pop("edited_steps", None)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            return importlib.import_module("edited_steps")

    yield load
    sys.modules.pop("edited_steps", None)


STEPS = {
    "step": lambda m: m.step,
    "bound": lambda m: functools.partial(m.step, limit=7),
    "wrapped": lambda m: m.wrapped,
    "made": lambda m: m.make(3),
    "object": lambda m: m.Step(3),
}


def told(module, text, step):
    return json.dumps(describe(STEPS[step](module(text))))


@pytest.mark.parametrize(
    ("step", "old", "new"),
    [
        ("step", "limit=2", "limit=4"),
        ("step", "x + 1", "x + 2"),
        ("step", "LIMIT = 3", "LIMIT = 4"),
        ("step", "[:LIMIT]", "[1:LIMIT]"),
        ("bound", "x + 1", "x + 2"),
        ("wrapped", "    return dataset\n\ndef make", "    return dataset[1:]\n\ndef make"),
        ("wrapped", "return function(dataset)", "return function(dataset[1:])"),
        ("made", "dataset[:n]", "dataset[n:]"),
        ("object", "dataset[: self.n]", "dataset[self.n :]"),
    ],
)
def test_an_edited_function_is_another(module, step, old, new):
    assert old in SOURCE
    before = told(module, SOURCE, step)
    assert told(module, SOURCE, step) == before
    assert told(module, SOURCE + "\n\ndef unrelated():\n    return 1\n", step) == before
    assert told(module, SOURCE.replace(old, new), step) != before


def test_bound_arguments_and_state_count(module):
    made = module(SOURCE)
    kinds = [functools.partial(made.step, limit=n) for n in (1, 2)] + [made.make(n) for n in (1, 2)] + [made.Step(n) for n in (1, 2)]
    assert len({json.dumps(describe(each)) for each in kinds}) == len(kinds)
    assert describe(np.arange(3)) != describe(np.arange(4)) and describe({"b": 1, "a": {2}}) == {"a": [2], "b": 1}
    assert describe(np.array([b"a"], object)) == describe(np.array([b"a"], object))
    assert describe(ByteVocabulary()) == describe(ByteVocabulary()) != describe(ByteVocabulary(extra_ids=3))


def test_what_has_no_source_declares_a_version():
    namespace: dict = {}
    exec("def step(dataset): return dataset", namespace)
    step = namespace["step"]
    with pytest.raises(ConfigError, match=r"step has no source text.*Give it an attribute `version`"):
        describe(step)
    step.version = 3
    assert describe(step)["version"] == 3
    task = types.SimpleNamespace(name="a", preprocessors=[sorted], output_features={})
    with pytest.raises(ConfigError, match="task 'a', step 0"):
        cache_identity.describe_steps(task)


@dataclasses.dataclass
class Field:
    size: int


def test_differences_name_the_step_and_the_feature():
    def task(steps, features):
        return types.SimpleNamespace(name="a", preprocessors=steps, output_features=features)

    old = task([Field(1)], {"inputs": Field(1)})
    identity = json.loads(json.dumps({"steps": cache_identity.describe_steps(old), "features": cache_identity.describe_features(old)}))
    assert cache_identity.differences(old, identity) == []
    name = f"{Field.__module__}.Field"
    assert cache_identity.differences(task([Field(2)], {"inputs": Field(1)}), identity) == [f"step 0 ({name})"]
    assert cache_identity.differences(task([Field(1)] * 2, {"inputs": Field(2), "b": Field(1)}), identity) == [
        "1 steps before the placeholder, now 2",
        "feature 'b'",
        "feature 'inputs'",
    ]


class Lazy(FunctionDataSource):
    """A source of a user's, that remembers what it read."""

    def __init__(self, function):
        super().__init__(function, ["train"])
        self.read = None


def test_what_a_source_of_a_users_own_remembers_is_no_change():
    source = Lazy(rows)
    identity = {"source": cache_identity.describe_source(source)}
    source.read = ["a"]
    assert cache_identity.source_differences(types.SimpleNamespace(source=source), identity, "train") == []
    plain = types.SimpleNamespace(source=FunctionDataSource(rows, ["train"]))
    assert cache_identity.source_differences(plain, identity, "train") == ["the source"]
    other = {"source": cache_identity.describe_source(plain.source)}
    assert cache_identity.source_differences(plain, other, "train") == []
    edited = types.SimpleNamespace(source=FunctionDataSource(more_rows, ["train"]))
    assert cache_identity.source_differences(edited, other, "train") == ["the source"]


def rows(split, shuffle_files):
    return [{"n": 1}]


def more_rows(split, shuffle_files):
    return [{"n": 1}, {"n": 2}]
