"""Opening a dataset: its manifest is read, and its shards are compared with it."""

from __future__ import annotations

import contextlib
import os

from tokenreel.errors import ConfigError, ManifestError, StorageError, describe_os_error
from tokenreel.format import naming, sidecars
from tokenreel.format import pointer as pointers
from tokenreel.format.manifest import INT64_LIST, Manifest
from tokenreel.format.pointer import Pointer
from tokenreel.format.record_damage import find_shard_damage
from tokenreel.loaders.dataset import Dataset
from tokenreel.loaders.records import BuildWatch, MappedRecords, PositionedRecords, Records, RemoteRecords, ShardCache
from tokenreel.storage import files

_ALL_FILES = "Copy the whole directory again from where it was built."


def load(
    path: str | os.PathLike[str],
    split: str = "train",
    *,
    verify: str = "size",
    crc: str = "off",
    fingerprint: str | None = None,
    backend: str = "auto",
    cache: str | os.PathLike[str] | None = None,
    cache_bytes: int | None = None,
) -> Dataset:
    """Opens a split of a dataset, local or `gs://`.

    Reads the manifest and compares the names and sizes of the shards with it; the time does not grow with the number of records. When a
    shard is first read, its first and last record are checked, so that exchanged shards are noticed whatever `crc` says.

    Args:
      path: directory with a `manifest.json`, or a pointer to one (`latest.json`), which is read once.
      split: to read.
      verify: "size" compares names and sizes; "full" also reads every byte and checks every CRC.
      crc: when a record's CRCs are checked: "off", "first" (the first time it is read), "always".
      fingerprint: refuses any other dataset; None takes what is there.
      backend: "mmap", "pread" (mapped pages count as memory nowhere), or "auto": mmap for local files, ranges of objects for `gs://`.
      cache: local directory that keeps whole shards of a `gs://` dataset; needed to shuffle over everything, where `Lanes` read blocks.
      cache_bytes: bound of the cache; None lets it grow to the whole dataset.

    Raises:
      ManifestError: the directory is incomplete, altered (the vocabulary's copy too), of another version or fingerprint; names the file.
        Reading raises it as well, when another build has taken the place of this one.
      ConfigError: an option is unknown or impossible.
      StorageError: it is there and cannot be read.
    """
    path, pointer = _directory_of(path)
    if verify not in ("size", "full"):
        raise ConfigError(f"verify must be size or full, got {verify!r}")
    watch = BuildWatch(path)
    manifest = watch.manifest
    _check_fingerprint(path, pointer, manifest, fingerprint)
    if split not in manifest.splits:
        raise ConfigError(f"{path}: no split {split!r}; there are {', '.join(manifest.splits)}")
    if manifest.record_format == INT64_LIST:
        raise ManifestError(
            f"{path}: records of the int64_list format differ in length, so there is no random access. Read them with "
            "tf.data.TFRecordDataset and tf.io.parse_example (tokenreel.loaders.to_tensorflow.parsed does), or build with "
            "`shards.format: fixed`."
        )
    watch.note(check_files(path, manifest, split))
    if not (info := manifest.splits[split]).examples:
        raise ManifestError(f"{path}: {manifest.describe_empty(split)}, or load another split.")
    records = _records(watch, split, crc, backend, cache, cache_bytes)
    if verify == "full":
        found = [line for shard in info.shards for line in find_shard_damage(files.join(path, shard.file), shard, manifest.fixed_format)]
        if found:
            more = f" ({len(found) - 1:,} more differences; `tokenreel verify` lists them)" if len(found) > 1 else ""
            raise ManifestError(found[0] + more)
    dataset = Dataset(path, manifest, split, records)
    dataset.pointer = pointer.path if pointer is not None else None
    return dataset


def resolved(path: str | os.PathLike[str]) -> str:
    """Gives the directory behind a local path or a pointer, with `~` written out: what they lead to later does not matter to who opened it.

    Raises:
      ManifestError: a pointer is missing, or is none.
    """
    return _directory_of(path)[0]


def _directory_of(path: str | os.PathLike[str]) -> tuple[str, Pointer | None]:
    """Does what `resolved` does, and gives the pointer that led there, as it was read."""
    path = files.expand(os.fspath(path))
    pointer = None
    if pointers.is_pointer(path):
        pointer = pointers.read(path)
        path = pointer.current.dataset
    return (path if files.is_remote(path) else os.path.realpath(path)), pointer


