"""Cached mixtures as they are read: an order over the caches of their tasks, which lie beside it.

Tested in tests/pipelines/test_cache_mixtures.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import mixture_manifest, naming
from tokenreel.format.mixture_manifest import EPOCH, NUMBER, TASK
from tokenreel.format.ragged_shards import map_file
from tokenreel.loaders.order.stages import integer_weights
from tokenreel.ragged import offsets_of
from tokenreel.storage import column_file, files
from tokenreel.storage.column_file import Columns
from tokenreel.tasks import cache_directories, caching, task_steps
from tokenreel.tasks.example_keys import source_key
from tokenreel.tasks.example_stream import Example, ExampleStream
from tokenreel.tasks.providers import Lengths, ShardInfo
from tokenreel.tasks.stream_nodes import Cursor, Indexed, Keyed, Mapped, Node, State
from tokenreel.wording import first_of, plural

USE = "mixture"
"""What `use_cached` is for the cached order of a mixture."""
ORIGIN = "mixture_task"
"""The name under which `passthrough_features` gives the name of the task that an example is from."""
_MAKE = "Run `tokenreel cache-tasks --mixtures` with --overwrite"
_AHEAD = 128  # rows whose examples are read at a time


class CachedOrder:
    """The order of a split of a cached mixture.

    Args:
      directory: of the mixture, below the directory in which its tasks' caches lie.
      split: one of its splits.

    Attributes:
      manifest: of the mixture.
      tasks: names of its tasks, by their numbers in rows.

    Raises:
      ManifestError: there is no such cache or split, or its files are not those that belong to it.
    """

    def __init__(self, directory: str, split: str) -> None:
        manifest = mixture_manifest.find(directory)
        if manifest is None:
            raise ManifestError(f"{directory}: holds no cached mixture. Run `tokenreel cache-tasks --mixtures`.")
        if split not in manifest.splits:
            raise ManifestError(
                f"{directory}: {manifest.mixture!r} was cached without a split {split!r}; it has {', '.join(manifest.splits)}."
            )
        self.directory, self.split, self.manifest = directory, split, manifest
        self.part = manifest.splits[split]
        self.tasks = tuple(self.part.tasks)
        self._bounds = offsets_of(np.array([part.records for part in self.part.rows], dtype=np.int64))
        self._mapped: dict[int, Columns] = {}
        present = files.list_files(directory)
        for name, (size, _) in manifest.checksums().items():
            if present.get(name) != size:
                found = "missing" if name not in present else f"{present[name]:,} bytes"
                raise ManifestError(f"{files.join(directory, name)}: {found}, the manifest says {size:,} bytes. {_MAKE}.")
        if extra := sorted(name for name in present if naming.is_order(name) and name not in manifest.checksums()):
            raise ManifestError(f"{directory}: holds {first_of(extra, 2)}, not listed in the manifest: left by another run. {_MAKE}.")

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def rows(self, places: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Gives what stands at [k] places of the order: int64 [k] numbers of tasks, of examples in their caches, and of passes over these.

        Raises:
          ManifestError: a file is not what was written.
        """
        wanted = np.asarray(places, dtype=np.int64)
        owner = np.searchsorted(self._bounds, wanted, side="right") - 1
        out = np.zeros((3, len(wanted)), dtype=np.int64)
        for number in np.unique(owner).tolist():
            mine = np.flatnonzero(owner == number)
            columns = self._columns(number)
            for row, name in enumerate((TASK, NUMBER, EPOCH)):
                out[row, mine] = columns.arrays[name][wanted[mine] - self._bounds[number]]
        return out[0], out[1], out[2]

    def _columns(self, number: int) -> Columns:
        if number not in self._mapped:
            part = self.part.rows[number]
            data = map_file(files.join(self.directory, part.file), part.bytes, part.crc32c, caching.AGAIN)
            self._mapped[number] = column_file.of_bytes(data)
        return self._mapped[number]

    def __reduce__(self) -> Any:
        return type(self), (self.directory, self.split)

    def __repr__(self) -> str:
        return f"CachedOrder({self.directory!r}, {self.split!r}: {plural(len(self), 'example')})"


