"""What a cache job carries to its workers: the tasks, where each cache is written, and what it will be known by.

Tested in tests/pipelines/test_cache_tasks.py.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import json
import os
import pickle
from collections.abc import Callable, Sequence
from typing import Any

from tokenreel import keys
from tokenreel.caching import staging, units
from tokenreel.config.workspace import Workspace
from tokenreel.errors import BuildError, ConfigError
from tokenreel.format import naming
from tokenreel.format.ragged_records import ARRAY, SEQIO
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.listing import common_directory
from tokenreel.storage import files
from tokenreel.storage.claims import Claim
from tokenreel.tasks import cache_identity
from tokenreel.tasks.cache_directories import directory_name

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
    ) -> TaskCache:
        """Looks at a task's source and steps.

        Args:
          task: with a placeholder among its steps.
          directory: of all caches; that of the task lies below.
          splits: names of those wanted; None for all.
          seed: of random steps.
          seqio_view: whether SeqIO is to read the cache, too.
          pickles: makes bytes of the task.

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
            "inputs": {split: _describe_inputs(task.source, split, found) for split, found in listed.items()},
            "seed": seed or 0,
        }
        if seqio_view:
            identity["seqio_view"] = True
        total = sum(file.size for found in listed.values() for file in found or ())
        return cls(
            name=task.name,
            pickled=pickles(task),
            splits=tuple(chosen),
            directory=files.join(directory, directory_name(task.name)),
            identity=identity,
            seed=seed,
            wire=SEQIO if seqio_view else ARRAY,
            unit_bytes=min(max(_UNIT_BYTES, total // _UNITS), _MOST_UNIT_BYTES),
        )

    @property
    def made_by(self) -> str:
        """Digest of all that decides the examples."""
        return keys.digest(json.dumps(self.identity, sort_keys=True))

    @property
    def work(self) -> Workspace:
        """Where the job writes."""
        return Workspace(self.directory, files.join(self.directory, naming.STAGE), self.made_by, self.claim)

    def load(self) -> Any:
        """Gives the task, made once in each process."""
        return _load(self.pickled)


@functools.lru_cache(maxsize=64)
def _load(pickled: bytes) -> Any:
    return pickle.loads(pickled)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheJob:
    """What the workers of a job need.

    Attributes:
      caches: the tasks, by number.
      min_shards, max_shards: bounds of the number of shards of a split.
      completed: what the file COMPLETED holds; None where none is written.
    """

    caches: tuple[TaskCache, ...]
    min_shards: int = 1
    max_shards: int | None = None
    completed: str | None = None


def _describe_inputs(source: Any, split: str, found: Sequence[InputFile] | None) -> dict[str, Any]:
    """Describes what a split is read from: files by name, size and checksum, wherever they lie."""
    if found is None:
        return {"parts": len(source.list_shards(split))}
    with concurrent.futures.ThreadPoolExecutor(_READERS) as pool:
        sums = list(pool.map(lambda file: files.checksum(file.path), found))
    vanished = next((file.path for file, each in zip(found, sums, strict=True) if each is None), None)
    if vanished is not None:
        raise BuildError(f"{vanished}: vanished while it was read. Run the same command again.")
    base = common_directory([os.path.dirname(file.path) for file in found])
    names = [file.path.removeprefix(base).lstrip("/") for file in found]
    told = [(name, *each) for name, each in zip(names, sums, strict=True) if each is not None]
    return {"files": len(found), "bytes": sum(size for _, size, _ in told), "digest": keys.digest(json.dumps(told))}
