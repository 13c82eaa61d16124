"""Threads that fetch from a bucket, and end with the process.

Those of `concurrent.futures` are waited for when the interpreter exits, with all that is still queued: a script that fails would end only
after the last read ahead, minutes later where the network is down.
"""

from __future__ import annotations

import concurrent.futures
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from tokenreel.errors import StorageError

T = TypeVar("T")
_Work = tuple[concurrent.futures.Future[Any], Callable[..., Any], tuple[Any, ...]]
_LOOK_SECONDS = 5.0  # between two looks whether the thread that is waited for is still there


class FetchThreads:
    """Some daemon threads that do what they are given, in the order of asking. They do not survive a fork: make others there.

    Args:
      count: of threads, started as they are needed.
      name: that their names begin with.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count, self._name = count, name
        self._threads: list[threading.Thread] = []
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        weakref.finalize(self, _stop, self._queue, self._threads).atexit = False

    def submit(self, action: Callable[..., T], *arguments: Any) -> concurrent.futures.Future[T]:
        """Has a thread call an action; gives what will be its result. Callers see to it that one of them asks at a time."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._queue.put((future, action, arguments))
        if len(self._threads) < self._count:
            thread = threading.Thread(target=_work, args=(self._queue,), name=f"{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()
        return future

    def any_alive(self) -> bool:
        """Says whether there is a thread."""
        return any(thread.is_alive() for thread in self._threads)


def _work(waiting: queue.SimpleQueue[_Work | None]) -> None:
    while (work := waiting.get()) is not None:
        future, action, arguments = work
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(action(*arguments))
            except BaseException as error:  # whatever it is, it belongs to whoever waits for it
                future.set_exception(error)
        del work, future, action, arguments  # or the thread would keep the last result while it waits


def _stop(waiting: queue.SimpleQueue[_Work | None], threads: list[threading.Thread]) -> None:
    for _ in threads:
        waiting.put(None)


def result_of(future: concurrent.futures.Future[T], threads: FetchThreads) -> T:
    """Waits for the result of an action; every action ends by itself, and so does the wait if its thread is gone.

    Raises:
      StorageError: no thread is left that could bring the result.
      BaseException: what the action raised.
    """
    while True:
        if done_within(future, _LOOK_SECONDS):
            return future.result()
        if not threads.any_alive():
            raise StorageError("the threads that fetch from the bucket have ended before this read; make the batches again")


def done_within(future: concurrent.futures.Future[Any], seconds: float) -> bool:
    """Waits so many seconds at the most; says whether there is a result, or an error."""
    return bool(concurrent.futures.wait([future], seconds).done)
