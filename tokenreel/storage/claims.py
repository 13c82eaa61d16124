"""The right of one job to write to an output: what its workers carry, and what tells them that another job has the output now.

Whoever locks an output leaves a record there that holds a token of its own. Its job looks at the record before each write, so a job whose
output was taken over writes nothing more. What it was writing just then lies under a name of its build, where nobody takes it for that of
another; files are moved to their places in `placing`, which no other job can come between.

On a disk the record is a file that is locked while it is written and while files are moved. In a bucket it is the lock itself, an object.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tokenreel.errors import LostOutputError
from tokenreel.storage import files, gcs

RECORD = ".tokenreel.lock"
JOB_STALE = 86_400.0  # seconds without a sign of life after which a job that nobody waits for may be dead: it may queue for hours
_SIGN_OF_LIFE = 60.0  # seconds between those of such a job, of all its workers together
_FORCES = {"shared": fcntl.LOCK_SH, "alone": fcntl.LOCK_EX, "at once": fcntl.LOCK_EX | fcntl.LOCK_NB, "look": fcntl.LOCK_SH | fcntl.LOCK_NB}


@dataclasses.dataclass(frozen=True)
class Claim:
    """The right to write to an output, as a job carries it to its workers.

    Attributes:
      directory: of the output, local or `gs://`.
      token: names whoever took it; no two are equal.
    """

    directory: str
    token: str

    @property
    def path(self) -> str:
        """Where the record lies."""
        return path_in(self.directory)

    def check(self) -> None:
        """Looks whether the output is still this job's; to be called before each write.

        Raises:
          LostOutputError: another job has it, or somebody took the lock away.
        """
        found = self._found()
        self._compare(found)
        if "job" in found:
            files.touch(self.path, after=_SIGN_OF_LIFE)

    def _found(self) -> dict[str, Any]:
        """Reads the record; one that is this job's tells so in one request, as no other and no part of one does."""
        if files.is_remote(self.directory):
            with contextlib.suppress(FileNotFoundError):
                found = _parse(gcs.peek(self.path))
                if found.get("id") == self.token:
                    return found
        return read(self.directory)

    def _compare(self, found: Mapping[str, Any]) -> None:
        if found.get("id") != self.token:
            who = f"{describe(found)} took this output over" if found else "the lock of this output was taken away"
            raise LostOutputError(
                f"{self.directory}: {who}. This job stops before it writes anything more: let the other one finish, or cancel it and run "
                "this one again."
            )

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Keeps other jobs from taking the output while the body runs; on a disk, for a bucket has no such thing.

        Raises:
          LostOutputError: as `check`.
        """
        if files.is_remote(self.directory):
            self.check()
            yield
            return
        with _opened(self.path, "alone") as fd:
            self._compare(_read(fd))
            yield

    def release(self) -> None:
        """Gives the output back, if it is still this job's."""
        if not files.is_remote(self.directory):
            with _opened(self.path, "alone") as fd:
                if _read(fd).get("id") == self.token:
                    os.unlink(self.path)
            return
        # A sign of life changes the generation, which the removal names: then the next look finds it.
        while (found := gcs.stat(self.path)) is not None and read(self.directory).get("id") == self.token:
            gcs.remove(self.path, found.generation)


@dataclasses.dataclass(frozen=True)
class Folder:
    """A directory that a job writes to for as long as its output is its own.

    Attributes:
      path: of the directory.
      claim: to the output; None for who works alone.
    """

    path: str
    claim: Claim | None = None

    def ready(self) -> str:
        """Gives the path for one write, after a look at the claim.

        Raises:
          LostOutputError: another job has the output.
        """
        if self.claim is not None:
            self.claim.check()
        return self.path


def path_in(directory: str) -> str:
    """Says where the record of an output lies."""
    return files.join(directory, RECORD)


