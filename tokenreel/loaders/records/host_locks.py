"""Locks that all processes of a host share, as files of a directory; the kernel frees one when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator

from tokenreel.errors import StorageError
from tokenreel.loaders import forks
from tokenreel.storage import gcs

# Whoever fetches a shard may wait so long for the storage without a byte, and a little for its disk.
PATIENCE = gcs.PATIENCE + 60.0
_POLLS = (0.002, 0.01, 0.05, 0.2)  # seconds between attempts, the last for all that follow


class HostLocks:
    """Locks by name.

    A lock belongs to an open file, which a forked child would share with its parent: it would hold what its parent locked, for as long as
    it lives. So children close these files, and a lock is given back before its file is closed.

    Args:
      directory: of the files.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self._held: set[int] = set()  # descriptors
        forks.renew_in_children(self)

    def __reduce__(self) -> tuple[type[HostLocks], tuple[str]]:
        return HostLocks, (self.directory,)

    def after_fork(self) -> None:
        """Lets go of what the parent holds, which keeps it."""
        for descriptor in self._held:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._held = set()

    @contextlib.contextmanager
    def hold(self, name: str, *, wait: bool = True, progress: Callable[[], object] = lambda: None) -> Iterator[bool]:
        """Holds a lock.

        Args:
          name: of the lock.
          wait: whether to wait for another holder.
          progress: gives what changes while another holder gets on; with the same value for `PATIENCE` seconds it counts as stuck.

        Yields:
          whether the lock is held; False only where it is not waited for.

        Raises:
          StorageError: another process holds it and does not get on; names it.
        """
        path = os.path.join(self.directory, name)
        process = os.getpid()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        self._held.add(descriptor)
        try:
            held = _try(descriptor) or (wait and _wait(descriptor, path, progress))
            if held:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(process).encode(), 0)  # for the message of whoever waits in vain
            yield held
        finally:
            # A child that was forked in the body has closed it, and must not close another's file of the same number.
            if os.getpid() == process:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                self._held.discard(descriptor)
                os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait(descriptor: int, path: str, progress: Callable[[], object]) -> bool:
    """Tries again and again, for as long as the holder gets on.

    Raises:
      StorageError: it does not.
    """
    seen, since, attempt = progress(), time.monotonic(), 0
    while True:
        time.sleep(_POLLS[min(attempt, len(_POLLS) - 1)])
        if _try(descriptor):
            return True
        attempt += 1
        if (now := progress()) != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
            raise StorageError(
                f"{path}: process {holder} of this host has held this lock of the shard cache for {PATIENCE:g} seconds without getting on. "
                "End it if it hangs, or load the dataset with another cache directory."
            )
