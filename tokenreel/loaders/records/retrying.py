"""Reads of a bucket that failed, tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from tokenreel.errors import ManifestError, TokenreelError
from tokenreel.loaders.records.base import COPY_AGAIN

T = TypeVar("T")

ATTEMPTS = 6
FIRST_DELAY = 0.1  # seconds; doubles with each attempt


def retrying(action: Callable[[], T], name: str) -> T:
    """Runs an action that talks to a server, again after a failure that may pass: 6 times within about 3 seconds.

    Raises:
      ManifestError: it failed for good; names the file and the last failure.
    """
    failure: BaseException | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(FIRST_DELAY * 2 ** (attempt - 1))
        try:
            return action()
        except FileNotFoundError:
            raise ManifestError(f"{name}: the shard vanished after the dataset was opened. {COPY_AGAIN}") from None
        except TokenreelError as error:
            failure = error  # bytes that differ may have been altered on their way: worth one more look
            if attempt:
                raise
        except Exception as error:
            if not _passes(error):
                raise
            failure = error
    raise ManifestError(f"{name}: cannot be read after {ATTEMPTS} attempts ({failure!r}). Check the network and the bucket.") from failure


def _passes(error: Exception) -> bool:
    """Whether a failure may be gone the next time: connections, time-outs, 429 and 5xx."""
    if isinstance(error, OSError):  # of sockets, and of `requests`
        return not isinstance(error, PermissionError)
    code = getattr(error, "code", None)
    return isinstance(code, int) and (code in (408, 429) or code >= 500)
