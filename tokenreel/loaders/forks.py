"""What a forked child must not take over from its parent: locks that another of the parent's threads holds, and threads.

A fork copies one thread. A lock that another thread held stays locked in the child for ever, and a pool of threads has none.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """What has locks or threads."""

    def after_fork(self) -> None:
        """Is called in a forked child, before anything else runs there: makes new locks, and forgets threads and what they do."""


_renewables: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_in_children(thing: Renewable) -> None:
    """Has a thing's `after_fork` called in each process that is forked from this one, for as long as the thing is used."""
    _renewables.add(thing)


def _renew() -> None:
    for thing in list(_renewables):
        thing.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
