"""Locks an output, on a disk or in a bucket, so that one build owns it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from typing import Any

from tokenreel.errors import BuildError
from tokenreel.storage import claims, files, object_lock
from tokenreel.storage.object_lock import ObjectHold

LOCK = claims.RECORD  # the object; on a disk the directory itself is locked, and holds the file while a job has a claim to it


@contextlib.contextmanager
def lock(directory: str, lost: Callable[[str], None] | None = None) -> Iterator[LocalHold | ObjectHold]:
    """Keeps a second job out of an output directory, of a dataset or of a tokenizer, while this one runs.

    The system releases a local lock when the process ends, however. In a bucket the lock is an object that its holder keeps fresh; what
    happens to it when the holder is killed, and when `lost` is called, is told in `object_lock`.

    Args:
      directory: of the output, local or `gs://`; a local one is made if it is not there.
      lost: called from another thread with a message when another job took a lock in a bucket over; by default the process ends.

    Yields:
      what gives claims to the output, and hands it over to a job that nobody waits for.

    Raises:
      BuildError: another job is running there, or the directory cannot be written to.
    """
    if files.is_remote(directory):
        with object_lock.hold(claims.path_in(directory), lost=lost) as remote:
            yield remote
        return
    try:
        os.makedirs(directory, exist_ok=True)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise BuildError(f"{directory}: cannot write here ({error.strerror}). Choose another --output.") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            other = claims.holder(directory)
        except BlockingIOError:
            raise _busy(directory) from None
        if other is not None:
            raise _refusal(directory, other)
        hold = LocalHold(directory)
        try:
            yield hold
            hold.tidy()
        finally:
            hold.end()
    finally:
        os.close(fd)


class LocalHold:
    """A local output that this process has locked."""

    def __init__(self, directory: str) -> None:
        self._directory, self._owner = directory, object_lock.this_process()
        self._claim: claims.Claim | None = None
        self._handed_over = False

    def claim(self) -> claims.Claim:
        """Gives the right to write to the output, for a job to carry: one that an earlier holder gave is worth nothing from now on.

        Raises:
          BuildError: a job that nobody waits for has it.
        """
        if self._claim is None:
            try:
                other = claims.take(self._directory, self._owner)
            except BlockingIOError:
                raise _busy(self._directory) from None
            if other is not None:
                raise _refusal(self._directory, other)
            self._claim = claims.Claim(self._directory, str(self._owner["id"]))
        return self._claim

    @contextlib.contextmanager
    def handing_over(self) -> Iterator[dict[str, Any]]:
        """Leaves the output to a job that the body starts; see `ObjectHold.handing_over`."""
        claim, told = self.claim(), dict[str, Any]()
        yield told
        claims.change(claim, {"host": self._owner["host"], "id": claim.token, **told})
        self._claim, self._handed_over = None, True

    def tidy(self) -> None:
        """Removes the record that a killed job left, where nothing was to be done; a command that is refused changes nothing."""
        if self._claim is None and not self._handed_over:
            claims.forget(self._directory)

    def end(self) -> None:
        """Gives the output back, unless a job has it."""
        if self._claim is not None:
            self._claim.release()


def _busy(directory: str) -> BuildError:
    return BuildError(f"{directory}: another job is writing here. Wait for it, or choose another --output.")


def _refusal(directory: str, other: dict[str, Any]) -> BuildError:
    return object_lock.refusal(directory, other, other["silent"], claims.JOB_STALE)
