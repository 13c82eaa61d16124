"""What a cache job carries to its workers: the tasks, where each cache is written, and what it will be known by.

Tested in tests/pipelines/test_cache_tasks.py.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
import pickle
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

from tokenreel.caching import staging, units
from tokenreel.caching.mixture_job import MixtureCache
from tokenreel.caching.staging import Counter, Staged
from tokenreel.caching.units import Unit
from tokenreel.config.workspace import Workspace
from tokenreel.errors import BuildError, ConfigError
from tokenreel.format import cache_manifest, naming
from tokenreel.format.cache_manifest import CacheManifest
from tokenreel.format.mixture_manifest import made_by
from tokenreel.format.ragged_records import ARRAY, SEQIO
from tokenreel.launched import Launched
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.listing import common_directory
from tokenreel.storage import files
from tokenreel.storage.claims import Claim
from tokenreel.tasks import cache_identity

_READERS = 8  # files that are read at a time for their checksums
_UNIT_BYTES = 16 << 20  # of text, at least
_MOST_UNIT_BYTES = 512 << 20
_UNITS = 1024  # of a split, about, where units need not be larger than `_MOST_UNIT_BYTES`
SHARD_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskCache:
    """A task that is cached.

    Attributes:
      name: of the task.
      pickled: the task itself.
      splits: numbers of its splits that are cached.
      directory: where its cache lies.
      identity: what decides the examples, as the manifest keeps it.
      seed: of random steps.
      wire: of the records.
      unit_bytes: bytes of text that a unit has about.
      claim: to the directory.
    """

    kind: ClassVar[str] = "task"

    name: str
    pickled: bytes
    splits: tuple[int, ...]
    directory: str
    identity: dict[str, Any]
    seed: int | None
    wire: str
    unit_bytes: int
    claim: Claim | None = None

    @classmethod
    def of(
        cls,
        task: Any,
        directory: str,
        splits: Sequence[str] | None,
        seed: int | None,
        seqio_view: bool,
        pickles: Callable[[Any], bytes] = pickle.dumps,
        *,
        characters: bool = False,
    ) -> TaskCache:
        """Looks at a task's source and steps.

        Args:
          task: with a placeholder among its steps.
          directory: of all caches; that of the task lies below.
          splits: names of those wanted; None for all.
          seed: of random steps.
          seqio_view: whether SeqIO is to read the cache, too.
          pickles: makes bytes of the task.
          characters: whether the characters of output features are counted.

        Raises:
          ConfigError: it has no such split, or nothing tells what a step of it does.
          BuildError: a file of its source is missing.
        """
        if task.compat:  # draws by place would be others wherever a file is cut
            task = task.replace(compat=None)
        names = list(task.splits)
        for split in splits or ():
            if split not in names:
                raise ConfigError(f"--splits: task {task.name!r} has no split {split!r}; it has {', '.join(names)}")
        chosen = [number for number, name in enumerate(names) if splits is None or name in splits]
        listed = {names[number]: units.list_inputs(task.source, names[number]) for number in chosen}
        identity = {
            "algorithms": {"cache": staging.VERSION, "steps": cache_identity.VERSION},
            "steps": cache_identity.describe_steps(task),
            "features": cache_identity.describe_features(task),
            "source": cache_identity.describe_source(task.source),
            "inputs": {split: describe_inputs(task.source, split, found) for split, found in listed.items()},
            "seed": seed or 0,
        }
        if seqio_view:
            identity["seqio_view"] = True
        if characters:
            identity["char_counts"] = True
        return cls(
            name=task.name,
            pickled=pickles(task),
            splits=tuple(chosen),
            directory=files.join(directory, naming.cache_directory(task.name)),
            identity=identity,
            seed=seed,
            wire=SEQIO if seqio_view else ARRAY,
            unit_bytes=unit_bytes(listed.values()),
        )

    @property
    def made_by(self) -> str:
        """Digest of all that decides the examples."""
        return made_by(self.identity)

    @property
    def work(self) -> Workspace:
        """Where the job writes."""
        return Workspace(self.directory, files.join(self.directory, naming.STAGE), self.made_by, self.claim)

    def load(self) -> Any:
        """Gives the task, made once in each process."""
        return _load(self.pickled)

    def find(self) -> CacheManifest | None:
        """Reads the manifest that is there.

        Raises:
          ManifestError: it was altered.
        """
        return cache_manifest.find(self.directory)

    def changes(self, found: Any) -> list[str]:
        """Says what is not as it was when a cache was made."""
        old, new = found.identity, self.identity
        changed = [f"{each} changed" for each in cache_identity.differences(self.load(), old)]
        told = {"source": "the source changed", "seed": "--base_seed changed", "seqio_view": "--seqio_view changed"}
        told["char_counts"] = "--enable_char_counts changed"
        changed += [text for name, text in told.items() if old.get(name) != new.get(name)]
        splits = sorted({*old.get("inputs", {}), *new["inputs"]})
        for split in splits:
            before, now = old.get("inputs", {}).get(split), new["inputs"].get(split)
            if before != now:
                changed.append(f"split {split!r} {'is new' if before is None else 'is left out' if now is None else 'has other files'}")
        return changed or ["another version of tokenreel made it"]

    def stage(self, unit: Unit, first: int) -> Staged:
        """Writes what the steps make of a unit, whose first example has this number in its file: see `staging.stage`."""
        task = self.load()
        counter = Counter(task.output_features, characters=self.identity.get("char_counts", False))
        return staging.stage(task, unit, first, self.seed, self.wire, self.made_by, self.work.stages, counter)


@functools.lru_cache(maxsize=64)
def _load(pickled: bytes) -> Any:
    return pickle.loads(pickled)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheJob:
    """What the workers of a job need: a cache, or a mixture, at least.

    Attributes:
      caches: the tasks, by number.
      mixtures: whose tasks are among them, or cached already.
      min_shards, max_shards: bounds of the number of shards of a split.
      completed: what the file COMPLETED holds; None where none is written.
      launched: stops a worker whose code is not the launcher's.
    """

    caches: tuple[TaskCache, ...]
    mixtures: tuple[MixtureCache, ...] = ()
    min_shards: int = 1
    max_shards: int | None = None
    completed: str | None = None
    launched: Launched = dataclasses.field(default_factory=Launched, repr=False)

    @property
    def work(self) -> Workspace:
        """Where the job writes what belongs to no cache alone."""
        return self.caches[0].work if self.caches else self.mixtures[0].work


def unit_bytes(listed: Iterable[Sequence[InputFile] | None]) -> int:
    """Says how many bytes of text a unit has about, by the files of all splits."""
    total = sum(file.size for found in listed for file in found or ())
    return min(max(_UNIT_BYTES, total // _UNITS), _MOST_UNIT_BYTES)


def describe_inputs(source: Any, split: str, found: Sequence[InputFile] | None) -> dict[str, Any]:
    """Describes what a split is read from: files by name, size and checksum, wherever they lie."""
    if found is None:
        return {"parts": len(source.list_shards(split))}
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        sums = list(pool.map(lambda file: files.checksum(file.path), found))
    vanished = next((file.path for file, each in zip(found, sums, strict=True) if each is None), None)
    if vanished is not None:
        raise BuildError(f"{vanished}: vanished while it was read. Run the same command again.")
    base = common_directory([os.path.dirname(file.path) for file in found])
    return cache_identity.describe_files([(file.path, *each) for file, each in zip(found, sums, strict=True) if each is not None], base)
