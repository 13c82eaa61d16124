"""Local shards, opened: how many this process may have open, of all datasets together, and what an error says when one is gone."""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
import weakref
from collections.abc import Callable
from typing import Protocol, TypeVar

from tokenreel.errors import ManifestError, StorageError
from tokenreel.format.manifest import ShardInfo
from tokenreel.loaders import forks
from tokenreel.loaders.records.base import COPY_AGAIN
from tokenreel.storage import files

T = TypeVar("T")
_MOST = 16_384  # the kernel allows some 65,000 maps, and others need some
_FEWEST = 8
# Threads that copy out of shards keep them open for some milliseconds after they were closed here.
_PAUSES = (0.0, 0.01, 0.05, 0.2, 1.0)


class Holder(Protocol):
    """Whoever has shards open."""

    def close_shard(self, shard: int) -> None:
        """Lets a shard go, if it is open."""


def open_limit() -> int:
    """Says how many shards may be open in this process: half of what it may open at all, since each map holds a descriptor."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(_FEWEST, min(_MOST, soft // 2))


def raise_limit() -> bool:
    """Raises the process's soft limit on open files as far as it is of use and allowed; says whether that helped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * _MOST if hard == resource.RLIM_INFINITY else min(hard, 2 * _MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):
        return False
    return True


class OpenShards:
    """The shards that are open in this process: one bound for all datasets, and the one opened longest ago goes first."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, int], weakref.ref[Holder]] = {}  # by holder and shard, in the order of opening
        self.after_fork()
        forks.renew_in_children(self)

    def after_fork(self) -> None:
        """Makes a lock that nobody holds; what the parent had open is open here too."""
        self._lock = threading.Lock()

    def add(self, holder: Holder, shard: int) -> None:
        """Notes that a holder is about to keep a shard open, and closes others beyond the bound."""
        with self._lock:
            if len(self._open) >= open_limit():
                raise_limit()
            while len(self._open) >= open_limit():
                self._close_oldest()
            self._open.pop((id(holder), shard), None)  # of a holder that is no more, and had the same number
            self._open[id(holder), shard] = weakref.ref(holder)

    def close_half(self) -> bool:
        """Closes half of what is open; says whether anything was."""
        with self._lock:
            closed = (len(self._open) + 1) // 2
            for _ in range(closed):
                self._close_oldest()
            return closed > 0

    def _close_oldest(self) -> None:
        key, reference = next(iter(self._open.items()))
        del self._open[key]
        if (holder := reference()) is not None:
            holder.close_shard(key[1])


OPEN_SHARDS = OpenShards()


def opening(path: str, action: Callable[[], T]) -> T:
    """Runs an action that opens a shard; where too many files are open, raises the limit or closes other shards, and tries again.

    Raises:
      StorageError: too many files are open, and not by datasets; names the file and the way out.
      OSError: any other failure of the action.
    """
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            return action()
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                raise
            failure = error
        if failure.errno != errno.EMFILE or not raise_limit():
            OPEN_SHARDS.close_half()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    remedy = {
        errno.EMFILE: f"This process may open {soft:,} files, and others than datasets hold them: raise the limit (`ulimit -n {4 * soft}` "
        f"before it starts; the hard limit is {hard:,}), or close some.",
        errno.ENFILE: "All processes of this machine together have too many files open: end some, or raise fs.file-max.",
        errno.ENOMEM: "The process has too many memory maps, or no address space left for one: raise vm.max_map_count or `ulimit -v`, or "
        'load the dataset with backend="pread".',
    }
    assert failure.errno is not None
    raise StorageError(f"{path}: cannot be opened ({failure.strerror}). {remedy[failure.errno]}") from failure


def open_file(directory: str, info: ShardInfo) -> int:
    """Opens a shard of a directory for reading; gives the descriptor.

    Raises:
      ManifestError: the shard is gone.
      StorageError: too many files are open.
    """
    path = files.join(directory, info.file)
    try:
        return opening(path, lambda: os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)))
    except FileNotFoundError:
        raise ManifestError(f"{path}: the shard vanished after the dataset was opened. {COPY_AGAIN}") from None
