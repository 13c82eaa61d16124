"""What a cache job does for a mixture: it draws the order of the mixture over the caches of its tasks, and writes that down.

The order is drawn by what `Mixture.get_dataset` itself draws by: the same turns, and the same shuffle of each task in each epoch.

Tested in tests/pipelines/test_cache_mixtures.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import pickle
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from tokenreel.config.workspace import Workspace
from tokenreel.errors import BuildError, ConfigError, ManifestError
from tokenreel.format import mixture_manifest, naming
from tokenreel.format.manifest import ShardInfo
from tokenreel.format.mixture_manifest import EPOCH, NUMBER, TASK, MixtureManifest, SplitOfMixture, made_by
from tokenreel.storage import files, placing
from tokenreel.storage.claims import Claim
from tokenreel.storage.column_file import Columns, to_parts
from tokenreel.storage.placing import Placing
from tokenreel.tasks import cache_directories, caching, mixing, mixture_caches
from tokenreel.tasks.cached_sources import Shuffle
from tokenreel.tasks.stream_nodes import Indexed, Node
from tokenreel.tasks.stream_steps import Repeated
from tokenreel.version import __version__

VERSION = "mixture-1"  # of the order
_FILE_ROWS = 4 << 20  # of a file of an order, at least where there are more
_BLOCK_ROWS = 1 << 14  # drawn at a time; those behind a budget of tokens are drawn in vain
_LONGEST = 512  # positions of a feature where steps are looked at, which ask for lengths that nobody knows yet
_directories = threading.Lock()  # held where those of the process are set for one mixture, as threads draw several
_ROW = np.dtype([(TASK, "<u2"), (NUMBER, "<i8"), (EPOCH, "<u4")])


@dataclasses.dataclass(frozen=True, kw_only=True)
class End:
    """Where the order of a mixture ends: at whatever comes first.

    Attributes:
      stop: "all_used" or "first_empty" of the tasks.
      epochs: passes over each task; None for as many as it takes.
      examples, tokens: most of the whole order; None for any number. Tokens are those of the output features in the caches, EOS included.
    """

    stop: str = mixing.ALL_USED
    epochs: int | None = 1
    examples: int | None = None
    tokens: int | None = None

    @classmethod
    def of(cls, mixture: Any, stop: str | None, epochs: int | None, examples: int | None, tokens: int | None) -> End:
        """Completes what was asked for: a mixture's own rule where none is given, and passes without end where a budget ends them."""
        rule: str | int = mixture.stop if stop is None else stop
        if not isinstance(rule, str):
            examples = rule if examples is None and tokens is None else examples
            rule = mixing.ALL_USED
        budgeted = stop is None and (examples is not None or tokens is not None)
        return cls(stop=rule, epochs=epochs or (None if budgeted else 1), examples=examples, tokens=tokens)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureCache:
    """A mixture whose order is cached.

    Attributes:
      name: of the mixture.
      pickled: the mixture itself.
      splits: names of those that are cached.
      root: directory of all caches.
      identity: what decides the order, as the manifest keeps it; without the rates until the tasks' caches are there.
      end: where the order ends.
      claim: to the directory.
    """

    kind: ClassVar[str] = "mixture"

    name: str
    pickled: bytes
    splits: tuple[str, ...]
    root: str
    identity: dict[str, Any]
    end: End
    claim: Claim | None = None

    @classmethod
    def of(
        cls,
        mixture: Any,
        caches: Mapping[str, str],
        root: str,
        splits: Sequence[str] | None,
        seed: int | None,
        end: End,
        pickles: Callable[[Any], bytes] = pickle.dumps,
    ) -> MixtureCache:
        """Looks at a mixture.

        Args:
          mixture: its tasks have placeholders.
          caches: `made_by` of the caches of its tasks, by name.
          root: directory of all caches.
          splits: names of those wanted; None for all.
          seed: of the order.
          end: where the order ends.
          pickles: makes bytes of the mixture.

        Raises:
          ConfigError: the mixture draws its examples by a function of its own, or a task makes other than one example of a cached one.
        """
        if mixture.sample_fn is not None:
            raise ConfigError(
                f"mixture {mixture.name!r}: its sample_fn, or compat='seqio', draws the order inside TensorFlow, and it cannot be cached"
            )
        for task in mixture.tasks:
            try:
                mixture_caches.one_to_one_steps(task, (), "any", dict.fromkeys(task.output_features, _LONGEST), 0, trim=True)
            except ConfigError:
                raise
            except Exception as error:
                raise ConfigError(
                    f"task {task.name!r}: the steps behind its CacheDatasetPlaceholder fail where their order is looked at "
                    f"({type(error).__name__}: {error})"
                ) from error
        identity = {
            "algorithms": {"mixture": VERSION},
            "tasks": {task.name: caches[task.name] for task in mixture.tasks},
            "order": {"seed": seed or 0, **dataclasses.asdict(end)},
            "splits": sorted(split for split in mixture.splits if splits is None or split in splits),
        }
        chosen = tuple(identity["splits"])
        return cls(name=mixture.name, pickled=pickles(mixture), splits=chosen, root=root, identity=identity, end=end)

    @property
    def directory(self) -> str:
        """Where the cache lies."""
        return files.join(self.root, naming.cache_directory(self.name))

    @property
    def work(self) -> Workspace:
        """Where the job writes."""
        return Workspace(self.directory, files.join(self.directory, naming.STAGE), made_by(self.identity), self.claim)

    def load(self) -> Any:
        """Gives the mixture, made once in each process."""
        return _load(self.pickled)

    def find(self) -> MixtureManifest | None:
        """Reads the manifest that is there.

        Raises:
          ManifestError: it was altered.
        """
        return mixture_manifest.find(self.directory)

    def changes(self, found: Any) -> list[str]:
        """Says what is not as it was when the order was drawn."""
        old, new = found.identity, self.identity
        changed = mixture_caches.rate_changes(old.get("rates", {}), new.get("rates", {}))
        tasks, before = new["tasks"], old.get("tasks", {})
        changed += [f"the cache of task {name!r} changed" for name in sorted(tasks) if name in before and before[name] != tasks[name]]
        told = {"seed": "--base_seed", "stop": "--mixture_stop", "epochs": "--mixture_epochs"}
        told |= {"examples": "--mixture_examples", "tokens": "--mixture_tokens"}
        order = old.get("order", {})
        changed += [f"{option} changed" for name, option in told.items() if order.get(name) != new["order"][name]]
        if old.get("splits") != new["splits"]:
            changed.append("--splits changed")
        return changed or ["another version of tokenreel made it"]

    def rates(self) -> dict[str, str]:
        """Gives the rate of each task, as a fraction. Where a rate is a function, it finds the caches of this job."""
        mixture = self.load()
        with _directories:
            before = list(cache_directories.get_global_cache_dirs())
            cache_directories.set_global_cache_dirs([self.root, *before])
            try:
                return dict(mixture.told_rates())
            finally:
                cache_directories.set_global_cache_dirs(before)

    def with_known_rates(self, made_again: Collection[str]) -> MixtureCache:
        """Gives the same cache with the rates in its identity, by which what is there can be compared.

        Args:
          made_again: names of the tasks whose caches the job is to make: a rate that is a function may read those. It is taken to be what
            it was, which the job finds out.
        """
        mixture, rates = self.load(), None
        if mixture.has_fixed_rates or self.identity["tasks"].keys().isdisjoint(made_again):
            rates = self.rates()
        else:
            with contextlib.suppress(ManifestError):  # one that was altered is refused or replaced later, as --overwrite says
                found = self.find()
                rates = None if found is None else found.identity.get("rates")
        return self if rates is None else dataclasses.replace(self, identity={**self.identity, "rates": rates})


