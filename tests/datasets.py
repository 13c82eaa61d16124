"""Small datasets made from arrays, for tests of what reads them."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tokenreel.format import example_codec, naming, schema, tfrecord
from tokenreel.format.manifest import FIXED, FileInfo, Manifest, ShardInfo, SplitInfo, VocabularyInfo
from tokenreel.format.schema import Feature, RecordFormat

PAD = 0


def random_examples(
    count: int, seq_len: int, *, overlap: int = 0, vocab_size: int = 1000, padded: bool = False, seed: int = 0
) -> dict[str, npt.NDArray]:
    """Arrays of `count` examples: tokens, document_starts and, with `padded`, num_tokens."""
    rng = np.random.default_rng(seed)
    length = seq_len + overlap
    arrays = {
        schema.TOKENS: rng.integers(3, vocab_size, (count, length)),
        schema.DOCUMENT_STARTS: rng.random((count, length)) < 0.15,
    }
    arrays[schema.DOCUMENT_STARTS][:, 0] |= rng.random(count) < 0.7
    if padded:
        numbers = rng.integers(1, length + 1, count)
        real = np.arange(length) < numbers[:, None]
        arrays[schema.TOKENS][~real] = PAD
        arrays[schema.DOCUMENT_STARTS] &= real
        arrays[schema.NUM_TOKENS] = numbers.astype(np.int32)
    return arrays


def write_dataset(
    directory: pathlib.Path | str,
    splits: Mapping[str, Mapping[str, npt.ArrayLike]],
    *,
    overlap: int = 0,
    vocab_size: int = 1000,
    per_shard: int = 16,
    record_format: str = FIXED,
    config: Mapping[str, object] | None = None,
    extra: Mapping[str, Feature] | None = None,
    statistics: Mapping[str, object] | None = None,
) -> Manifest:
    """Writes a dataset as a build does: shards, provenance, manifest.

    Provenance: each piece of an example is a document of its own, called "{split}-{example}-{segment}", of source "even" or "odd".
    """
    directory = pathlib.Path(directory)
    (directory / "provenance").mkdir(parents=True)
    some = next(iter(splits.values()))
    length = np.asarray(some[schema.TOKENS]).shape[1]
    features = [
        Feature(name=schema.TOKENS, dtype=schema.token_dtype(vocab_size), shape=(length,)),
        Feature(name=schema.DOCUMENT_STARTS, dtype=schema.BIT, shape=(length,)),
        Feature(name=schema.EXAMPLE_ID, dtype="int64"),
        *(extra or {}).values(),
    ]
    if schema.NUM_TOKENS in some:
        features.append(Feature(name=schema.NUM_TOKENS, dtype="int32"))
    features = tuple(sorted(features, key=lambda feature: feature.name))
    fixed_format = example_codec.make_fixed_format(features)
    infos, beside = {}, []
    for split, arrays in splits.items():
        arrays = {name: np.asarray(values) for name, values in arrays.items()}
        count = len(arrays[schema.TOKENS])
        arrays[schema.EXAMPLE_ID] = np.arange(count, dtype=np.int64)
        shards = []
        for index, first in enumerate(range(0, count, per_shard)):
            number = -(-count // per_shard)
            rows = {name: values[first : first + per_shard] for name, values in arrays.items()}
            shards.append(write_shard(directory, naming.shard(split, index, number), fixed_format, rows, record_format))
            table = naming.provenance(split, index, number)
            pq.write_table(_provenance(split, rows), directory / table, row_group_size=64)
            beside.append(file_info(directory, table))
        infos[split] = SplitInfo(shards=tuple(shards))
    if statistics is not None:
        (directory / naming.STATISTICS).write_text(json.dumps(statistics))
        beside.append(file_info(directory, naming.STATISTICS))
    manifest = Manifest(
        seq_len=length - overlap,
        overlap=overlap,
        pad_id=PAD,
        record_format=record_format,
        features=features,
        splits=dict(sorted(infos.items())),
        vocabulary=VocabularyInfo(
            kind="bytes", fingerprint="none", vocab_size=vocab_size, pad_id=0, bos_id=None, eos_id=1, unk_id=2, file=None, options={}
        ),
        config=dict(config or {"packing": {"seq_len": length - overlap, "overlap": overlap}}),
        seed=0,
        algorithms={},
        totals={},
        files=tuple(beside),
        tokenreel_version="0",
    )
    (directory / naming.MANIFEST).write_text(manifest.to_text())
    return manifest


def write_shard(
    directory: pathlib.Path, name: str, fixed_format: RecordFormat, arrays: Mapping[str, npt.NDArray], record_format: str = FIXED
) -> ShardInfo:
    """Writes the records of a shard, and says what the manifest does of it."""
    if record_format == FIXED:
        data = example_codec.encode_fixed(fixed_format, arrays).tobytes()
    else:
        data = b"".join(example_codec.encode_lists({name: list(values) for name, values in arrays.items()}))
    (directory / name).write_bytes(data)
    info = file_info(directory, name)
    return ShardInfo(file=name, records=len(next(iter(arrays.values()))), bytes=info.bytes, crc32c=info.crc32c)


def file_info(directory: pathlib.Path, name: str) -> FileInfo:
    """What the manifest says of a file."""
    data = (directory / name).read_bytes()
    return FileInfo(file=name, bytes=len(data), crc32c=tfrecord.crc32c(data))


def _provenance(split: str, rows: Mapping[str, npt.NDArray]) -> pa.Table:
    table: dict[str, list] = {name: [] for name in ("example", "segment", "doc_id", "source", "doc_token_start", "length", "meta.title")}
    length = rows[schema.TOKENS].shape[1]
    for row, example in enumerate(rows[schema.EXAMPLE_ID].tolist()):
        end = int(rows[schema.NUM_TOKENS][row]) if schema.NUM_TOKENS in rows else length
        begins = np.union1d([0], np.flatnonzero(rows[schema.DOCUMENT_STARTS][row, :end])).tolist()
        for segment, (start, stop) in enumerate(zip(begins, [*begins[1:], end], strict=True)):
            table["example"].append(example)
            table["segment"].append(segment)
            table["doc_id"].append(f"{split}-{example}-{segment}")
            table["source"].append("odd" if example % 2 else "even")
            table["doc_token_start"].append(0 if rows[schema.DOCUMENT_STARTS][row, start] else 7)
            table["length"].append(stop - start)
            table["meta.title"].append(json.dumps({"n": example}))
    types = {"example": pa.int64(), "segment": pa.int32(), "doc_token_start": pa.int64(), "length": pa.int32()}
    return pa.table({name: pa.array(values, type=types.get(name, pa.string())) for name, values in table.items()})
