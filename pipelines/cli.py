"""The command `tokenreel`.

Tested in tests/tokenreel/commands/test_main.py.
"""

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import NoReturn

import tokenreel
from tokenreel import commands
from tokenreel.wording import plain
from transforms.workers import quiet

# Each module has `add_arguments(parser)` and `run(arguments)`; it is imported when its command is given.
COMMANDS = {
    "init": ("pipelines.init", "copy a recipe, ready to run, or list the recipes"),
    "train-tokenizer": ("pipelines.train_tokenizer", "raw text to a tokenizer and a report on it"),
    "try-tokenizer": ("pipelines.try_tokenizer", "what a tokenizer makes of files, and how fast, beside its library"),
    "plan": ("pipelines.plan", "what a build will take and give: tokens, examples, disk, reads, time and money"),
    "build": ("pipelines.build", "raw text to a dataset: training-ready shards"),
    "status": ("pipelines.status", "what a running or dead build has done, who has its output, and what to do"),
    "cache-tasks": ("pipelines.cache_tasks", "registered tasks to caches: what their steps before the placeholder make, once"),
    "extract-features": ("pipelines.extract_features", "what a model says of a dataset, by example and by document"),
    **commands.COMMANDS,
    "publish": ("pipelines.publish", "make a finished dataset the one that a pointer names, which trainers read"),
    "clean": ("pipelines.clean", "remove old datasets of a scheduled job and what dead builds left, never what a pointer names"),
    "cache": ("pipelines.cache", "list and clear the token cache: stage files that builds have kept"),
}
_JOBS = ("build", "cache-tasks", "extract-features", "train-tokenizer")  # Beam jobs: they take Beam's options, and have `summary(found)`
_MAY_BE_JOBS = {"verify": "pipelines.verify"}  # jobs only where they are given such options; in place of the trainer's
_BEAM = "Other options go to Beam, such as --direct_num_workers=1 or --runner=DataflowRunner."


def main(argv: Sequence[str] | None = None, *, ends: bool = False) -> int:
    """Runs a command.

    Args:
      argv: the arguments; by default those of the process, which then ends with the command.
      ends: the process ends with the command, with other arguments too: a job that failed ends it, for the runner may leave threads behind
        that never end, and garbage is left where it is.

    Returns:
      0 for success, 1 for a failure (a build that could not finish, a dataset that is not what it should be), 2 for a mistake in the
      arguments, the settings or the input.
    """
    ends, given = ends or argv is None, list(sys.argv[1:] if argv is None else argv)
    argv = [argument for argument in given if argument != "--debug"]  # wherever it stands, behind the actions of `cache` too
    debug = len(argv) < len(given)
    parser = argparse.ArgumentParser(prog="tokenreel", description=(tokenreel.__doc__ or "").splitlines()[0])
    parser.add_argument("--version", action="version", version=f"tokenreel {tokenreel.__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((argument for argument in argv if argument in COMMANDS), None)
    module = None
    for name, (_, description) in COMMANDS.items():
        command = subparsers.add_parser(
            name, help=description, description=description, epilog=_BEAM if name in (*_JOBS, *_MAY_BE_JOBS) else None
        )
        if name == chosen:
            with _no_collections() if ends else nullcontext():
                module = importlib.import_module(module_of(name))
            module.add_arguments(command)
            commands.add_debug(command)
    arguments, rest = parser.parse_known_args(argv)
    assert module is not None
    if rest and chosen not in (*_JOBS, *_MAY_BE_JOBS):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")

    def run() -> int:
        if chosen not in (*_JOBS, *_MAY_BE_JOBS):
            return int(module.run(arguments))
        try:
            found = module.run(arguments, rest)
        except Exception as error:
            if ends:
                _end_with(error, debug)
            raise
        if chosen not in _JOBS:
            return int(found)
        if found is not None:
            print(plain(module.summary(found)))
        return 0

    with _debug(debug):
        code = commands.exit_code("tokenreel", run, debug=debug)
    if ends:
        gc.freeze()  # else the interpreter looks at all objects before it ends, several times: 0.4 s behind Beam
    return code


@contextmanager
def _no_collections() -> Iterator[None]:
    """Collects no garbage while modules are imported, and never looks at what they made: both are a seventh of the time to import Beam."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def module_of(command: str) -> str:
    """Names the module that a command is in."""
    return _MAY_BE_JOBS.get(command, COMMANDS[command][0])


def _end_with(error: Exception, debug: bool) -> NoReturn:
    """Tells of a job's error and ends the process while the error, and what it holds, is there: servers of the runner may never stop."""
    from pipelines.local import watchdog  # loads Beam, which other commands do without

    def fail() -> int:
        raise error

    watchdog.end(lambda: commands.exit_code("tokenreel", fail, debug=debug))


@contextmanager
def _debug(wanted: bool) -> Iterator[None]:
    """Tells the runner and the workers of this process, and those that it starts, to print everything."""
    before = os.environ.pop(quiet.DEBUG, None)
    if wanted:
        os.environ[quiet.DEBUG] = "1"
    try:
        yield
    finally:
        os.environ.pop(quiet.DEBUG, None)
        if before is not None:
            os.environ[quiet.DEBUG] = before


if __name__ == "__main__":
    sys.exit(main())
