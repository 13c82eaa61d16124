"""What Dataflow and its console are told of each job: `metadata/JOB.json` in `dataflow_templates/`, and the file that names the image.

`python -m pipelines.templates.metadata dataflow_templates/metadata` writes them, after a change of a command's options;
`python -m pipelines.templates.metadata --job=build --image=IMAGE` prints the template of a job, for a bucket.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from pipelines import cli
from pipelines.templates import parameters
from pipelines.templates.parameters import Parameter


def describe(job: str) -> dict[str, Any]:
    """Describes a job as `TemplateMetadata` of Dataflow's API does, in JSON."""
    _, description = cli.COMMANDS[job]
    return {
        "name": f"tokenreel {job}",
        "description": f"{description[:1].upper()}{description[1:]}.",
        "streaming": False,
        "parameters": [_describe(parameter) for parameter in parameters.parameters(job)],
    }


def specify(job: str, image: str) -> dict[str, Any]:
    """Makes the file from which Dataflow launches a job (`ContainerSpec`)."""
    return {"image": image, "sdkInfo": {"language": "PYTHON"}, "metadata": describe(job), "defaultEnvironment": {}}


def _describe(parameter: Parameter) -> dict[str, Any]:
    """Describes one parameter; what is at the API's default is left out."""
    pattern = parameter.pattern
    if pattern and parameter.several:  # the API looks at the whole value
        pattern = rf"^(\^[^^]+\^)?{pattern.removeprefix('^')}"
    found: dict[str, Any] = {
        "name": parameter.name,
        "label": parameter.name.replace("_", " ").capitalize(),
        "helpText": parameter.help,
        "isOptional": not parameter.required,
        "paramType": parameter.kind,
        "groupName": parameter.group,
    }
    if pattern:
        found["regexes"] = [pattern]
    if parameter.choices:
        found["enumOptions"] = [{"value": choice, "label": choice} for choice in parameter.choices]
    default = "false" if parameter.flag else parameter.choices[0] if parameter.name == parameters.JOB else None
    return found | ({"defaultValue": default} if default is not None else {})


def text(found: dict[str, Any]) -> str:
    """Writes a description as the files hold it."""
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the descriptions of all jobs to a folder, or prints the template of one."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.templates.metadata", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", help="where a description of each job is written to")
    parser.add_argument("--job", choices=parameters.JOBS, default=parameters.JOBS[0], help="whose template is printed")
    parser.add_argument("--image", help="the image that the template names")
    arguments = parser.parse_args(argv)
    if (arguments.folder is None) == (arguments.image is None):
        parser.error("name a folder for the descriptions, or an --image for a template")
    if arguments.image is not None:
        print(text(specify(arguments.job, arguments.image)), end="")
        return 0
    folder = pathlib.Path(arguments.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for job in parameters.JOBS:
        (folder / f"{job}.json").write_text(text(describe(job)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
