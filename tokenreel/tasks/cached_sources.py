"""A task's cache as a stream: in any order, from any place at once.

Tested in tests/tokenreel/tasks/test_task.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from tokenreel import keys
from tokenreel.loaders.order.permutation import Permutation
from tokenreel.tasks.example_keys import source_key
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.stream_nodes import Indexed


def open_cached(directory: str, split: str) -> Any:
    """Opens a split of a cache."""
    return importlib.import_module("tokenreel.tasks.caching").open_cached(directory, split)


def stats(directory: str, split: str) -> Mapping[str, Any]:
    """Gives what a cache's statistics say of a split.

    Raises:
      ValueError: the cache does not hold the split.
    """
    found: Mapping[str, Any] = open_cached(directory, split).stats
    return found


def stream(directory: str, split: str, seed: int | None) -> ExampleStream:
    """Streams a split of a cache; with a seed, each epoch in an order of its own over all examples."""
    cached = open_cached(directory, split)
    order = None if seed is None or not len(cached) else Shuffle(seed)
    describes = f"({len(cached)}, shuffle={seed})"
    return ExampleStream(Indexed(cached, source_key("cache", split), f"cache/{split}", order, describes=describes))


class Shuffle:
    """The order of each epoch, from (length, epoch) to a permutation of places."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, length: int, epoch: int) -> Callable[[Any], Any]:
        """Gives the order of an epoch."""
        """Gives the order of an epoch."""
        return Permutation(length, keys.key(self._seed, "tasks/cache", epoch))
