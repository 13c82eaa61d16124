"""A lock in a bucket: an object that exists while its holder lives.

The object is created under the condition that there is none, and its holder writes it again every `HEARTBEAT` seconds. Nobody can release
the lock of a process that was killed, so others may take it over:

- at once, where the holder was a process of the same machine that is gone;
- otherwise when it was not written for `STALE` seconds. Since clocks differ, it is then watched for two more heartbeats, and taken over
  under the condition that nobody wrote it.

A holder whose lock was taken over (it slept for minutes) finds out at its next heartbeat and stops. What its job has on other machines
looks at the lock before each write (`claims`).

A job that nobody waits for keeps the lock when its launcher ends, and shows signs of life when it writes. Since it may queue for hours, its
lock is taken over after a day without one; to be faster, remove the object.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tokenreel.errors import BuildError, StorageError
from tokenreel.storage import claims, gcs

HEARTBEAT = 15.0  # seconds between two writings; each is one request
STALE = 90.0  # seconds without one after which a holder may be dead: six heartbeats that failed, or a machine that slept
EXIT_LOST = 71  # EX_OSERR of sysexits.h; a launcher can tell a lost lock from a failed build


def this_process() -> dict[str, Any]:
    """Describes this process as the holder of a lock, with a token of its own."""
    # `boot` and `started` tell whether a process of this machine is the same one: its number alone is given away again.
    return {
        "boot": _boot(),
        "host": socket.gethostname(),
        "id": secrets.token_hex(8),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }


@contextlib.contextmanager
def hold(path: str, *, lost: Callable[[str], None] | None = None) -> Iterator[ObjectHold]:
    """Holds a lock.

    Args:
      path: of the object.
      lost: called from another thread with a message when somebody took the lock over; by default the process ends with `EXIT_LOST`.

    Yields:
      what hands it over to a job.

    Raises:
      BuildError: somebody else holds it; says who, and how to take it over.
    """
    owner = this_process()
    generation = _acquire(path, owner)
    heart = _Heart(path, owner, generation, lost or _end)
    heart.start()
    try:
        yield ObjectHold(heart)
    finally:
        heart.stop()


class ObjectHold:
    """A lock in a bucket that this process holds."""

    def __init__(self, heart: _Heart) -> None:
        self._heart = heart

    def claim(self) -> claims.Claim:
        """Gives the right to write to the output, for a job to carry."""
        return claims.Claim(self._heart.path.rpartition("/")[0], str(self._heart.owner["id"]))

    @contextlib.contextmanager
    def handing_over(self) -> Iterator[dict[str, Any]]:
        """Leaves the lock to a job that the body starts.

        Yields:
          what the lock is to say of the job: the body adds `job`, and `url` where there is one. A body that fails hands nothing over.
        """
        told: dict[str, Any] = {}
        self._heart.is_alone = False  # the job may be done, and have given the lock back, before it is described
        yield told
        self._heart.leave(told)


def _content(owner: dict[str, Any]) -> bytes:
    """Makes what a lock holds: who holds it, and when it was written, so that each heartbeat changes its bytes."""
    return json.dumps({**owner, "written": time.time()}, sort_keys=True).encode()


def _acquire(path: str, owner: dict[str, Any]) -> int:
    """Takes the lock, from nobody or from a holder that is gone.

    Returns:
      its generation.

    Raises:
      BuildError: somebody holds it.
    """
    for _ in range(3):  # a lock that is released while we look at it
        generation = gcs.put(path, _content(owner), 0)
        if generation is not None:
            return generation
        found = gcs.stat(path)
        if found is None:
            continue
        holder = claims.read(path.rpartition("/")[0])
        limit = claims.JOB_STALE if "job" in holder else STALE
        # Taken over only in the state that was looked at: of two processes that find it abandoned, one is refused.
        if is_dead(holder) or _is_abandoned(path, found, limit):
            generation = gcs.put(path, _content(owner), found.generation)
            if generation is not None:
                return generation
            continue
        raise refusal(path.rpartition("/")[0], holder, max(0.0, time.time() - found.used), limit)
    raise BuildError(f"{path.rpartition('/')[0]}: other jobs keep taking the lock. Let one of them finish.")


def refusal(directory: str, holder: Mapping[str, Any], silent: float, limit: float) -> BuildError:
    """Makes the error that says whose an output is.

    Args:
      directory: of the output.
      holder: what its record says.
      silent: seconds since its last sign of life.
      limit: of these, after which the output is taken over.
    """
    path = claims.path_in(directory)
    ended = "it was cancelled, or failed" if "job" in holder else "it was killed"
    return BuildError(
        f"{directory}: another job is writing here ({claims.describe(holder)}, last sign of life {silent:.0f} s ago). Wait for it, or "
        f"choose another --output. If {ended}, run this again: a lock without a sign of life for {limit:g} s is taken over. "
        f"To take it over at once, remove {path}."
    )


def _is_abandoned(path: str, found: gcs.Object, limit: float) -> bool:
    """Says whether the lock is stale by the clock, and stays unwritten while we watch it: the clock of its bucket may differ from ours."""
    if time.time() - found.used < limit:
        return False
    print(f"tokenreel: {path} looks abandoned; watching it for {2 * HEARTBEAT:g} s", file=sys.stderr, flush=True)
    time.sleep(2 * HEARTBEAT)
    now = gcs.stat(path)
    return now is not None and (now.generation, now.used) == (found.generation, found.used)


def is_of_this_machine(holder: Mapping[str, Any]) -> bool:
    """Says whether the holder is, or was, a process of this machine since its start: then it can be looked for."""
    return bool(holder.get("boot")) and holder.get("boot") == _boot() and holder.get("host") == socket.gethostname()


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Says whether the holder was a process of this machine that is gone."""
    if not is_of_this_machine(holder):
        return False
    started = _started(int(holder["pid"]))
    return started is None or started != holder.get("started")