@functools.lru_cache(maxsize=8)
def _load(pickled: bytes) -> Any:
    return pickle.loads(pickled)


def make(cache: MixtureCache) -> str:
    """Draws the order of a mixture whose tasks are cached, writes it, and moves it to its place, the manifest last.

    Returns:
      the fingerprint of the cached mixture.

    Raises:
      BuildError: there is no example, or the directory is another job's by now.
    """
    whole = dataclasses.replace(cache, identity={**cache.identity, "rates": cache.rates()})
    placings, splits = list[Placing](), dict[str, SplitOfMixture]()
    for split in cache.splits:
        weights = mixture_caches.weights(cache.load(), split, whole.identity["rates"])
        tasks = list(weights)
        parts = list(_write(cache, split, len(tasks), _draw(whole, split, weights)))
        if not parts:
            raise BuildError(f"mixture {cache.name!r}, split {split!r}: the order has no example. Give it a larger budget.")
        rows = []
        for number, part in enumerate(parts):
            placed = dataclasses.replace(part.file, name=naming.order(split, number, len(parts)))
            rows.append(ShardInfo(file=placed.name, records=part.rows, bytes=placed.bytes, crc32c=placed.crc32c))
            placings.append(placed)
        counts = {
            f"{name}_examples": int(count) for name, count in zip(tasks, np.sum([part.by_task for part in parts], axis=0), strict=True)
        }
        statistics = {"examples": sum(part.rows for part in parts), **counts}
        if cache.end.tokens is not None:
            statistics["tokens"] = sum(part.tokens for part in parts)
        epochs = max(part.epochs for part in parts)
        splits[split] = SplitOfMixture(tasks=tuple(tasks), rows=tuple(rows), epochs=epochs, statistics=statistics)
    manifest = MixtureManifest(mixture=cache.name, identity=whole.identity, splits=splits, tokenreel_version=__version__)
    listed = manifest.checksums()
    placing.place(cache.work.dataset, placings, lambda name: naming.is_order(name) and name not in listed)
    placing.place(cache.work.dataset, [cache.work.write(naming.MANIFEST, manifest.to_bytes())])
    return manifest.fingerprint


