"""The commands of a trainer: one table of them, and one way to run them and to say what went wrong.

The trainer's wheel has each as a program of its own (`tokenreel-inspect`), the job has them under `tokenreel`.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence

from tokenreel.errors import BuildError, LostOutputError, StorageError, TokenreelError, describe_os_error
from tokenreel.storage.object_lock import EXIT_LOST
from tokenreel.storage.redaction import redact
from tokenreel.wording import plain

COMMANDS: Mapping[str, tuple[str, str]] = {
    "inspect": ("tokenreel.commands.inspect", "show decoded examples of a dataset in the terminal"),
    "verify": ("tokenreel.commands.verify", "check every byte and every number of a dataset"),
    "report": ("tokenreel.commands.report", "what a dataset consists of, as one HTML page"),
    "where": ("tokenreel.commands.where", "the documents in a step of a training run"),
    "when": ("tokenreel.commands.when", "the steps of a training run that see an example or a document"),
    "shelf": ("tokenreel.commands.shelf", "push, fetch and list vocabularies, configs, models and small datasets by name"),
}
"""Name: module and description. The module has `add_arguments(parser)` and `run(arguments)`; it is imported when its command is given."""

_NOT_FOUND = 404  # HTTP
_LONGEST = 4000  # characters of a message: what two screens hold
_OWN = ("tokenreel", "transforms", "pipelines")


def add_debug(parser: argparse.ArgumentParser) -> None:
    """Declares the option that every command has."""
    parser.add_argument("--debug", action="store_true", help="print where an error was raised, and all that libraries say of it")


def exit_code(program: str, run: Callable[[], int], *, debug: bool = False) -> int:
    """Runs a command, and prints what it raises on purpose, or a package that is missing, as one message without a traceback or secrets.

    Args:
      program: begins the message.
      run: the command.
      debug: prints the traceback too, in front of the message.

    Returns:
      what `run` returns; 1 for a failure of the build, the storage or the system; 2 for a mistake in the arguments, the settings or the
      input; 71 where the output is another job's by now; 130 if the user interrupted it.
    """

    def trace() -> None:
        if debug:
            print(plain(redact(traceback.format_exc())), file=sys.stderr)

    def say(message: str) -> None:
        # What others wrote into names and values must neither steer the terminal nor fill it.
        more = f" ... ({len(message) - _LONGEST:,} more characters)" if len(message) > _LONGEST else ""
        print(f"{program}: error: {plain(message[:_LONGEST])}{more}", file=sys.stderr)

    try:
        return run()
    except TokenreelError as error:
        trace()
        say(redact(error))
        if isinstance(error, LostOutputError):
            return EXIT_LOST
        mistaken = isinstance(error, StorageError) and error.code == _NOT_FOUND  # a bucket that is not there, as a folder that is not
        return 1 if isinstance(error, (BuildError, StorageError)) and not mistaken else 2
    except ModuleNotFoundError as error:  # an optional package; one of our own modules cannot be installed
        if error.name is not None and error.name.split(".")[0] in _OWN:
            raise
        trace()
        advice = "" if error.name is None else f": pip install {error.name}"  # without a name, the message says it
        say(f"{error}{advice}")
        return 2
    except OSError as error:  # a disk that is full, a file that may not be read: the system says what, and of which file
        trace()
        say(redact(describe_os_error(error)))
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130


def main(name: str, argv: Sequence[str] | None = None) -> int:
    """Runs one of `COMMANDS` as the program `tokenreel-<name>`.

    Returns:
      its exit code; see `exit_code`.
    """
    path, description = COMMANDS[name]
    module = importlib.import_module(path)
    parser = argparse.ArgumentParser(prog=f"tokenreel-{name}", description=f"{description[0].upper()}{description[1:]}.")
    module.add_arguments(parser)
    add_debug(parser)
    arguments = parser.parse_args(argv)
    return exit_code(parser.prog, lambda: int(module.run(arguments)), debug=arguments.debug)
