"""Changing a small file that others change at the same time: each change is made to what the one before it left, and none is lost."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator

from tokenreel.errors import BuildError
from tokenreel.storage import files, gcs

_ATTEMPTS = 20  # of changes to an object that others change meanwhile


def replace(path: str, change: Callable[[bytes | None], bytes | None]) -> None:
    """Replaces the content of a file by what follows from it; readers see the old or the new one, whole.

    In a bucket the object is written under the condition that it is still the generation that was read; who finds that another wrote the
    very bytes that it would write has done its change, too. On a disk the file's directory is locked meanwhile.

    Args:
      path: of the file, local or `gs://`; the directory of a local one is made if it is not there.
      change: called with what the file holds, None where there is none, and perhaps again if it changed; returns the new content, or None
        to leave it.

    Raises:
      BuildError: others kept changing the object.
    """
    if not files.is_remote(path):
        with alone(os.path.dirname(path) or "."):
            data = change(_read_local(path))
            if data is not None:
                files.write_bytes(path, data)
        return
    for _ in range(_ATTEMPTS):
        found = gcs.stat(path)
        try:
            before = None if found is None else gcs.read(path, generation=found.generation)
        except FileNotFoundError:  # another generation by now
            continue
        data = change(before)
        if data is None or gcs.put(path, data, 0 if found is None else found.generation) is not None:
            return
    raise BuildError(f"{path}: other processes keep changing it. Let them finish, and run the same command again.")


def _read_local(path: str) -> bytes | None:
    try:
        return files.read_bytes(path)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def alone(directory: str) -> Iterator[None]:
    """Keeps other processes of this machine, and other threads, out of a local directory, which is made if it is not there.

    Only those that ask for it in the same way are kept out, until the body ends or the process does.
    """
    os.makedirs(directory, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
