"""`manifest.json` of a cached task: which examples lie in which files. Its presence means that the cache is complete.

Tested in tests/tokenreel/tasks/test_caching.py.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenreel.format import naming, told_manifest
from tokenreel.format.manifest import FileInfo, ShardInfo, to_json
from tokenreel.format.ragged_records import RaggedFeature
from tokenreel.storage import files

FORMAT = "tokenreel-cache"
FORMAT_VERSION = 1
RAGGED = "ragged"  # records of any length, as `ragged_records` writes them
_AGAIN = "Copy the directory again, or run the same `tokenreel cache-tasks` command again."


@dataclasses.dataclass(frozen=True, kw_only=True)
class CachedShard:
    """A shard of a cache.

    Attributes:
      data: its records.
      index: the file that finds their parts.
    """

    data: ShardInfo
    index: FileInfo


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitOfCache:
    """A split of a cache.

    Attributes:
      features: of its examples, by name.
      shards: in order; they differ in their numbers of records.
      statistics: what SeqIO's `stats` file says.
    """

    features: Mapping[str, RaggedFeature]
    shards: Sequence[CachedShard]
    statistics: Mapping[str, int]

    @property
    def examples(self) -> int:
        """Records in all shards."""
        return sum(shard.data.records for shard in self.shards)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheManifest:
    """Everything a reader needs to know of a cached task, and what tells a stale cache.

    Attributes:
      task: name of the task or mixture.
      identity: what decides the examples: source files, steps, seed, as the job found them.
      splits: by name, sorted.
      files: what lies beside the shards and their indexes.
      tokenreel_version: of the software that made it.
    """

    task: str
    identity: Mapping[str, Any]
    splits: Mapping[str, SplitOfCache]
    files: Sequence[FileInfo]
    tokenreel_version: str

    def _body(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "identity": self.identity,
            "splits": {name: split_to_json(split) for name, split in self.splits.items()},
        }

    @property
    def fingerprint(self) -> str:
        """Identifies the examples: equal exactly where the shards' bytes, their order and what made them are equal."""
        return told_manifest.fingerprint(FORMAT, FORMAT_VERSION, self._body())

    def checksums(self) -> dict[str, tuple[int, int]]:
        """Gives the bytes and the CRC32C of every file of the cache beside the manifest, by name."""
        return checksums(self.splits, self.files)

    def to_bytes(self) -> bytes:
        """Gives the text of the file."""
        body = self._body() | {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "record": {"format": RAGGED},
            "files": [dataclasses.asdict(info) for info in self.files],
            "tokenreel_version": self.tokenreel_version,
            "fingerprint": self.fingerprint,
        }
        return to_json(body)


def feature_to_json(feature: RaggedFeature) -> dict[str, Any]:
    """Writes a feature in JSON's types."""
    return {name: value for name, value in dataclasses.asdict(feature).items() if value is not None and value is not False}


def feature_from_json(body: Mapping[str, Any]) -> RaggedFeature:
    """Reads what `feature_to_json` wrote."""
    inner = body.get("inner")
    return RaggedFeature(
        dtype=body["dtype"],
        rank=body["rank"],
        wire=body["wire"],
        inner=None if inner is None else tuple(inner),
        empty=body.get("empty", False),
    )


def is_cache(data: bytes) -> bool:
    """Says whether the bytes of a `manifest.json` are those of a cache."""
    try:
        found = json.loads(data)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def find(directory: str) -> CacheManifest | None:
    """Reads the manifest of a directory; None where there is none, or that of a dataset.

    Raises:
      ManifestError: it was altered, or a newer version wrote it.
    """
    try:
        data = files.read_bytes(files.join(directory, naming.MANIFEST))
    except OSError:  # who opens it as a dataset says what is wrong
        return None
    return parse(data, files.join(directory, naming.MANIFEST)) if is_cache(data) else None


def parse(data: bytes, path: str) -> CacheManifest:
    """Reads the text of a manifest.

    Raises:
      ManifestError: it was altered, or a newer version wrote it.
    """
    body = json.loads(data)

    def make() -> CacheManifest:
        return CacheManifest(
            task=body["task"],
            identity=body["identity"],
            splits={name: split_from_json(split) for name, split in sorted(body["splits"].items())},
            files=tuple(FileInfo(**info) for info in body["files"]),
            tokenreel_version=body["tokenreel_version"],
        )

    return told_manifest.check(body, path, FORMAT_VERSION, make, _AGAIN)


def checksums(splits: Mapping[str, SplitOfCache], others: Sequence[FileInfo]) -> dict[str, tuple[int, int]]:
    """Gives the bytes and the CRC32C of the files of all shards, and of others, by name."""
    shards = [info for split in splits.values() for shard in split.shards for info in (shard.data, shard.index)]
    return {info.file: (info.bytes, info.crc32c) for info in (*shards, *others)}


def split_to_json(split: SplitOfCache) -> dict[str, Any]:
    """Writes a split in JSON's types."""
    return {
        "features": {name: feature_to_json(feature) for name, feature in split.features.items()},
        "shards": [dataclasses.asdict(shard) for shard in split.shards],
        "statistics": dict(split.statistics),
    }


def split_from_json(body: Mapping[str, Any]) -> SplitOfCache:
    """Reads what `split_to_json` wrote."""
    return SplitOfCache(
        features={name: feature_from_json(feature) for name, feature in sorted(body["features"].items())},
        shards=tuple(CachedShard(data=ShardInfo(**shard["data"]), index=FileInfo(**shard["index"])) for shard in body["shards"]),
        statistics=body["statistics"],
    )
