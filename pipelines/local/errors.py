"""Lets an error's message stand alone: without the tracebacks of the runner and of the workers."""

import builtins
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from tokenreel import errors
from tokenreel.errors import BuildError, TokenreelError
from tokenreel.storage.redaction import redact

_OS_ERRORS = "|".join(name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError))


def quiet_logging() -> None:
    """Shows Beam's warnings, but neither the tracebacks of errors whose message will be printed alone nor what every worker says."""

    def wanted(record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        meant = record.exc_info is not None and isinstance(record.exc_info[1], TokenreelError)
        message = record.msg
        return not meant and "tokenreel.errors." not in message and "No semi_persistent_directory found" not in message

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s:%(name)s:%(message)s")
    for handler in logging.getLogger().handlers:
        if wanted.__qualname__ not in {getattr(known, "__qualname__", "") for known in handler.filters}:
            handler.addFilter(wanted)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Finds in what a runner raises the error that a worker meant, so that its message stands alone.

    Raises:
      TokenreelError: the error that caused the failure.
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
        raise


def _without_step(message: str) -> str:
    return re.sub(r"\s*\[while running .*?\]\s*$", "", message, flags=re.DOTALL)
