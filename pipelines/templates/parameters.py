"""The parameters of a job, made of the options of its command: a template passes each as `--name=value`."""

import argparse
import dataclasses
import importlib
import re

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import cli
from tokenreel import commands

# Commands that are jobs for a cluster, by name. A job that is added here gets a template once `python -m pipelines.templates.metadata` ran;
# its command has to take --no-wait.
JOBS = ("build", "train-tokenizer", "cache-tasks", "extract-features", "verify")
JOB = "job"  # the parameter that says which
SEPARATOR = ";"  # between the values of one parameter; one that begins with ^|^ has another separator, here |
IMAGE = "sdk_container_image"
_GCS, _SETTING = r"^gs://[^\n\r]+$", r"^[^=\n]+=[\s\S]*$"
# (type in the console, what a value looks like) of the options that are more than text; `parse` looks at the same patterns.
_KINDS = {
    "config": ("GCS_READ_FILE", _GCS),
    "directory": ("TEXT", _GCS),
    "dataset": ("TEXT", _GCS),
    "input": ("TEXT", _GCS),
    "model": ("TEXT", _GCS),
    "output": ("GCS_WRITE_FOLDER", _GCS),
    "output_cache_dir": ("GCS_WRITE_FOLDER", _GCS),
    "set": ("TEXT", _SETTING),
}
_LEFT_OUT = ("no_wait", "plan", "quick", "quiet")  # a launcher that waits would never start its job, and the others start none
_DATASET, _RUN, _WORKERS = "What is made", "How it runs", "Workers"
_OF_DATASETS = (
    "config",
    "directory",
    "dataset",
    "model",
    "set",
    "input",
    "output",
    "tasks",
    "excluded_tasks",
    "module_import",
    "output_cache_dir",
    "splits",
)
_OF_MIXTURES = ("mixtures", "mixture_stop", "mixture_examples", "mixture_tokens", "mixture_epochs")
_GROUPS = {**dict.fromkeys((*_OF_DATASETS, *_OF_MIXTURES), _DATASET), IMAGE: _WORKERS}
_BEAM = (IMAGE, "number_of_worker_harness_threads")  # options of Beam that people look for
_HELP = {IMAGE: "The image of the workers, where it is not the one that launches."}  # Beam tells of images of its own


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a template.

    Attributes:
      name: as Dataflow passes it.
      help: what it is for.
      kind: its type in the console, of `TemplateMetadata`.
      group: under which heading the console shows it.
      required: whether a job needs it.
      several: whether the value is a list, whose items `SEPARATOR` separates.
      together: whether the command's option takes all of several values, in place of one each time it is given.
      flag: whether it is `true` or `false`; the command's option then takes no value.
      pattern: what a value, or each of several, looks like; "" where any will do.
      choices: the values there are; empty where there are others.
      positional: whether the command takes it without a name.
    """

    name: str
    help: str
    kind: str = "TEXT"
    group: str = _RUN
    required: bool = False
    several: bool = False
    together: bool = False
    flag: bool = False
    pattern: str = ""
    choices: tuple[str, ...] = ()
    positional: bool = False

    def faults(self, value: str) -> str:
        """Says what a value should look like, if it does not; "" where nothing is wrong."""
        if self.flag and value.lower() not in ("true", "false"):
            return "true or false"
        if self.choices and value not in self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.kind == "NUMBER" and not re.fullmatch(r"\d+", value):
            return "a whole number"
        wrong = [item for item in self.items(value) if self.pattern and not re.search(self.pattern, item)]
        expected = {_GCS: "a gs:// path", _SETTING: "name=value"}.get(self.pattern, self.pattern)
        return f"{expected}{f', not {wrong[0]!r}' if self.several else ''}" if wrong else ""

    def items(self, value: str) -> list[str]:
        """Takes a value apart."""
        if not self.several:
            return [value]
        other = re.match(r"\^([^^]+)\^", value)
        parts = value[other.end() :].split(other[1]) if other else value.split(SEPARATOR)
        return [part.strip() for part in parts if part.strip()]


def parameters(job: str) -> tuple[Parameter, ...]:
    """Gives the parameters of a job: the options of its command, and some of Beam's."""
    command = argparse.ArgumentParser(add_help=False)
    importlib.import_module(cli.module_of(job)).add_arguments(command)
    commands.add_debug(command)
    # Of a job that is not the usual one, the user has to name it: all jobs share an image.
    which = Parameter(name=JOB, help=f"Which job the image runs: {job}.", kind="ENUM", required=job != JOBS[0], choices=(job,))
    own = [_of(action) for action in command._actions if action.dest not in _LEFT_OUT]
    beams = {action.dest: action for action in beam_options()}
    return (*own, which, *(_of(beams[name]) for name in _BEAM))


def beam_options() -> list[argparse.Action]:
    """Gives all options of Beam."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for options in PipelineOptions.__subclasses__():
        if hasattr(options, "_add_argparse_args"):
            options._add_argparse_args(parser)
    return parser._actions


def _of(action: argparse.Action) -> Parameter:
    name, flag = action.dest, action.nargs == 0
    together = action.nargs in ("+", "*")
    several = together or isinstance(action, argparse._AppendAction)
    kind, pattern = _KINDS.get(name, ("BOOLEAN" if flag else "NUMBER" if action.type is int else "ENUM" if action.choices else "TEXT", ""))
    text = " ".join(_HELP.get(name, str(action.help)).split())
    text = f"{text[:1].upper()}{text[1:].rstrip('.')}."
    return Parameter(
        name=name,
        help=f"{text} Several are separated by {SEPARATOR}" if several else text,
        kind=kind,
        group=_GROUPS.get(name, _WORKERS if name in _BEAM else _RUN),
        required=action.required if action.option_strings else action.nargs != "?",
        several=several,
        together=together,
        flag=flag,
        pattern=pattern,
        choices=tuple(map(str, action.choices or ())),
        positional=not action.option_strings,
    )
