"""Every rule of the settings of `extract-features` broken, and what decides the bytes of features."""

from __future__ import annotations

from typing import Any

import pytest

from tokenreel.config import reading
from tokenreel.config.features import FeatureJobConfig
from tokenreel.errors import ConfigError

PLAIN: dict[str, Any] = {"output": "out", "dataset": "in", "model": {"path": "m.keras"}}


def make(**settings: Any) -> FeatureJobConfig:
    import yaml

    return reading.load_as(FeatureJobConfig, yaml.safe_dump({**PLAIN, **settings}), folder="/folder")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"output": ""}, "output is empty"),
        ({"dataset": ""}, "dataset is empty"),
        ({"model": {}}, "give one of path"),
        ({"model": {"path": "a", "build": "b:c"}}, "give one of path"),
        ({"model": {"build": "nothing", "version": "1"}}, "model.build must be module:function, got 'nothing'"),
        ({"model": {"build": "a:b"}}, "model.version is missing"),
        ({"model": {"path": "a", "arguments": {"x": 1}}}, "model.arguments are those of model.build"),
        ({"model": {"path": "a", "threads": 0}}, "model.threads must be at least 1"),
        ({"head": {"kind": "layer"}}, "head.layer is missing"),
        ({"head": {"kind": "output", "layer": "x"}}, "head.layer has no meaning with head.kind output"),
        ({"head": {"kind": "none"}}, "nothing would be kept"),
        ({"layers": [{"name": "a b"}]}, "'a b' is no name of a layer"),
        ({"layers": [{"name": "a"}, {"name": "a"}]}, "layers.name must differ"),
        ({"layers": [{"name": "a", "pool": "max"}]}, "must be one of none, mean, first, last"),
        ({"logits": {"top_k": -1}}, "logits.top_k must be at least 0"),
        ({"logits": {"logprobs": False, "documents": False}}, "nothing is kept"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_gigabytes": 0}, "max_gigabytes must be positive"),
        ({"target_fields": ["a"]}, "target_fields must be two names"),
        ({"target_fields": ["a", "b"], "targets": "masked"}, "target_fields have no meaning"),
        ({"shards": {"format": "int64_list"}}, "shards.format has no meaning"),
        ({"shards": {"examples": 0}}, "shards.examples must be at least 1"),
    ],
)
def test_rules_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make(**settings)
    assert message in str(raised.value)


def test_paths_begin_in_the_folder_of_the_config() -> None:
    made = make(model={"path": "gpt2"})
    assert (made.output, made.dataset, made.model.path) == ("/folder/out", "/folder/in", "/folder/gpt2")


def test_where_files_lie_decides_no_bytes() -> None:
    one, other = make(), make(output="other", dataset="other", model={"path": "other.keras"}, max_gigabytes=3, shards={"megabytes": 64})
    assert one.semantics() == other.semantics()
    for changed in (
        {"batch_size": 4},
        {"shards": {"examples": 16}},
        {"model": {"path": "m.keras", "threads": 2}},
        {"logits": {"top_k": 1}},
    ):
        assert make(**changed).semantics() != one.semantics()


def test_logits_are_made_where_something_is_kept_of_them() -> None:
    layers = [{"name": "a"}]
    assert make().makes_logits and make(layers=layers).makes_logits
    assert not make(layers=layers, head={"kind": "none"}).makes_logits
    assert not make(layers=layers, logits={"logprobs": False, "documents": False}).makes_logits