def _draw(cache: MixtureCache, split: str, weights: Mapping[str, int]) -> Iterator[tuple[npt.NDArray[Any], int]]:
    """Draws the order of a split, whose tasks have these weights.

    Yields:
      some rows at a time, [k] of `TASK`, `NUMBER` and `EPOCH`, and their tokens where these are counted.

    Raises:
      BuildError: there is no example, or a budget of tokens would never be used up.
    """
    end, seed = cache.end, int(cache.identity["order"]["seed"])
    tasks = {task.name: task for task in cache.load().tasks}
    opened = {name: caching.open_cached(mixture_manifest.task_directory(cache.directory, cache.name, name), split) for name in weights}
    parents: list[Node] = []
    for number, (name, cached) in enumerate(opened.items()):
        node = Indexed(range(len(cached)), number, name, Shuffle(tasks[name].run_seed(seed)) if len(cached) else None)
        parents.append(node if end.epochs == 1 else Repeated(node, end.epochs, fresh=True))
    lengths = None
    budget = end.tokens or 0
    if budget:
        lengths = [_tokens(tasks[name], cached) for name, cached in opened.items()]
        if end.epochs is None and end.examples is None and not sum(int(each.sum()) for each in lengths):
            raise BuildError(f"mixture {cache.name!r}, split {split!r}: no example holds a token, and --mixture_tokens would never end")
    mixed = mixing.Mixed(parents, list(weights), list(weights.values()), seed, end.stop)
    elements = itertools.islice(mixed.open(0), end.examples)
    told, used = ((element.key[0], element.key[1], element.epoch) for element in elements), 0
    while len(rows := np.fromiter(itertools.islice(told, _BLOCK_ROWS), dtype=_ROW)):
        if lengths is None:
            yield rows, 0
            continue
        counts = np.zeros(len(rows), np.int64)
        for number, each in enumerate(lengths):
            mine = rows[TASK] == number
            counts[mine] = each[rows[NUMBER][mine]]
        total = used + np.cumsum(counts)
        fit = int(np.searchsorted(total, budget, side="right"))
        if fit:
            yield rows[:fit], int(total[fit - 1]) - used
        if fit < len(rows):
            return
        used = int(total[-1])


def _tokens(task: Any, cached: caching.CachedSplit) -> npt.NDArray[np.int64]:
    """Counts the tokens of the output features of each example of a cache: int64 [n]."""
    stored = {name: cached.features[name] for name in task.output_features if name in cached.features}
    counted = [name for name, feature in stored.items() if feature.rank == 1 and not feature.is_text]
    return sum((cached.lengths(name) for name in counted), np.zeros(len(cached), np.int64))


@dataclasses.dataclass(frozen=True)
class _Part:
    """A file of an order that is to be moved to its place, its rows, and what was counted in it."""

    file: Placing
    rows: int
    by_task: npt.NDArray[np.int64]
    epochs: int
    tokens: int


def _write(cache: MixtureCache, split: str, tasks: int, drawn: Iterator[tuple[npt.NDArray[Any], int]]) -> Iterator[_Part]:
    """Writes rows of some tasks to files."""
    blocks, total, tokens, number = list[npt.NDArray[Any]](), 0, 0, 0
    for rows, counted in itertools.chain(drawn, [(np.zeros(0, _ROW), 0)]):
        blocks, total, tokens = [*blocks, rows], total + len(rows), tokens + counted
        if total >= _FILE_ROWS or (total and not len(rows)):
            yield _write_file(cache, f"{split}.order-{number}", np.concatenate(blocks), tasks, tokens)
            blocks, total, tokens, number = [], 0, 0, number + 1


def _write_file(cache: MixtureCache, name: str, rows: npt.NDArray[Any], tasks: int, tokens: int) -> _Part:
    file = cache.work.write(name, b"".join(to_parts(Columns(len(rows), {column: rows[column] for column in (TASK, NUMBER, EPOCH)}))))
    by_task = np.bincount(rows[TASK], minlength=tasks)
    return _Part(file, len(rows), by_task, int(rows[EPOCH].max()) + 1, tokens)
