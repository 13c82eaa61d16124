"""Cached tasks as they are read: examples by number, from a directory that `tokenreel cache-tasks` or SeqIO made.

What lies in a directory is compared with what its manifest says: by name and size when it is opened, and by digest when a file is read
first. A directory of SeqIO has no digests; there, shards of another run and counts that differ are refused.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.errors import ManifestError
from tokenreel.format import cache_manifest, naming, ragged_scan
from tokenreel.format.cache_manifest import CacheManifest
from tokenreel.format.ragged_records import SEQIO, TEXT, Features, RaggedFeature
from tokenreel.format.ragged_shards import Open, RaggedRecords, map_shard
from tokenreel.storage import column_file, files
from tokenreel.storage.column_file import Columns
from tokenreel.tasks import cache_identity
from tokenreel.wording import first_of, plural

AGAIN = "Copy the directory again, or run `tokenreel cache-tasks` with --overwrite."
_SEQIO_AGAIN = "Make the cache again, into an empty directory."


class CachedSplit(RaggedRecords):
    """The examples of a split of a cached task.

    Attributes:
      directory, split: where they lie.
      stats: SeqIO's statistics: `examples`, and tokens of each feature.
      features: what is stored of each example.
      manifest: None for a directory that SeqIO wrote.
    """

    def __init__(
        self,
        directory: str,
        split: str,
        features: Features,
        shards: Sequence[tuple[int, Open]],
        stats: Mapping[str, int],
        manifest: CacheManifest | None = None,
    ) -> None:
        super().__init__(features, shards)
        self.directory, self.split, self.stats, self.manifest = directory, split, dict(stats), manifest

    @property
    def fingerprint(self) -> str | None:
        """Identifies the whole cache; None for a directory that SeqIO wrote."""
        return None if self.manifest is None else self.manifest.fingerprint

    def __reduce__(self) -> Any:
        return open_cached, (self.directory, self.split)

    def __repr__(self) -> str:
        return f"CachedSplit({self.directory!r}, {self.split!r}: {plural(len(self), 'example')})"


def is_cached(directory: str) -> bool:
    """Says whether a directory holds a finished cache, ours or SeqIO's."""
    return files.size(files.join(directory, naming.COMPLETED)) is not None or cache_manifest.find(directory) is not None


def is_cache(directory: str) -> bool:
    """Says whether a directory is to be looked at as a cache: a dataset that SeqIO can read as one has a manifest of its own."""
    if cache_manifest.find(directory) is not None:
        return True
    completed, manifest = (files.size(files.join(directory, name)) is not None for name in (naming.COMPLETED, naming.MANIFEST))
    return completed and not manifest


def splits_of(directory: str) -> list[str]:
    """Names the splits of a cache; none where there is no cache."""
    manifest = cache_manifest.find(directory)
    if manifest is not None:
        return list(manifest.splits)
    found = (re.fullmatch(r"info\.(.+)\.json", name) for name in (files.list_files(directory) if is_cached(directory) else {}))
    return sorted(each[1] for each in found if each)


def stats_of(directory: str, split: str) -> dict[str, int]:
    """Reads the statistics of a split, without a look at its shards.

    Raises:
      ManifestError: there is no such split.
    """
    manifest = cache_manifest.find(directory)
    if manifest is not None:
        return dict(_split(directory, manifest, split).statistics)
    return _json(directory, naming.seqio_statistics(split))


def open_cached(directory: str, split: str) -> CachedSplit:
    """Opens a split of a cached task.

    Args:
      directory: of the task, local or `gs://`: what `tokenreel cache-tasks` or SeqIO's own job made.
      split: one of the task's.

    Raises:
      ManifestError: there is no such cache, it did not finish, or its files are not those that belong to it.
    """
    manifest = cache_manifest.find(directory)
    if manifest is None:
        return _open_seqio(directory, split)
    found = _split(directory, manifest, split)
    _check_files(directory, manifest)
    shards = [(shard.data.records, functools.partial(map_shard, directory, shard, AGAIN)) for shard in found.shards]
    return CachedSplit(directory, split, found.features, shards, found.statistics, manifest)


def check_fresh(cached: CachedSplit, task: Any) -> None:
    """Checks that the steps of a task before its placeholder, and its source, are those that made its cache.

    Of what SeqIO wrote nothing is known. How closely the source is looked at, `cache_identity.source_differences` says.

    Raises:
      ManifestError: they are not.
    """
    manifest = cached.manifest
    if manifest is None or not manifest.identity:
        return
    if manifest.task != task.name:
        raise ManifestError(f"{cached.directory}: is the cache of {manifest.task!r}, and {task.name!r} was asked for. {AGAIN}")
    changed = cache_identity.differences(task, manifest.identity)
    named = cache_identity.told_apart_by_main(task, manifest.identity) if changed else None
    if named is not None:
        before, now = named
        raise ManifestError(
            f"{cached.directory}: the cache of task {task.name!r} was made by {before}, and the task is made of {now} here. A function of "
            "the module that Python was started with is named after __main__, so nothing tells that both are one. Put the task into a "
            "module of its own, which this program imports and `tokenreel cache-tasks` is given by --module_import."
        )
    changed += cache_identity.source_differences(task, manifest.identity, cached.split)
    if changed:
        raise ManifestError(
            f"{cached.directory}: the cache of task {task.name!r} is stale: {first_of([f'{each} changed' for each in changed], 3)}. "
            "Run `tokenreel cache-tasks` with --overwrite, or take the edit back."
        )


