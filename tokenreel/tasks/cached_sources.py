"""A task's cache as a stream: in any order, from any place at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tokenreel import keys
from tokenreel.errors import ConfigError, ManifestError
from tokenreel.loaders.order.permutation import Permutation
from tokenreel.tasks import caching
from tokenreel.tasks.example_keys import source_key
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.stream_nodes import Indexed


def stats(directory: str, split: str) -> Mapping[str, Any]:
    """Gives what a cache's statistics say of a split.

    Raises:
      ConfigError: the cache does not hold the split.
    """
    try:
        return caching.stats_of(directory, split)
    except ManifestError as error:
        raise ConfigError(f"Stats do not exist for '{split}' split: {error}") from error


def stream(task: Any, directory: str, split: str, seed: int | None) -> ExampleStream:
    """Streams a split of a task's cache; with a seed, each epoch in an order of its own over all examples.

    Raises:
      ManifestError: another task made the cache, or this one before it was edited; or its files are not those that belong to it.
    """
    cached = caching.open_cached(directory, split)
    caching.check_fresh(cached, task)
    order = None if seed is None or not len(cached) else Shuffle(seed)
    describes = f"({len(cached)}, shuffle={seed})"
    return ExampleStream(Indexed(cached, source_key("cache", split), f"cache/{split}", order, describes=describes))


class Shuffle:
    """The order of each epoch, from (length, epoch) to a permutation of places."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, length: int, epoch: int) -> Callable[[Any], Any]:
        """Gives the order of an epoch."""
        return Permutation(length, keys.key(self._seed, "tasks/cache", epoch))
