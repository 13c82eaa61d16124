"""How often units were found in the memo: each thread counts for itself, since a worker's threads tokenize blocks side by side.

Tested in tests/transforms/workers/test_measures.py.
"""

from __future__ import annotations

import threading

_COUNTS = threading.local()


def add(hits: int, misses: int) -> None:
    """Counts units that were found, and units that were encoded."""
    before = getattr(_COUNTS, "found", (0, 0))
    _COUNTS.found = before[0] + hits, before[1] + misses


def take() -> tuple[int, int]:
    """Gives (found, encoded) of this thread since it last asked.

    >>> _ = take()
    >>> add(5, 2)
    >>> add(1, 0)
    >>> take(), take()
    ((6, 2), (0, 0))
    """
    found: tuple[int, int] = getattr(_COUNTS, "found", (0, 0))
    _COUNTS.found = (0, 0)
    return found
