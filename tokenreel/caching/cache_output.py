"""The directory of a cache: whose it is, what may stay in it, and the end of a job, when everything is moved to its place.

Tested in tests/pipelines/test_cache_tasks.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tokenreel.caching.cache_job import TaskCache
from tokenreel.caching.mixture_job import MixtureCache
from tokenreel.caching.shards import BuiltShard
from tokenreel.caching.staging import Staged, add_statistics
from tokenreel.errors import BuildError, ManifestError
from tokenreel.format import naming, ragged_records, seqio_view
from tokenreel.format.cache_manifest import CachedShard, CacheManifest, SplitOfCache
from tokenreel.format.manifest import FileInfo, ShardInfo
from tokenreel.format.mixture_manifest import MixtureManifest
from tokenreel.format.ragged_records import SEQIO, Features
from tokenreel.storage import files, locking, placing, pooled
from tokenreel.storage.placing import Placing
from tokenreel.version import __version__
from tokenreel.wording import first_of, plural

_ADVICE = "Add --overwrite to make it again, or choose another --output_cache_dir."


def is_ours(name: str) -> bool:
    """Says whether a cache job, ours or SeqIO's, writes files of this name, or `tokenreel report` does: the page goes with the cache."""
    plain = files.TEMPORARY.sub("", name)
    known = plain in (naming.MANIFEST, naming.REPORT) or naming.is_seqio_view(plain)
    known = known or naming.is_shard(plain) or naming.is_shard_index(plain) or naming.is_order(plain)
    return known or name.startswith(f"{naming.STAGE}/")


def prepare(
    cache: TaskCache | MixtureCache,
    completed: str | None,
    *,
    overwrite: bool,
    note: Callable[[str], object] = str,
    before_changes: Callable[[], object] = bool,
) -> CacheManifest | MixtureManifest | None:
    """Makes a directory ready, and finds out whether the cache is there already. To be called by who holds the lock.

    Args:
      cache: what is to be made.
      completed: what the file COMPLETED is to hold; None where there is to be none.
      overwrite: replaces another cache, ours or SeqIO's.
      note: told what is made again.
      before_changes: called when it is known that the directory is to be written to.

    Returns:
      the manifest, if this very cache is there and whole.

    Raises:
      BuildError: the directory holds another cache, and `overwrite` is not set; or files that no cache has.
    """
    directory = cache.directory
    present = {name: size for name, size in files.list_files(directory).items() if name != locking.LOCK}
    # Tasks whose names begin alike lie in one another: "a" beside "a:b".
    foreign = sorted(name for name in present if not is_ours(name) and "/" not in name)
    if foreign:
        raise BuildError(
            f"{directory}: holds {plural(len(foreign), 'file')} that no cache has, such as {foreign[0]}. Choose another --output_cache_dir."
        )
    present = {name: size for name, size in present.items() if is_ours(name)}
    if naming.MANIFEST in present or naming.COMPLETED in present:
        finished = None if overwrite and not _is_this(cache) else _find_finished(cache, present, completed, note)
        if finished is not None:
            return finished
        before_changes()
        # COMPLETED first: from then on nobody takes what is there for a cache.
        for name in (naming.COMPLETED, naming.MANIFEST):
            files.remove(files.join(directory, name))
    before_changes()
    staged = (files.join(directory, name) for name in present if name.startswith(f"{naming.STAGE}/"))
    pooled.remove(path for path in staged if not path.startswith(f"{cache.work.directory}/"))
    return None


def _is_this(cache: TaskCache | MixtureCache) -> bool:
    try:
        found = cache.find()
    except ManifestError:
        return False
    return found is not None and found.identity == cache.identity


def _find_finished(
    cache: TaskCache | MixtureCache, present: Mapping[str, int], completed: str | None, note: Callable[[str], object]
) -> CacheManifest | MixtureManifest | None:
    """Reads the manifest of a cache that is there; None where it is to be made again.

    Raises:
      BuildError: it is another one.
    """
    directory = cache.directory
    try:
        found = cache.find()
    except ManifestError as error:
        raise BuildError(f"{error} {_ADVICE}") from error
    if found is None:
        raise BuildError(f"{directory}: holds a cache of {cache.kind} {cache.name!r} that SeqIO made, or another program. {_ADVICE}")
    if found.identity != cache.identity:
        raise BuildError(f"{directory}: the cache is stale: {', '.join(cache.changes(found))}. {_ADVICE}")
    problems = [name for name, (size, _) in found.checksums().items() if present.get(name) != size]
    if completed is not None and naming.COMPLETED not in present:
        problems.append(naming.COMPLETED)
    if problems:
        note(f"{directory}: {first_of(sorted(problems), 3)} missing or of another size; the cache is made again")
        return None
    return found


