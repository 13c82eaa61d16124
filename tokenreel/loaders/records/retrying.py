"""The one policy for reads of a dataset that fail, in the loader.

A failure that may pass (a broken connection, a time-out, HTTP 408, 429 or 5xx) is tried again after 0.5, 1, 2, 4, 8, 16 and then 30 seconds
each: 15 attempts with 271.5 seconds between them, of which none begins later than 300 seconds after the first failure. The figures are the
storage's own (`gcs.FIRST_DELAY`, `gcs.LONGEST_DELAY`, `gcs.PATIENCE`). Where the storage library sees the failure it waits by them itself,
and what it then gives up on is not tried again here: a storage that stays away costs 300 seconds once, not once for each attempt.

Bytes that differ from the manifest may have been altered on their way, and are read again. Where the same wrong bytes come twice, the file
itself is damaged: that is an error at once. A storage that gives other wrong bytes each time lies; it is asked `WRONG_READS` times.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

from tokenreel.errors import ManifestError, StorageError, TokenreelError
from tokenreel.loaders.records.base import COPY_AGAIN
from tokenreel.storage import gcs

T = TypeVar("T")


def _delays() -> tuple[float, ...]:
    """Doubles the storage's first delay up to its longest, for as long as their sum stays within its patience."""
    delays: list[float] = []
    while sum(delays) + (following := min(gcs.FIRST_DELAY * 2 ** len(delays), gcs.LONGEST_DELAY)) <= gcs.PATIENCE:
        delays.append(following)
    return tuple(delays)


DELAYS = _delays()  # seconds before the second attempt, the third, ...
ATTEMPTS = len(DELAYS) + 1
WRONG_READS = 6  # that differ from the manifest, each otherwise, until a file is given up
# Failures of this machine, whose disk may be the target of a copy: waiting does not end them.
_STAYING = {errno.EACCES, errno.EDQUOT, errno.EISDIR, errno.EMFILE, errno.ENAMETOOLONG, errno.ENFILE, errno.ENOSPC, errno.ENOTDIR}
_STAYING |= {errno.EPERM, errno.EROFS}


class VanishedError(ManifestError):
    """A shard is no longer there, or not in the version that was opened."""


class WrongBytesError(ManifestError):
    """What was read differs from the manifest.

    Attributes:
      crc: CRC32C of the bytes, by which they are known again.
    """

    def __init__(self, message: str, crc: int) -> None:
        super().__init__(message)
        self.crc = crc


def retrying(action: Callable[[], T], name: str) -> T:
    """Runs an action that reads a file, again after a failure that may pass; see the module for how often and how long.

    Args:
      action: reads, and raises a `WrongBytesError` if the bytes differ from the manifest.
      name: of the file, for errors.

    Raises:
      ManifestError: the file is gone, its bytes differ from the manifest and are the same when they are read again, or it cannot be read
        after all attempts; names the last failure.
      StorageError: the storage refused, or kept failing for its own patience.
      Exception: the action's own, where trying again does not help.
    """
    failure: Exception
    deadline: float | None = None
    seen: set[int | str] = set()  # of what was wrong
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return action()
        except FileNotFoundError:
            raise VanishedError(f"{name}: the shard vanished after the dataset was opened. {COPY_AGAIN}") from None
        except StorageError:
            raise  # has been waited for by the same policy, or does not pass
        except TokenreelError as error:
            wrong = error.crc if isinstance(error, WrongBytesError) else str(error)
            if wrong in seen or len(seen) == WRONG_READS - 1:
                raise
            seen.add(wrong)
            failure = error
        except Exception as error:
            if not _passes(error):
                raise
            failure = error
        now = time.monotonic()
        # From the first failure on: a copy of a large shard may itself take longer than this.
        deadline = now + gcs.PATIENCE if deadline is None else deadline
        if attempt == ATTEMPTS or now + DELAYS[attempt - 1] > deadline:
            break
        time.sleep(DELAYS[attempt - 1])
    raise ManifestError(f"{name}: cannot be read after {attempt} attempts ({failure!r}). Check the network and the bucket.") from failure


def _passes(error: Exception) -> bool:
    """Says whether a failure may be gone the next time: connections, time-outs, 408, 429 and 5xx."""
    if isinstance(error, OSError):  # sockets raise it, and so does `requests`
        return error.errno not in _STAYING
    code = getattr(error, "code", None)
    return isinstance(code, int) and (code in (408, 429) or code >= 500)
