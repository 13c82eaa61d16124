"""What Beam's workers and its import write to the terminal beside the one message that a user needs.

`--debug` lets all of it through: the environment tells it to worker processes.

Tested in tests/pipelines/test_mistakes.py and tests/pipelines/test_core_installation.py.
"""

import builtins
import logging
import os
from typing import Any

DEBUG = "TOKENREEL_DEBUG"  # in the environment of a build and its workers


def wants_debug() -> bool:
    """Says whether the user asked for everything."""
    return bool(os.environ.get(DEBUG))


# What Python itself does with records while nothing is set up. As a handler it keeps Beam's import from setting up one that prints all that
# workers say.
_UNTIL_SET_UP = logging.lastResort or logging.NullHandler()


def drop_import_warning() -> None:
    """Drops what Beam logs when it is imported without Google's packages, which no build needs. To be called before the import."""

    def wanted(record: logging.LogRecord) -> bool:
        return "apitools not found" not in str(record.msg)

    logging.getLogger().addFilter(wanted)
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(_UNTIL_SET_UP)


def end_import() -> None:
    """Lets logging be set up, after Beam is imported."""
    logging.getLogger().removeHandler(_UNTIL_SET_UP)


def print_no_tracebacks() -> None:
    """Keeps workers in this process from printing each exception with its traceback; it also reaches the runner, which raises it."""
    from apache_beam.runners.worker import sdk_worker

    def print_unless_traceback(*values: Any, **settings: Any) -> None:
        if wants_debug() or not any(str(value).startswith("Traceback ") for value in values):
            builtins.print(*values, **settings)

    sdk_worker.print = print_unless_traceback  # found before the builtin of that name