def _split(directory: str, manifest: CacheManifest, split: str) -> cache_manifest.SplitOfCache:
    if split not in manifest.splits:
        raise ManifestError(f"{directory}: {manifest.task!r} was cached without a split {split!r}; it has {', '.join(manifest.splits)}.")
    return manifest.splits[split]


def _check_files(directory: str, manifest: CacheManifest) -> None:
    """Compares what lies in a directory with its manifest, by names and sizes.

    Raises:
      ManifestError: something is missing, of another size, or a shard of another run.
    """
    present, listed = files.list_files(directory), manifest.checksums()
    for name, (size, _) in listed.items():
        path = files.join(directory, name)
        if name not in present:
            raise ManifestError(f"{path}: missing, though the manifest lists it. {AGAIN}")
        if present[name] != size:
            raise ManifestError(f"{path}: {present[name]:,} bytes, the manifest says {size:,}. {AGAIN}")
    extra = [name for name in present if name not in listed and (naming.is_shard(name) or naming.is_shard_index(name))]
    if extra:
        raise ManifestError(f"{directory}: holds {first_of(sorted(extra), 2)}, not listed in the manifest: left by another run. {AGAIN}")


# What SeqIO wrote.


def _json(directory: str, name: str) -> dict[str, Any]:
    path = files.join(directory, name)
    try:
        found = json.loads(files.read_bytes(path))
    except (FileNotFoundError, NotADirectoryError):
        raise ManifestError(
            f"{path}: missing. {directory} holds no cache with this split: run `tokenreel cache-tasks`, or give the directory of a task."
        ) from None
    except ValueError as error:
        raise ManifestError(f"{path}: no JSON ({error}). {_SEQIO_AGAIN}") from error
    if not isinstance(found, dict):
        raise ManifestError(f"{path}: no JSON object. {_SEQIO_AGAIN}")
    return found


def _open_seqio(directory: str, split: str) -> CachedSplit:
    present = files.list_files(directory)
    if present and naming.COMPLETED not in present:
        raise ManifestError(f"{directory}: no {naming.MANIFEST} and no {naming.COMPLETED}: its cache did not finish. {_SEQIO_AGAIN}")
    info, stats = _json(directory, naming.seqio_info(split)), _json(directory, naming.seqio_statistics(split))
    try:
        stored = {name: _feature(name, told, info) for name, told in sorted(info["features"].items())}
        count, examples = int(info["num_shards"]), int(stats["examples"])
    except (KeyError, TypeError, ValueError) as error:
        raise ManifestError(
            f"{files.join(directory, naming.seqio_info(split))}: {type(error).__name__} ({error}). {_SEQIO_AGAIN}"
        ) from error
    names = [naming.shard(split, index, count) for index in range(count)]
    others = sorted(name for name in present if name.startswith(f"{split}.tfrecord-") and name not in names)
    if others:
        raise ManifestError(f"{directory}: holds {first_of(others, 2)} beside the {count} shards that belong to it. {_SEQIO_AGAIN}")
    for name in names:
        if name not in present:
            raise ManifestError(f"{files.join(directory, name)}: missing, though {naming.seqio_info(split)} tells of it. {_SEQIO_AGAIN}")
    shards = [_Scanned(files.join(directory, name), stored) for name in names if present[name]]
    counts = [shard.count() for shard in shards]
    if sum(counts) != examples:
        raise ManifestError(
            f"{directory}: {sum(counts):,} examples lie in the shards of {split!r}, {naming.seqio_statistics(split)} says {examples:,}. "
            f"{_SEQIO_AGAIN}"
        )
    features = {_renamed(name): feature for name, feature in stored.items()}
    return CachedSplit(directory, split, features, list(zip(counts, shards, strict=True)), stats)


def _feature(name: str, told: Mapping[str, Any], info: Mapping[str, Any]) -> RaggedFeature:
    """Reads what SeqIO's info file says of a feature: caches of its first versions held int32, and called it int64."""
    dtype, shape = str(told["dtype"]), list(told["shape"])
    if dtype == "int64" and "seqio_version" not in info:
        dtype = "int32"
    if None in shape[1:]:
        raise ValueError(f"feature {name!r} has axes of varying length after the first, which only TensorFlow's ragged tensors hold")
    return RaggedFeature(
        dtype=TEXT if dtype in ("string", "object") else dtype,
        rank=len(shape),
        wire=SEQIO,
        inner=tuple(int(size) for size in shape[1:]) if len(shape) > 1 else None,
    )


class _Scanned:
    """Opens a shard that has no index, and makes one."""

    def __init__(self, path: str, features: Features) -> None:
        self._path, self._features = path, features

    def count(self) -> int:
        """Counts its records."""
        return len(ragged_scan.offsets(column_file.map_bytes(self._path), self._path)) - 1

    def __call__(self) -> tuple[npt.NDArray[np.uint8], Columns]:
        data = column_file.map_bytes(self._path)
        index = ragged_scan.scan(data, self._features, self._path)
        return data, Columns(index.rows, {_renamed(name): values for name, values in index.arrays.items()})


def _renamed(name: str) -> str:
    """Gives today's name of a feature, or of a column of its index."""
    return name.replace("_plaintext", "_pretokenized")
