"""Compares every byte of a cached task with its manifest, its records and its indexes.

Tested in tests/tokenreel/commands/test_caches.py.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from tokenreel.errors import ManifestError
from tokenreel.format import naming, ragged_scan, tfrecord
from tokenreel.format.cache_manifest import CachedShard, CacheManifest
from tokenreel.format.features import FeatureManifest
from tokenreel.storage import column_file, files

_MOST_RECORD_BYTES = 1 << 32


def differences(
    directory: str,
    manifest: CacheManifest | FeatureManifest,
    *,
    quick: bool = False,
    is_ours: Callable[[str], bool] = lambda name: naming.is_shard(name) or naming.is_shard_index(name),
) -> Iterator[str]:
    """Yields a line for each thing that is not as the manifest says.

    Args:
      directory: of the cache.
      manifest: of it.
      quick: compares names and sizes alone.
      is_ours: says of a name whether the manifest ought to list it.
    """
    sound = set[str]()
    yield from file_differences(directory, manifest.checksums(), is_ours, sound, quick=quick)
    if quick:
        return
    for split, found_split in manifest.splits.items():
        if found_split.examples != found_split.statistics.get("examples"):
            yield f"{split}: {found_split.examples:,} examples in its shards, its statistics say {found_split.statistics.get('examples')}"
        for shard in found_split.shards:
            if {shard.data.file, shard.index.file} <= sound:
                yield from _shard_differences(directory, shard)


def file_differences(
    directory: str, listed: Mapping[str, tuple[int, int]], is_ours: Callable[[str], bool], sound: set[str], *, quick: bool
) -> Iterator[str]:
    """Compares the files of a directory with what a manifest lists.

    Args:
      directory: where they lie.
      listed: (bytes, CRC32C) by name.
      is_ours: says of a name whether the manifest ought to list it.
      sound: gets the names of those that are as they were written.
      quick: compares names and sizes alone.

    Yields:
      a line for each difference.
    """
    present = files.list_files(directory)
    for name, (size, crc) in listed.items():
        if name not in present:
            yield f"{name}: missing"
        elif present[name] != size:
            yield f"{name}: {present[name]:,} bytes, the manifest says {size:,}"
        elif not quick and (found := files.checksum(files.join(directory, name))) != (size, crc):
            yield f"{name}: crc32c is {found[1] if found else 0:#010x}, the manifest says {crc:#010x}"
        else:
            sound.add(name)
    yield from (f"{name}: not in the manifest" for name in sorted(present) if name not in listed and is_ours(name))


def _shard_differences(directory: str, shard: CachedShard) -> Iterator[str]:
    """Compares a shard that is as it was written with its own CRCs and its index."""
    path = files.join(directory, shard.data.file)
    data = column_file.map_bytes(path) if shard.data.bytes else np.zeros(0, np.uint8)
    try:
        bounds = ragged_scan.offsets(data, path)
    except ManifestError as error:
        yield str(error)
        return
    if len(bounds) - 1 != shard.data.records:
        yield f"{shard.data.file}: {len(bounds) - 1:,} records, the manifest says {shard.data.records:,}"
    index = column_file.of_bytes(column_file.map_bytes(files.join(directory, shard.index.file)))
    if not np.array_equal(index.arrays["offset"], bounds):
        yield f"{shard.index.file}: does not say where the records of {shard.data.file} begin"
    for position, _, problem in tfrecord.read_frames(io.BytesIO(data.data).read, _MOST_RECORD_BYTES):
        if problem:
            yield f"{shard.data.file}: the record at byte {position:,}: {problem}"
