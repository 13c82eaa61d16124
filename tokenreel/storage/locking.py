"""Locks an output, on a disk or in a bucket, so that one build owns it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

from tokenreel.errors import BuildError
from tokenreel.storage import files, object_lock

LOCK = ".tokenreel.lock"  # the object; on a disk the directory itself is locked, and holds no file of ours


@contextlib.contextmanager
def lock(directory: str, lost: Callable[[str], None] | None = None) -> Iterator[None]:
    """Keeps a second job out of an output directory, of a dataset or of a tokenizer, while this one runs.

    The system releases a local lock when the process ends, however. In a bucket the lock is an object that its holder keeps fresh; what
    happens to it when the holder is killed, and when `lost` is called, is told in `object_lock`.

    Args:
      directory: of the output, local or `gs://`; a local one is made if it is not there.
      lost: called from another thread with a message when another job took a lock in a bucket over; by default the process ends.

    Raises:
      BuildError: another job is running there, or the directory cannot be written to.
    """
    if files.is_remote(directory):
        with object_lock.hold(files.join(directory, LOCK), lost=lost):
            yield
        return
    try:
        os.makedirs(directory, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BuildError(f"{directory}: cannot write here ({error.strerror}). Choose another --output.") from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BuildError(f"{directory}: another job is writing here. Wait for it, or choose another --output.") from None
    finally:
        os.close(fd)
