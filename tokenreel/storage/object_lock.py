"""A lock in a bucket: an object that exists while its holder lives.

The object is created under the condition that there is none, and its holder writes it again every `HEARTBEAT` seconds. Nobody can release
the lock of a process that was killed, so others may take it over:

- at once, where the holder was a process of the same machine that is gone;
- otherwise when it was not written for `STALE` seconds. Since clocks differ, it is then watched for two more heartbeats, and taken over
  under the condition that nobody wrote it.

A holder whose lock was taken over (it slept for minutes) finds out at its next heartbeat and stops.
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
from collections.abc import Callable, Iterator
from typing import Any

from tokenreel.errors import BuildError, StorageError
from tokenreel.storage import gcs

HEARTBEAT = 15.0  # seconds between two writings; each is one request
STALE = 90.0  # seconds without one after which a holder may be dead: six heartbeats that failed, or a machine that slept
EXIT_LOST = 71  # EX_OSERR of sysexits.h; a launcher can tell a lost lock from a failed build


@contextlib.contextmanager
def hold(path: str, *, lost: Callable[[str], None] | None = None) -> Iterator[None]:
    """Holds a lock.

    Args:
      path: of the object.
      lost: called from another thread with a message when somebody took the lock over; by default the process ends with `EXIT_LOST`.

    Raises:
      BuildError: somebody else holds it; says who, and how to take it over.
    """
    # `boot` and `started` tell whether a process of this machine is the same one: its number alone is given away again.
    owner = {
        "boot": _boot(),
        "host": socket.gethostname(),
        "id": secrets.token_hex(8),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
    }
    generation = _acquire(path, owner)
    heart = _Heart(path, owner, generation, lost or _end)
    heart.start()
    try:
        yield
    finally:
        heart.stop()


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
        holder = _holder(path)
        # Taken over only in the state that was looked at: of two processes that find it abandoned, one is refused.
        if _is_dead(holder) or _is_abandoned(path, found):
            generation = gcs.put(path, _content(owner), found.generation)
            if generation is not None:
                return generation
            continue
        silent = max(0.0, time.time() - found.used)
        raise BuildError(
            f"{path.rpartition('/')[0]}: another job is writing here (process {holder.get('pid', '?')} on {holder.get('host', '?')}, "
            f"last sign of life {silent:.0f} s ago). Wait for it, or choose another --output. If it was killed, run this again: a lock "
            f"without a sign of life for {STALE:g} s is taken over. To take it over at once, remove {path}."
        )
    raise BuildError(f"{path.rpartition('/')[0]}: other jobs keep taking the lock. Let one of them finish.")


def _holder(path: str) -> dict[str, Any]:
    """Reads who holds the lock; nothing where it was released just now, or is not of our making."""
    try:
        found = json.loads(gcs.read(path))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_abandoned(path: str, found: gcs.Object) -> bool:
    """Says whether the lock is stale by the clock, and stays unwritten while we watch it: the clock of its bucket may differ from ours."""
    if time.time() - found.used < STALE:
        return False
    print(f"tokenreel: {path} looks abandoned; watching it for {2 * HEARTBEAT:g} s", file=sys.stderr, flush=True)
    time.sleep(2 * HEARTBEAT)
    now = gcs.stat(path)
    return now is not None and now.generation == found.generation


def _is_dead(holder: dict[str, Any]) -> bool:
    """Says whether the holder was a process of this machine that is gone."""
    if not holder.get("boot") or holder.get("boot") != _boot() or holder.get("host") != socket.gethostname():
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
        self._path, self._owner, self._generation, self._lost = path, owner, generation, lost
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.wait(HEARTBEAT):
            with contextlib.suppress(StorageError):  # the next one may get through; if none does, somebody takes over and we find out
                generation = gcs.put(self._path, _content(self._owner), self._generation)
                if generation is None:
                    if not self._stopping.is_set():
                        self._lost(f"{self._path}: another job took the lock over. This one stops; a build keeps what it has finished.")
                    return
                self._generation = generation

    def stop(self) -> None:
        """Ends the heartbeat and releases the lock, if it is still ours."""
        self._stopping.set()
        self.join()  # a heartbeat under way changes the generation, which the removal names
        with contextlib.suppress(StorageError):
            gcs.remove(self._path, self._generation)
