import dataclasses
import typing

import pytest

from tokenreel.errors import ConfigError
from tokenreel.loaders import Mixture
from tokenreel.loaders.run_options import DatasetKeywords, MixtureKeywords, RunOptions


def test_options_are_checked(dataset):
    for options, message in (
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 4, "host": 2, "hosts": 2}, "host must lie between 0 and hosts - 1 = 1, got 2"),
        ({"batch_size": 4, "rows": [4]}, "rows must lie between 0 and batch_size - 1 = 3"),
        ({"batch_size": 4, "epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 4, "prefetch": -1}, "prefetch must be at least 0"),
        ({"batch_size": 4, "features": ["nope"]}, "no feature 'nope'"),
    ):
        with pytest.raises(ConfigError, match=message):
            dataset.batches(**options)


def test_the_keywords_for_type_checkers_are_the_options(dataset):
    options = typing.get_type_hints(RunOptions)
    assert typing.get_type_hints(DatasetKeywords) | {"batch_size": int} == options
    assert set(typing.get_type_hints(MixtureKeywords)) == set(options) - {"batch_size", "epochs"}
    with pytest.raises(TypeError, match="unexpected keyword argument 'epoch'"):
        dataset.batches(4, epoch=1)
    with pytest.raises(TypeError, match="take no epochs: give them to the mixture"):
        Mixture({"a": dataset}).batches(4, epochs=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunOptions(batch_size=4).batch_size = 5
