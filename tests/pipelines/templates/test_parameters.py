"""Values of parameters, taken apart and looked at."""

from __future__ import annotations

import pytest

from pipelines.templates import parameters
from pipelines.templates.parameters import Parameter


def test_several_values() -> None:
    several = Parameter(name="set", help="", several=True)
    assert several.items("a=1; b=2;") == ["a=1", "b=2"]
    assert several.items("^|^a='x;y'|b=2") == ["a='x;y'", "b=2"]
    assert Parameter(name="output", help="").items("a;b") == ["a;b"]


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        (Parameter(name="x", help="", flag=True), "yes", "true or false"),
        (Parameter(name="x", help="", flag=True), "True", ""),
        (Parameter(name="x", help="", choices=("build",)), "bild", "one of build"),
        (Parameter(name="x", help="", kind="NUMBER"), "a few", "a whole number"),
        (Parameter(name="x", help="", kind="NUMBER"), "12", ""),
        (Parameter(name="x", help="", pattern="^a", several=True), "ab;b", "^a, not 'b'"),
    ],
)
def test_values(parameter: Parameter, value: str, expected: str) -> None:
    assert parameter.faults(value) == expected


def test_every_job_takes_a_config_and_an_output() -> None:
    for job in parameters.JOBS:
        found = {parameter.name: parameter for parameter in parameters.parameters(job)}
        assert found[parameters.IMAGE].group == "Workers"
        if job == "cache-tasks":  # whose settings are Python
            assert found["output_cache_dir"].required and all(found[name].together for name in ("tasks", "mixtures", "module_import"))
            assert found["output_cache_dir"].kind == "GCS_WRITE_FOLDER" and found["max_shards"].kind == "NUMBER"
            continue
        if job == "verify":  # it has no settings, and writes nothing
            assert found["directory"].required and found["directory"].positional
            continue
        assert found["config"].required == (job != "extract-features") and found["config"].positional  # options of that say all, too
        assert found["output"].kind == "GCS_WRITE_FOLDER"