def find(mixture: Any) -> str:
    """Finds the directory of a mixture's cache.

    Raises:
      ManifestError: no directory holds a whole one.
    """
    for root in cache_directories.get_global_cache_dirs():
        path = files.join(root, naming.cache_directory(mixture.name))
        if mixture_manifest.find(path) is not None:
            return path
    raise ManifestError(
        f"mixture {mixture.name!r} does not exist in any of the task cache directories. They are "
        f"{cache_directories.get_global_cache_dirs()}: name another with add_global_cache_dirs, or run `tokenreel cache-tasks --mixtures`."
    )


def stream(
    mixture: Any,
    split: str,
    *,
    sequence_length: Lengths | None,
    seed: int | None,
    shard_info: ShardInfo | None,
    trim_output_features: bool,
    keep: Callable[[Example], Example],
    with_origin: bool,
) -> ExampleStream:
    """Streams a split of a mixture in the order that was cached.

    Args:
      mixture: as it is now.
      split: its name.
      sequence_length: as in `Task.get_dataset`, as are the others that stand there.
      seed: of the steps behind the tasks' caches; None for that of the order.
      shard_info: gives one share: every `num_shards`-th example of the order.
      trim_output_features: whether features are trimmed to `sequence_length`.
      keep: leaves features out.
      with_origin: whether each example has the name of its task, as `ORIGIN`.

    Raises:
      ManifestError: the mixture, or one of its tasks, was changed since; or files are not those that belong to the cache.
      ConfigError: a step behind a task's cache makes other than one example of one.
    """
    order = CachedOrder(find(mixture), split)
    _check_fresh(mixture, order)
    seed = int(order.manifest.identity["order"]["seed"]) if seed is None else seed
    tasks = {task.name: task for task in mixture.tasks}
    members = []
    for name in order.tasks:
        cached = caching.open_cached(mixture_manifest.task_directory(order.directory, mixture.name, name), split)
        caching.check_fresh(cached, tasks[name])
        expected = order.manifest.identity["tasks"][name]
        if cached.manifest is None or mixture_manifest.made_by(cached.manifest.identity) != expected:
            raise ManifestError(f"{order.directory}: the cached mixture is stale: the cache of task {name!r} was made anew. {_MAKE}.")
        steps = one_to_one_steps(tasks[name], cached, split, sequence_length, seed, trim_output_features)
        origin = name.encode() if with_origin else None
        members.append(_Member(cached, source_key("cache", split), steps, origin, keep))
    places = range(len(order))
    if shard_info is not None:
        places = places[shard_info.index :: shard_info.num_shards]
    made = ExampleStream(Ordered(order, members, places))
    next(iter(made), None)  # what is wrong with all examples is said now
    return made


def one_to_one_steps(
    task: Any, items: Sequence[Any], split: str, sequence_length: Lengths | None, seed: int | None, trim: bool
) -> list[Mapped]:
    """Gives the steps of a task behind its cache, first to last.

    Raises:
      ConfigError: one makes other than one example of one, so that nobody knows how many a cached example gives.
    """
    source = ExampleStream(Indexed(items, source_key("cache", split), f"cache/{split}"))
    node = task.finish(source, sequence_length, seed, trim).node
    if not task_steps.one_to_one(node):
        raise ConfigError(
            f"task {task.name!r}: a step behind its CacheDatasetPlaceholder ({' | '.join(node.describe())}) makes other than one example "
            "of one, and the order of a mixture is one of cached examples. Put the placeholder behind that step, or mix the tasks' caches "
            "as they are read, with use_cached=True."
        )
    steps = []
    while isinstance(node, Mapped):
        steps.append(node)
        node = node.parent
    return steps[::-1]


def _check_fresh(mixture: Any, order: CachedOrder) -> None:
    """Compares a mixture with what its order was drawn by.

    Raises:
      ManifestError: they differ.
    """
    rates = order.manifest.identity["rates"]
    if changed := rate_changes(rates, mixture.told_rates()):
        raise ManifestError(f"{order.directory}: the cached mixture is stale: {first_of(changed, 3)}. {_MAKE}, or take the edit back.")