def describe(record: Mapping[str, Any]) -> str:
    """Says who left a record: a job that nobody waits for, or a process."""
    if "job" in record:
        where = f" ({record['url']})" if record.get("url") else ""
        return f"job {record['job']}{where}"
    return f"process {record.get('pid', '?')} on {record.get('host', '?')}"


def read(directory: str) -> dict[str, Any]:
    """Reads the record in an output; empty where there is none, or none of our making."""
    path = path_in(directory)
    if not files.is_remote(directory):
        with _opened(path, "shared") as fd:
            return _read(fd)
    try:
        return _parse(gcs.read(path))
    except FileNotFoundError:
        return {}


def peek(directory: str) -> dict[str, Any]:
    """Reads the record in an output without waiting for its lock or taking it, so that nobody finds it taken; empty where there is none."""
    if files.is_remote(directory):
        return read(directory)
    for _ in range(3):  # it is emptied while it is written
        try:
            found = _parse(files.read_bytes(path_in(directory)))
        except OSError:
            return {}
        if found:
            return found
        time.sleep(0.01)
    return {}


def _parse(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def _opened(path: str, force: str, *, made: bool = False) -> Iterator[int | None]:
    """Opens and locks a local record; gives its descriptor, None where there is none.

    Raises:
      BlockingIOError: another process has it, and `force` is "at once" or "look".
    """
    while True:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if made else 0), 0o644)
        except FileNotFoundError:
            yield None
            return
        try:
            fcntl.flock(fd, _FORCES[force])
            if _lies_at(path, fd):  # else it was removed, and perhaps made anew, while we waited
                yield fd
                return
        finally:
            os.close(fd)


def _lies_at(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _read(fd: int | None) -> dict[str, Any]:
    return {} if fd is None else _parse(os.pread(fd, 1 << 16, 0))


def take(directory: str, record: Mapping[str, Any]) -> dict[str, Any] | None:
    """Leaves a record in a local output, unless a job that nobody waits for has it.

    Args:
      directory: of the output, which nobody else locks at the time.
      record: who takes it; `id` is the token.

    Returns:
      None; what the other one left where it keeps the output, with its `silent` seconds.

    Raises:
      BlockingIOError: a job is just moving its files to their places.
    """
    path = path_in(directory)
    with _opened(path, "at once", made=True) as fd:
        assert fd is not None
        other = _job(path, fd)
        if other is None:
            _write(fd, record)
    return other


def holder(directory: str) -> dict[str, Any] | None:
    """Gives what a job that nobody waits for left in a local output, with its `silent` seconds; None where there is no such job.

    Raises:
      BlockingIOError: a job is just moving its files to their places.
    """
    path = path_in(directory)
    with _opened(path, "look") as fd:
        return _job(path, fd)


def _job(path: str, fd: int | None) -> dict[str, Any] | None:
    """Reads what a job that nobody waits for left in a record, if it may still be alive, with its `silent` seconds."""
    found, silent = _read(fd), files.age(path)
    return {**found, "silent": silent} if "job" in found and silent < JOB_STALE else None


def forget(directory: str) -> None:
    """Removes what a process left that ended before it gave a local output back; for who has locked that output and needs no claim."""
    path = path_in(directory)
    with contextlib.suppress(OSError), _opened(path, "at once") as fd:  # where nothing can be removed, it does no harm
        if fd is not None and "job" not in _read(fd):
            os.unlink(path)


def change(claim: Claim, record: Mapping[str, Any]) -> None:
    """Changes what a local record says, if it is still there and the claim's."""
    with _opened(claim.path, "alone") as fd:
        if fd is not None and _read(fd).get("id") == claim.token:
            _write(fd, record)


def _write(fd: int, record: Mapping[str, Any]) -> None:
    data = json.dumps({**record, "written": time.time()}, sort_keys=True).encode()
    os.ftruncate(fd, 0)
    os.pwrite(fd, data, 0)
    os.fsync(fd)
