"""What Dataflow is told of each job is what the commands take."""

from __future__ import annotations

import argparse
import importlib
import json
import re

import pytest
from google.cloud import dataflow_v1beta3 as api

from pipelines import cli
from pipelines.templates import metadata, parameters
from tests import layering

REQUIRED = {
    "build": ["config"],
    "train-tokenizer": ["config", "job"],
    "cache-tasks": ["output_cache_dir", "job"],
    "extract-features": ["job"],
    "verify": ["directory", "job"],
}
LEFT_OUT = {"no_wait", "plan", "quick", "quiet"}
FOLDER = layering.ROOT / "dataflow_templates/metadata"


def test_the_descriptions_are_what_the_commands_take() -> None:
    """A change of an option without `python -m pipelines.templates.metadata dataflow_templates/metadata` fails here."""
    assert {path.stem: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == {
        job: metadata.text(metadata.describe(job)) for job in parameters.JOBS
    }


@pytest.mark.parametrize("job", parameters.JOBS)
def test_the_schema_of_the_service_takes_them(job: str) -> None:
    """It refuses fields that it does not have, and types that are none."""
    found = metadata.describe(job)
    read = api.TemplateMetadata.from_json(json.dumps(found))
    assert [parameter.name for parameter in read.parameters] == [parameter["name"] for parameter in found["parameters"]]
    assert all(parameter.label and parameter.help_text for parameter in read.parameters), "the console shows nothing without"
    with pytest.raises(Exception, match="NONE"):
        api.TemplateMetadata.from_json(json.dumps(found).replace("ENUM", "NONE"))
    with pytest.raises(Exception, match="helpTexts"):
        api.TemplateMetadata.from_json(json.dumps(found).replace("helpText", "helpTexts"))
    whole = metadata.specify(job, "image:1")
    assert api.ContainerSpec.from_json(json.dumps(whole)).image == "image:1"


@pytest.mark.parametrize("job", parameters.JOBS)
def test_every_option_of_a_command_is_a_parameter(job: str) -> None:
    parser = argparse.ArgumentParser(add_help=False)
    importlib.import_module(cli.module_of(job)).add_arguments(parser)
    names = {action.dest for action in parser._actions} - LEFT_OUT
    described = {parameter["name"]: parameter for parameter in metadata.describe(job)["parameters"]}
    assert names <= set(described) and not LEFT_OUT & set(described)
    assert [name for name, parameter in described.items() if not parameter["isOptional"]] == REQUIRED[job]


@pytest.mark.parametrize(
    ("name", "fits", "differs"),
    [
        ("config", ["gs://bucket/books.yaml"], ["books.yaml", "https://bucket/books.yaml"]),
        ("input", ["gs://bucket/a*;gs://bucket/b", "^|^gs://bucket/a|gs://bucket/b"], ["a.txt"]),
        ("set", ["packing.seq_len=1024", "seed=1;shards.examples=9", "^|^seed=1|sources.0.id_field=';'"], ["seed", "=1"]),
    ],
)
def test_patterns(name: str, fits: list[str], differs: list[str]) -> None:
    (described,) = [parameter for parameter in metadata.describe("build")["parameters"] if parameter["name"] == name]
    (pattern,) = described["regexes"]
    assert all(re.search(pattern, value) for value in fits)
    assert not any(re.search(pattern, value) for value in differs)


def test_the_command_prints_a_template(capsys: pytest.CaptureFixture[str]) -> None:
    assert metadata.main(["--job=train-tokenizer", "--image=somewhere/tokenreel:1"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["image"] == "somewhere/tokenreel:1" and printed["metadata"] == metadata.describe("train-tokenizer")
    assert printed["sdkInfo"] == {"language": "PYTHON"}
