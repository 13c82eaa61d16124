"""Requests of a bucket side by side: each waits for a server, most of the time."""

from __future__ import annotations

import concurrent.futures
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tokenreel.storage import files

READS = 16  # at once; more gain little, as one machine's network is then busy
REMOVALS = 32  # at once, which move no bytes; half of the connections that `gcs` keeps open
_T = TypeVar("_T")
_R = TypeVar("_R")


def each(function: Callable[[_T], _R], items: Iterable[_T], *, remote: bool, at_once: int = READS) -> Iterator[_R]:
    """Applies a function that waits for storage to some items, and yields what it returns in their order.

    Several items are at work at once where each waits for a server, and no more than twice as many are ahead of what was taken, however
    many items there are. Local files come one after the other: most lie in the page cache, where threads gain nothing.

    Args:
      function: does what belongs to an item; safe to call from several threads.
      items: the items.
      remote: whether they lie in a bucket.
      at_once: threads.
    """
    if not remote:
        yield from map(function, items)
        return
    with concurrent.futures.ThreadPoolExecutor(at_once, thread_name_prefix="tokenreel-storage") as pool:
        waiting: deque[concurrent.futures.Future[_R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= 2 * at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def remove(paths: Iterable[str]) -> None:
    """Removes files, those in a bucket side by side; that some are gone already is no error."""
    chosen = list(paths)
    local = [path for path in chosen if not files.is_remote(path)]
    for path in local:
        files.remove(path)
    if len(local) < len(chosen):
        for _ in each(files.remove, (path for path in chosen if files.is_remote(path)), remote=True, at_once=REMOVALS):
            pass


def remove_tree(directory: str) -> None:
    """Removes a directory and everything below it, as `remove` does."""
    if files.is_remote(directory):
        remove(files.join(directory, name) for name in files.list_files(directory))
    else:
        files.remove_tree(directory)