def _boot() -> str | None:
    """Identifies this machine since it was started, and this container on it: process numbers mean nothing elsewhere."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _started(pid: int) -> str | None:
    """Says when a process began, in ticks since the machine did; None if there is none. A number may be given to another process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()  # the name before it may hold spaces and parentheses
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]  # a zombie is dead, though its parent has not noticed


def _end(message: str) -> None:
    """Ends the process at once, whatever its other threads do: another job writes to the output by now."""
    print(f"tokenreel: error: {message}", file=sys.stderr, flush=True)
    os._exit(EXIT_LOST)


class _Heart(threading.Thread):
    """Writes the lock again and again, until it is stopped or the lock is another's."""

    def __init__(self, path: str, owner: dict[str, Any], generation: int, lost: Callable[[str], None]) -> None:
        super().__init__(name="tokenreel-lock", daemon=True)
        self.path, self.owner, self._generation, self._lost = path, owner, generation, lost
        self.is_alone = True  # whether nobody else may remove the lock
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(HEARTBEAT):
            with contextlib.suppress(StorageError):  # the next one may get through; if none does, somebody takes over and we find out
                generation = gcs.put(self.path, _content(self.owner), self._generation)
                if generation is None:
                    if not self._stopping.is_set() and (self.is_alone or gcs.stat(self.path) is not None):
                        self._lost(f"{self.path}: another job took the lock over. This one stops; a build keeps what it has finished.")
                    return
                self._generation = generation

    def stop(self) -> None:
        """Ends the heartbeat and releases the lock, if it is still ours."""
        if self._stopping.is_set():  # it was left to a job
            return
        self._stopping.set()
        self.join()  # a heartbeat under way changes the generation, which the removal names
        with contextlib.suppress(StorageError):
            gcs.remove(self.path, self._generation)

    def leave(self, told: Mapping[str, Any]) -> None:
        """Ends the heartbeat, and says in the lock whose it is from now on; where the job has given it back already, that is all."""
        self._stopping.set()
        self.join()
        gcs.put(self.path, _content({"host": self.owner["host"], "id": self.owner["id"], **told}), self._generation)
