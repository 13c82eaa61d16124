"""Caches as files, made without a job."""

import json

from tokenreel.format import naming
from tokenreel.format.cache_manifest import CachedShard, CacheManifest, SplitOfCache
from tokenreel.format.manifest import FileInfo, ShardInfo
from tokenreel.format.ragged_records import ARRAY, SEQIO, RaggedWriter, merge_features
from tokenreel.format.tfrecord import crc32c
from tokenreel.storage.column_file import to_parts


def write_cache(directory, splits, wire=ARRAY):
    """Writes {split: [examples of each shard]} as a finished cache of ours."""
    directory.mkdir(parents=True, exist_ok=True)
    found = {}
    for split, shards in splits.items():
        infos, features = [], []
        for number, examples in enumerate(shards):
            name, index = naming.shard(split, number, len(shards)), naming.shard_index(split, number, len(shards))
            with open(directory / name, "wb") as file:
                writer = RaggedWriter(file, wire)
                writer.write(examples)
            data = b"".join(to_parts(writer.index()))
            (directory / index).write_bytes(data)
            features.append(writer.features)
            infos.append(
                CachedShard(
                    data=ShardInfo(file=name, records=len(examples), bytes=writer.bytes, crc32c=writer.crc32c),
                    index=FileInfo(file=index, bytes=len(data), crc32c=crc32c(data)),
                )
            )
        found[split] = SplitOfCache(features=merge_features(features), shards=infos, statistics={"examples": sum(map(len, shards))})
    manifest = CacheManifest(task="a_task", identity={}, splits=found, files=(), tokenreel_version="0")
    (directory / naming.MANIFEST).write_bytes(manifest.to_bytes())
    return manifest


def write_seqio(directory, split, shards, features, version="0.0.20"):
    """Writes the examples of each shard as SeqIO does, with {feature: (dtype, shape)}."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, examples in enumerate(shards):
        with open(directory / f"{split}.tfrecord-{number:05d}-of-{len(shards):05d}", "wb") as file:
            RaggedWriter(file, SEQIO).write(examples)
    told = {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in features.items()}
    info = {"features": told, "num_shards": len(shards)} | ({"seqio_version": version} if version else {})
    (directory / f"info.{split}.json").write_text(json.dumps(info))
    (directory / f"stats.{split}.json").write_text(json.dumps({"examples": sum(map(len, shards))}))
    (directory / "COMPLETED").write_text("")