def finish(
    cache: TaskCache, splits: Mapping[int, Sequence[Staged]], built: Mapping[int, Sequence[BuiltShard]], completed: str | None
) -> str:
    """Checks that nothing was lost, and moves everything to its place: the manifest after all else, and COMPLETED after it.

    Args:
      cache: the task.
      splits: stage files by number of the split.
      built: shards by number of the split, in order.
      completed: what COMPLETED holds; None writes none.

    Returns:
      the fingerprint of the cache.

    Raises:
      BuildError: examples do not add up, a split has none, or the directory is another job's by now.
    """
    names = cache.load().splits
    found: dict[str, SplitOfCache] = {}
    placings: list[Placing] = []
    texts: dict[str, bytes] = {}
    for number, staged in splits.items():
        split, shards = names[number], built[number]
        statistics, features = add_statistics(each.statistics for each in staged), features_of(cache, split, staged)
        written = sum(shard.records for shard in shards)
        if written != statistics["examples"]:
            raise BuildError(
                f"task {cache.name!r}, split {split!r}: {statistics['examples']:,} examples were made, {written:,} written. Run the same "
                "command again, and let nothing else write there."
            )
        found[split] = SplitOfCache(features=features, shards=_infos(split, shards), statistics=statistics)
        for info in (each for shard in found[split].shards for each in (shard.data, shard.index)):
            placings.append(Placing(cache.work.unplaced(info.file), info.file, info.bytes, info.crc32c))
        if cache.wire == SEQIO:
            texts[naming.seqio_info(split)] = seqio_view.info(_seqio_features(features), len(shards))
            texts[naming.seqio_statistics(split)] = seqio_view.statistics(statistics)
    extra = [cache.work.write(name, data) for name, data in texts.items()]
    manifest = CacheManifest(
        task=cache.name,
        identity=cache.identity,
        splits=dict(sorted(found.items())),
        files=tuple(FileInfo(file=each.name, bytes=each.bytes, crc32c=each.crc32c) for each in sorted(extra, key=lambda each: each.name)),
        tokenreel_version=__version__,
    )
    listed = manifest.checksums()
    placing.place(cache.work.dataset, [*placings, *extra], lambda name: is_ours(name) and name not in listed and not _stays(name))
    placing.place(cache.work.dataset, [cache.work.write(naming.MANIFEST, manifest.to_bytes())])
    if completed is not None:
        placing.place(cache.work.dataset, [cache.work.write(naming.COMPLETED, completed.encode())])
    return manifest.fingerprint


def _stays(name: str) -> bool:
    return name.startswith(f"{naming.STAGE}/")


def _infos(split: str, shards: Sequence[BuiltShard]) -> tuple[CachedShard, ...]:
    count = len(shards)
    return tuple(
        CachedShard(
            data=ShardInfo(file=naming.shard(split, place, count), records=shard.records, bytes=shard.data[0], crc32c=shard.data[1]),
            index=FileInfo(file=naming.shard_index(split, place, count), bytes=shard.index[0], crc32c=shard.index[1]),
        )
        for place, shard in enumerate(shards)
    )


def features_of(cache: TaskCache, split: str, staged: Sequence[Staged]) -> Features:
    """Gives the features that cover all examples of a split.

    Raises:
      BuildError: there is no example, two contradict each other, or SeqIO could not read them.
    """
    filled = [each.features for each in staged if each.records]
    if not filled:
        raise BuildError(
            f"task {cache.name!r}, split {split!r}: the steps before the placeholder give no example. Correct the source or the steps, or "
            "leave the split out with --splits."
        )
    try:
        features = ragged_records.merge_features(filled)
    except BuildError as error:
        raise BuildError(f"task {cache.name!r}, split {split!r}: {error}") from error
    lacking = [name for name, each in features.items() if each.rank == 0 and any(name not in part for part in filled)]
    if cache.wire == SEQIO and lacking:
        raise BuildError(f"task {cache.name!r}, split {split!r}: {ragged_records.lacking_message(lacking[0])}")
    return features


def _seqio_features(features: Features) -> dict[str, tuple[str, list[int | None]]]:
    return {name: (each.dtype, [None, *(each.inner or ())] if each.rank else []) for name, each in features.items()}


def remove_stage(directory: str) -> None:
    """Removes what only a running job needs from the directory of a cache."""
    pooled.remove_tree(files.join(directory, naming.STAGE))
