"""What runs in the launcher of a template: named parameters come in, the command of the job is run."""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from pipelines import cli
from pipelines.templates import parameters
from tokenreel import commands
from tokenreel.errors import ConfigError
from tokenreel.wording import did_you_mean, plain

IMAGE = "TOKENREEL_IMAGE"  # in the environment of the image: its own name, which its workers use
_RUNNER = "DataflowRunner"


def main(argv: Sequence[str] | None = None) -> int:
    """Submits a job, and returns once it is taken.

    Args:
      argv: `--name=value` of the job's parameters and of Beam's options; by default those of the process.

    Returns:
      the exit code of the command: 0 when the job was taken, or its output is complete already.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    found: list[str] = []

    def translate() -> int:
        found.extend(command(given, os.environ))
        return 0

    return commands.exit_code("tokenreel", translate) or cli.main(found, ends=argv is None)


def command(argv: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """Turns the parameters of a template into the command of its job.

    Args:
      argv: `--name=value`; a parameter without a value counts as not given, since consoles pass what was left empty.
      environment: of the launcher; `TOKENREEL_IMAGE` is the image that workers get unless a parameter names another.

    Raises:
      ConfigError: a parameter is none, misses, or has a value that it cannot have.
    """
    options = {name: action for action in parameters.beam_options() for name in action.option_strings}
    given: dict[str, str] = {}
    for argument in argv:
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or not (equals or (name in options and options[name].nargs == 0)):
            raise ConfigError(f"{argument!r}: a template's parameters have names and values, as in --output=gs://bucket/books")
        if value or not equals:
            given[name.removeprefix("--")] = value if equals else "true"
    job = given.pop(parameters.JOB, parameters.JOBS[0])
    if job not in parameters.JOBS:
        raise ConfigError(f"{parameters.JOB}={job}: there is no such job, only {', '.join(parameters.JOBS)}")
    known = {parameter.name: parameter for parameter in parameters.parameters(job) if parameter.name != parameters.JOB}
    own = {name: given.pop(name) for name in known if name in given}
    missing = [name for name, parameter in known.items() if parameter.required and name not in own]
    if missing:
        raise ConfigError(f"the parameter {missing[0]} is missing: {known[missing[0]].help}")
    if environment.get(IMAGE):
        own.setdefault(parameters.IMAGE, environment[IMAGE])
    positional: list[str] = []
    named: list[str] = []
    for name, value in own.items():
        expected = known[name].faults(value)
        if expected:
            raise ConfigError(f"{name}={value}: must be {expected}")
        (positional if known[name].positional else named).extend(_spell(known[name], value))
    beams = _beam_arguments(given, list(known), options)
    return [job, *positional, *named, "--no-wait", *([] if "runner" in given else [f"--runner={_RUNNER}"]), *beams]


def _spell(parameter: parameters.Parameter, value: str) -> list[str]:
    """Writes a parameter as the command takes it."""
    option = f"--{parameter.name}"
    if parameter.positional:
        return [value]
    if parameter.flag:
        return [option] if value.lower() == "true" else []
    if parameter.together:
        return [option, *parameter.items(value)]
    return [f"{option}={item}" for item in parameter.items(value)]


def _beam_arguments(given: Mapping[str, str], known: Sequence[str], options: Mapping[str, argparse.Action]) -> list[str]:
    """Writes Beam's options as Beam takes them; those of a launcher that this Beam does not know are left out, and named.

    Raises:
      ConfigError: an option looks like a parameter of the job, misspelt.
    """
    written = []
    for name, value in given.items():
        action = options.get(f"--{name}")
        if action is None:
            parameters = [*known, *(option.removeprefix("--") for option in options)]
            if hint := did_you_mean(name.replace("-", "_"), parameters, shown=str):
                raise ConfigError(f"{name}={value}: there is no such parameter; {hint}")
            print(plain(f"tokenreel: note: neither the job nor Beam knows the parameter {name}; it is left out"), file=sys.stderr)
        elif action.nargs != 0:
            written.append(f"--{name}={value}")
        elif value.lower() == "true":
            written.append(f"--{name}")
        elif f"--no_{name}" in options:
            written.append(f"--no_{name}")
    return written
