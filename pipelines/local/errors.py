"""Lets an error's message stand alone: without the tracebacks of the runner and of the workers."""

import builtins
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.local import prism, watchdog
from tokenreel import errors
from tokenreel.errors import BuildError, TokenreelError
from tokenreel.storage.redaction import redact
from tokenreel.wording import plain
from transforms.workers import quiet

_MESSAGE = 600  # characters of a message that others wrote
# What follows the frames of a traceback: the exception's class, without its module, and what it says, to the next blank line.
_RAISED = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)+(?:\w+\.)*(\w+)(?:: (.*(?:\n.+)*))?", re.MULTILINE)
_OS_ERRORS = "|".join(name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError))


def quiet_logging() -> None:
    """Shows Beam's warnings, but no tracebacks: the message of the error that they tell of is printed at the end. `--debug` shows all."""

    def wanted(record: logging.LogRecord) -> bool:
        record.msg, record.args = plain(redact(record.getMessage())), ()
        if quiet.wants_debug():
            return True
        if record.name.startswith(prism.LOGGERS):  # what fails there is raised here, too
            return False
        unwanted = ("Traceback (most recent", "of RPC that terminated with", "No semi_persistent_directory found")
        return not (record.exc_info and record.exc_info[0]) and not any(text in record.msg for text in unwanted)

    quiet.print_no_tracebacks()
    quiet.end_import()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s:%(name)s:%(message)s")
    for handler in logging.getLogger().handlers:
        if wanted.__qualname__ not in {getattr(known, "__qualname__", "") for known in handler.filters}:
            handler.addFilter(wanted)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Finds in what a runner raises the error that a worker meant, so that its message stands alone.

    Raises:
      TokenreelError: the error that caused the failure, or a `BuildError` that tells of any other exception.
      ModuleNotFoundError: a worker lacks a package.
    """
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, TokenreelError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise type(cause)(_without_step(str(cause))) from error
        # From another process only the text of the traceback arrives.
        found = re.findall(r"^tokenreel\.errors\.(\w+): (.*(?:\n  .*)*)", str(error), flags=re.MULTILINE)
        if found:
            kind, message = found[-1]
            raise getattr(errors, kind)(_without_step(message)) from error
        messages = re.findall(rf"^(?:\w+\.)*(?:{_OS_ERRORS}): (.*)", str(error), flags=re.MULTILINE)
        if messages or isinstance(error, OSError):
            what = _without_step(messages[-1] if messages else str(error))
            raise BuildError(f"{what}. Run the same command again: a build keeps what it has finished.") from error
        raise _unforeseen(error) from error


def _unforeseen(error: Exception) -> Exception:
    """Makes an error that says in a line what an exception says that nobody raised on purpose, and in which step of the graph."""
    if watchdog.is_starved(error):
        return BuildError(watchdog.starved(error))
    text = str(error)
    raised = _RAISED.findall(text)
    kind, message = raised[-1] if raised else (type(error).__name__, text)
    if kind == "ModuleNotFoundError":
        message = _without_step(message)
        name = re.search(r"No module named '([^']+)'", message)
        return ModuleNotFoundError(message, name=name and name[1].split(".")[0])
    step = re.search(r"\[while running '([^']+)'\]", text)
    place = f" in step {step[1]}" if step else ""
    what = _without_step(message).strip()[:_MESSAGE].rstrip(".")
    return BuildError(
        f"a worker failed{place}: {kind}{f': {what}' if what else ''}. Run the same command again with --debug for where and why; a build "
        "keeps what it has finished."
    )


def _without_step(message: str) -> str:
    return re.sub(r"\s*\[while running .*?\]\s*$", "", message, flags=re.DOTALL)