def rate_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Says which tasks of a mixture have another rate than they had.

    >>> rate_changes({"a": "1", "b": "1/2"}, {"a": "1", "b": "1/3", "c": "1"})
    ["the rate of task 'b' was 1/2 and is 1/3", "task 'c' is new"]
    """
    changed = [
        f"the rate of task {name!r} was {before[name]} and is {now[name]}"
        for name in sorted(before.keys() & now.keys())
        if before[name] != now[name]
    ]
    new = [f"task {name!r} is new" for name in sorted(now.keys() - before.keys())]
    return changed + new + [f"task {name!r} is left out" for name in sorted(before.keys() - now.keys())]


def weights(mixture: Any, split: str, rates: Mapping[str, str]) -> dict[str, int]:
    """Gives the tasks that have a share of a split, in the mixture's order, with their weights in turns.

    Args:
      mixture: whose tasks they are.
      split: its name.
      rates: of all tasks, as fractions.
    """
    names = [task.name for task in mixture.tasks if split in task.splits]
    found = integer_weights([Fraction(rates[name]) for name in names])
    return {name: weight for name, weight in zip(names, found, strict=True) if weight}


class _Member:
    """A task of a mixture: its cached examples, and what becomes of each."""

    def __init__(self, cached: Any, source: int, steps: Sequence[Mapped], origin: bytes | None, keep: Callable[[Example], Example]) -> None:
        self._cached, self._source, self._steps, self._origin, self._keep = cached, source, steps, origin, keep

    def describe(self) -> list[str]:
        return [step.name for step in self._steps]

    def examples(self, numbers: npt.NDArray[np.int64]) -> list[Example]:
        found: list[Example] = self._cached.examples(numbers)
        return found

    def finish(self, number: int, epoch: int, example: Example) -> Keyed:
        """Takes a cached example through the steps."""
        element = Keyed((self._source, number), epoch, example)
        for step in self._steps:
            element = element._replace(value=step.function(element if step.keyed else element.value))
        kept = self._keep(element.value)
        return element._replace(value=kept if self._origin is None else {**kept, ORIGIN: self._origin})


class Ordered(Node):
    """The examples of a mixture in a cached order; a state is a place in it.

    Args:
      order: which examples.
      members: the tasks, by their numbers in the order.
      places: those of the order that are given.
    """

    def __init__(self, order: CachedOrder, members: Sequence[_Member], places: range) -> None:
        self.order, self.members, self.places = order, list(members), places
        self.name = f"{order.manifest.mixture}/{order.split}"

    def open(self, epoch: int) -> Cursor:
        """Begins a pass."""
        return _OrderedCursor(self, epoch)

    def describe(self) -> list[str]:
        """Names the order and its places, and the steps of each task."""
        steps = [f"{name}: {step}" for name, member in zip(self.order.tasks, self.members, strict=True) for step in member.describe()]
        places = self.places
        return [*steps, f"{self.name}[{places.start}:{places.stop}:{places.step}] of {self.order.manifest.fingerprint}"]

    def length(self) -> int:
        """Counts the places."""
        return len(self.places)


class _OrderedCursor(Cursor):
    def __init__(self, node: Ordered, epoch: int) -> None:
        self._node, self._epoch, self._at = node, epoch, 0
        self._first, self._window = 0, list[tuple[int, int, int, Example]]()

    def __next__(self) -> Keyed:
        if self._at >= len(self._node.places):
            raise StopIteration
        if not self._first <= self._at < self._first + len(self._window):
            self._fill()
        task, number, epoch, example = self._window[self._at - self._first]
        self._at += 1
        return self._node.members[task].finish(number, epoch, example)

    def _fill(self) -> None:
        """Reads the examples of some rows, those of each task at once."""
        node = self._node
        chosen = node.places[self._at : self._at + _AHEAD]
        tasks, numbers, epochs = node.order.rows(np.arange(chosen.start, chosen.stop, chosen.step))
        epochs += self._epoch * node.order.part.epochs  # each pass over the order is made of epochs of its own
        examples: list[Example] = [{}] * len(chosen)
        for task in np.unique(tasks).tolist():
            mine = np.flatnonzero(tasks == task)
            for row, example in zip(mine.tolist(), node.members[task].examples(numbers[mine]), strict=True):
                examples[row] = example
        self._first = self._at
        self._window = list(zip(tasks.tolist(), numbers.tolist(), epochs.tolist(), examples, strict=True))

    def get_state(self) -> State:
        return {"at": self._at}

    def set_state(self, state: State) -> None:
        self._at = int(state["at"])
