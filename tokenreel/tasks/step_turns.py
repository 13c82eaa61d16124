"""Takes turns: steps of tasks run one at a time in a process, but for the parts of them that need no lock of Python.

Users write steps for one thread; a tokenizer of theirs, or a table that they fill, may not bear a second one beside it. And threads gain
nothing where Python runs, which lets one go on at a time anyway. So a job that runs in threads runs steps `one_at_a_time`, and what encodes
blocks of text without Python's lock lets others go on meanwhile.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

_TURN = threading.Lock()
_MINE = threading.local()


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Runs steps while no other thread of the process does. Not to be nested."""
    with _TURN:
        _MINE.taken = True
        try:
            yield
        finally:
            _MINE.taken = False


@contextlib.contextmanager
def others_may() -> Iterator[None]:
    """Lets the steps of other threads go on for a while; does nothing where they did not wait."""
    start = time.thread_time()
    taken = getattr(_MINE, "taken", False)
    if taken:
        _TURN.release()
    try:
        yield
    finally:
        _MINE.seconds = seconds_of_others() + time.thread_time() - start
        if taken:
            _TURN.acquire()


def seconds_of_others() -> float:
    """Gives the processor seconds that this thread has used so far while others could go on."""
    return float(getattr(_MINE, "seconds", 0.0))