def _check_fingerprint(path: str, pointer: Pointer | None, manifest: Manifest, wanted: str | None) -> None:
    """Compares a dataset with what was asked for, and with what its pointer says.

    Raises:
      ManifestError: it is another one; names the right one where the pointer remembers it.
    """
    if wanted is not None and manifest.fingerprint != wanted:
        before = pointer.find(lambda fingerprint: fingerprint == wanted) if pointer is not None else None
        right = f"the path of the right one, {before.dataset}" if before is not None else "the path of the right one"
        raise ManifestError(
            f"{path}: fingerprint {manifest.fingerprint}, expected {wanted}: this is another dataset. Give {right}, "
            "or leave the fingerprint out to take this one."
        )
    if pointer is not None and manifest.fingerprint != pointer.current.fingerprint:
        raise ManifestError(
            f"{path}: fingerprint {manifest.fingerprint}, but {pointer.path} names {pointer.current.fingerprint}: it was built again after "
            "it was published. Verify it, and publish it again (`tokenreel publish`)."
        )


def _records(
    watch: BuildWatch,
    split: str,
    crc: str,
    backend: str,
    cache: str | os.PathLike[str] | None,
    cache_bytes: int | None,
) -> Records:
    path, manifest = watch.directory, watch.manifest
    shards, fixed_format = manifest.splits[split].shards, manifest.fixed_format
    if backend not in ("auto", "mmap", "pread"):
        raise ConfigError(f"backend must be auto, mmap or pread, got {backend!r}")
    if cache is not None:  # local files are copied too: the source may be a slow disk
        copies = ShardCache(path, files.expand(os.fspath(cache)), manifest.fingerprint, cache_bytes)
        return MappedRecords(path, shards, fixed_format, crc, copies, watch)
    if files.is_remote(path):
        if backend != "auto":
            raise ConfigError(f"{path}: backend {backend!r} needs local files; leave it out, or give a cache directory")
        return RemoteRecords(path, shards, fixed_format, crc, watch=watch)
    if backend == "pread":
        return PositionedRecords(path, shards, fixed_format, crc, watch)
    return MappedRecords(path, shards, fixed_format, crc, watch=watch)


def check_files(path: str, manifest: Manifest, split: str) -> dict[str, int]:
    """Compares the shards of a split with the directory, and the vocabulary's copy with its CRC.

    Returns:
      the versions of the files in it, see `BuildWatch.note`.

    Raises:
      ManifestError: a shard is missing, of another size or (in a bucket, which knows it) CRC, or there is one that the manifest does not
        know; the vocabulary is another.
      StorageError: the directory or the vocabulary is there and cannot be read.
    """
    shards = manifest.splits[split].shards
    fixed_format = manifest.fixed_format
    if contradiction := manifest.find_contradiction(split):
        raise ManifestError(f"{path}: {contradiction}")
    # A bucket lists a thousand objects a request, with sizes and CRCs; a local directory is not walked below its first level.
    if files.is_remote(path):
        present = {name: (found.size, found.generation, found.crc32c) for name, found in files.remote_list(path).items()}
    else:
        present = {name: (*found, None) for name, found in _shards_in(path).items()}
    for shard in shards:
        if shard.file not in present:
            raise ManifestError(
                f"{files.join(path, shard.file)}: missing; the manifest lists {len(shards)} shards of split {split!r}. {_ALL_FILES}"
            )
        found, _, crc = present[shard.file]
        if found != shard.bytes:
            raise ManifestError(
                f"{files.join(path, shard.file)}: {found:,} bytes ({found / fixed_format.record_bytes:,.2f} records), the manifest says "
                f"{shard.bytes:,} ({shard.records:,} records). {_ALL_FILES}"
            )
        if crc not in (None, shard.crc32c):
            raise ManifestError(
                f"{files.join(path, shard.file)}: another build wrote it after the manifest: crc32c {crc:#010x}, the manifest says "
                f"{shard.crc32c:#010x}. Build the dataset again, or copy it from where it is whole."
            )
    # Shards of all splits: those of another split are no strangers.
    known = {shard.file for info in manifest.splits.values() for shard in info.shards}
    for name in present:
        if naming.is_shard(name) and name not in known:
            raise ManifestError(f"{files.join(path, name)}: a shard that the manifest does not list, of another build perhaps. Remove it.")
    if manifest.vocabulary.file is not None:
        sidecars.check(path, manifest, manifest.vocabulary.file)
    return {shard.file: present[shard.file][1] for shard in shards}


def _shards_in(path: str) -> dict[str, tuple[int, int]]:
    """Lists the shards in a local directory: name to bytes and time of the last change, in nanoseconds."""
    found = {}
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if naming.is_shard(entry.name):
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile: missing, like any other
                        status = entry.stat()
                        found[entry.name] = status.st_size, status.st_mtime_ns
    except OSError as error:
        raise StorageError(describe_os_error(error, path)) from error
    return found
