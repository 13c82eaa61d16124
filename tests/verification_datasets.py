"""Small finished datasets, written by plain loops that share no code with the build, so that each can check the other."""

import collections
import dataclasses
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.datasets import file_info, write_shard
from tokenreel.format import manifest, naming
from tokenreel.format.example_codec import make_fixed_format
from tokenreel.format.manifest import FIXED, Manifest, ShardInfo, SplitInfo, VocabularyInfo
from tokenreel.format.schema import Feature
from tokenreel.vocabularies.loading import load_vocabulary

EOS = 1  # of the byte vocabulary
WORDS = "the reel of tokens turns once more and every document begins where the last one ended".split()  # noqa: SIM905


def texts(count: int, seed: int = 0) -> list[str]:
    """Documents of 1 to 30 words."""
    generator = np.random.PCG64(seed)
    numbers = generator.random_raw(count * 31).reshape(count, 31)
    return [" ".join(WORDS[n % len(WORDS)] for n in row[1 : 2 + row[0] % 30]) for row in numbers.tolist()]


def make(
    directory: pathlib.Path,
    *,
    documents: dict[str, int] | None = None,
    seq_len: int = 32,
    overlap: int = 0,
    last_example: str = "pad",
    examples_per_shard: int = 10,
    record_format: str = FIXED,
    provenance: bool = True,
    vocabulary: tuple[str, str | None] = ("bytes", None),
    dead_letters: int = 0,
) -> Manifest:
    """Writes a wrapped dataset: documents end to end, each ended by eos, cut every `seq_len` tokens.

    Returns:
      its manifest, which is written last.
    """
    directory.mkdir(parents=True, exist_ok=True)
    loaded = load_vocabulary(*vocabulary)
    eos = loaded.eos_id if loaded.eos_id is not None else 0
    pad = loaded.pad_id if loaded.pad_id is not None else eos
    width = seq_len + overlap
    features = [
        Feature(name="tokens", dtype="uint16", shape=(width,)),
        Feature(name="document_starts", dtype="bit", shape=(width,)),
        Feature(name="example_id", dtype="int64"),
    ]
    if last_example == "pad":
        features.append(Feature(name="num_tokens", dtype="int32"))
    fixed_format = make_fixed_format(features)
    splits, statistics, side_files = {}, {}, []
    for number, (split, count) in enumerate(sorted((documents or {"train": 60, "validation": 9}).items())):
        bodies = [[*loaded.encode(text), eos] for text in texts(count, number)]
        rows, segments = wrap(bodies, seq_len, overlap, last_example, pad)
        shards = []
        total = -(-len(rows) // examples_per_shard)
        for index in range(total):
            first = index * examples_per_shard
            part = rows[first : first + examples_per_shard]
            arrays = {
                "tokens": np.array([row[0] for row in part]),
                "document_starts": np.array([row[1] for row in part]),
                "num_tokens": np.array([row[2] for row in part]),
                "example_id": np.arange(first, first + len(part)),
            }
            arrays = {feature.name: arrays[feature.name] for feature in features}
            shards.append(write_shard(directory, naming.shard(split, index, total), fixed_format, arrays, record_format))
            if provenance:
                table = [segment for segment in segments if first <= segment["example"] < first + len(part)]
                side_files.append(naming.provenance(split, index, total))
                write_table(directory / side_files[-1], split, table, list(map(len, bodies)))
        splits[split] = SplitInfo(shards=tuple(shards))
        statistics[split] = describe(loaded, bodies, rows, segments, seq_len, overlap)
    sources = {"text": describe_source(list(statistics.values()), dead_letters)}
    (directory / naming.STATISTICS).write_text(json.dumps({"splits": statistics, "sources": sources}, indent=1, sort_keys=True))
    side_files.append(naming.STATISTICS)
    if dead_letters:
        (directory / naming.DEAD_LETTERS).parent.mkdir()
        (directory / naming.DEAD_LETTERS).write_text('{"reason": "broken_json", "source": "text"}\n' * dead_letters)
        side_files.append(naming.DEAD_LETTERS)
    copy = None
    if loaded.data is not None:
        copy = naming.vocabulary(vocabulary[0])
        (directory / copy).write_bytes(loaded.data)
        side_files.append(copy)
    each = list(statistics.values())
    written = sum(split["documents"] - split["dropped_documents"] for split in each)
    dropped = sum(split["dropped_documents"] for split in each)
    result = Manifest(
        seq_len=seq_len,
        overlap=overlap,
        pad_id=pad,
        record_format=record_format,
        features=fixed_format.features,
        splits=splits,
        vocabulary=VocabularyInfo(
            kind=vocabulary[0],
            fingerprint=loaded.fingerprint,
            vocab_size=loaded.vocab_size,
            pad_id=loaded.pad_id,
            bos_id=loaded.bos_id,
            eos_id=loaded.eos_id,
            unk_id=loaded.unk_id,
            file=copy,
            options={},
        ),
        config={"variants": 1, "objective": {"name": "causal_lm"}, "packing": {"mode": "wrap", "seq_len": seq_len, "add_eos": True}},
        seed=0,
        algorithms={"layouts": "test"},
        totals={
            "documents_read": written + dropped + dead_letters + 2,
            "documents_written": written,
            "documents_filtered": {"empty": 2},
            "documents_dropped": dropped,
            "documents_dead_lettered": dead_letters,
            "tokens": sum(split["tokens"] for split in each),
            "tokens_written": sum(split["tokens"] - split["dropped_tokens"] for split in each),
            "tokens_dropped": sum(split["dropped_tokens"] for split in each),
        },
        files=(),
        tokenreel_version="test",
    )
    result = dataclasses.replace(result, files=tuple(file_info(directory, name) for name in sorted(side_files)))
    (directory / naming.MANIFEST).write_text(result.to_text())
    return result


def wrap(bodies: Sequence[Sequence[int]], seq_len: int, overlap: int, last_example: str, pad: int):
    """Cuts documents, laid end to end; returns [(tokens, starts, length)] and the provenance of every segment."""
    stream = [(token, document, place) for document, body in enumerate(bodies) for place, token in enumerate(body)]
    rows, segments = [], []
    for begin in range(0, len(stream) - overlap, seq_len):
        part = stream[begin : begin + seq_len + overlap]
        missing = seq_len + overlap - len(part)
        if missing and last_example == "drop":
            break
        tokens = [token for token, _, _ in part] + [pad] * missing
        starts = [place == 0 for _, _, place in part] + [False] * missing
        for place, (_, document, offset) in enumerate(part):
            if place == 0 or offset == 0:
                number = segments[-1]["segment"] + 1 if place else 0
                segments.append(dict(example=len(rows), segment=number, document=document, doc_token_start=offset, length=0))
            segments[-1]["length"] += 1
        rows.append((tokens, starts, len(part)))
    return rows, segments


def describe(loaded, bodies, rows, segments, seq_len: int, overlap: int) -> dict:
    """What `statistics.json` says of a split."""
    real = [token for tokens, _, length in rows for token in tokens[:length]]
    counts = collections.Counter(real)
    total = sum(map(len, bodies))
    used = min(total, len(rows) * seq_len + overlap) if rows else 0
    ends = np.cumsum([0, *map(len, bodies)])
    histogram = collections.Counter(str((1 << segment["length"].bit_length()) - 1) for segment in segments)
    lengths = collections.Counter(str((1 << len(body).bit_length()) - 1) for body in bodies)
    # With an overlap the first token of an example is that of the example before, where the document began.
    begun = [each for each in segments if not (overlap and each["example"] and not each["segment"]) and not each["doc_token_start"]]
    specials = {"bos": loaded.bos_id, "eos": loaded.eos_id, "unk": loaded.unk_id, "pad": loaded.pad_id}
    return {
        "documents": len(bodies),
        "characters": sum(map(len, bodies)),
        "bytes": sum(map(len, bodies)),
        "text_tokens": total - len(bodies),
        "tokens": total,
        "added_tokens": 0,
        "tokens_in_examples": len(real),
        "overlapping_tokens": max(0, len(rows) - 1) * overlap,
        "dropped_tokens": total - used,
        "dropped_tokens_by_reason": {"last_example": total - used} if total > used else {},
        "dropped_documents": int(np.count_nonzero(ends[:-1] >= used)),
        "dropped_document_tokens": int(np.diff(ends)[ends[:-1] >= used].sum()),
        "cut_documents": sum(each["length"] < len(bodies[each["document"]]) for each in begun),
        "document_lengths": dict(lengths),
        "objective": {"examples": len(rows), "tokens": len(real)},
        "examples": len(rows),
        "density": len(real) / (len(rows) * (seq_len + overlap)) if rows else 0.0,
        "document_starts": sum(sum(starts) for _, starts, _ in rows),
        "segments": len(segments),
        "segment_lengths": dict(sorted(histogram.items(), key=lambda item: int(item[0]))),
        "special_tokens": {name: sum(i in tokens for tokens, _, _ in rows) for name, i in specials.items() if i is not None},
        "unknown_rate": counts[loaded.unk_id] / len(real) if real else 0.0,
        "vocabulary_used": len(counts) / loaded.vocab_size,
        "frequent_tokens": [[token, counts[token]] for token in sorted(counts, key=lambda token: (-counts[token], token))[:50]],
    }


def describe_source(splits: Sequence[dict], dead_letters: int) -> dict:
    """What `statistics.json` says of the one source, of which two documents are empty."""
    sums = {field: sum(split[field] for split in splits) for field in ("documents", "characters", "bytes")}
    left_out = {"filtered": 2, "filtered_by_reason": {"empty": 2}, "dead_letters": dead_letters, "duplicates": 0, "not_sampled": 0}
    return {**sums, "tokens": sum(split["text_tokens"] for split in splits), **left_out, "repeated": 0}


def write_table(path: pathlib.Path, split: str, segments: Sequence[dict], tokens: Sequence[int]) -> None:
    """Writes a provenance table, given the tokens of all documents."""
    path.parent.mkdir(exist_ok=True)
    columns = {
        "example": pa.array([segment["example"] for segment in segments], pa.int64()),
        "segment": pa.array([segment["segment"] for segment in segments], pa.int32()),
        "source": pa.array(["text"] * len(segments)).dictionary_encode(),
        "doc_id": pa.array([f"{split}/{segment['document']}" for segment in segments]),
        "doc_token_start": pa.array([segment["doc_token_start"] for segment in segments], pa.int64()),
        "length": pa.array([segment["length"] for segment in segments], pa.int32()),
        "document": pa.array([segment["document"] for segment in segments], pa.int64()),
        "doc_tokens": pa.array([tokens[segment["document"]] for segment in segments], pa.int64()),
    }
    pq.write_table(pa.table(columns), path)


def sign(directory: pathlib.Path, **changes) -> Manifest:
    """Writes the manifest anew after files were altered, so that only what is wrong inside them is left to find."""
    old = manifest.read(str(directory))
    splits = {split: SplitInfo(shards=tuple(_signed(directory, shard) for shard in info.shards)) for split, info in old.splits.items()}
    side_files = tuple(file_info(directory, info.file) for info in old.files if (directory / info.file).exists())
    new = dataclasses.replace(old, **{"splits": splits, "files": side_files, **changes})
    (directory / naming.MANIFEST).write_text(new.to_text())
    return new


def _signed(directory: pathlib.Path, shard: ShardInfo) -> ShardInfo:
    info = file_info(directory, shard.file)
    return dataclasses.replace(shard, bytes=info.bytes, crc32c=info.crc32c)


def rewrite(directory: pathlib.Path, shard: str, found: Manifest, change) -> None:
    """Decodes a shard, lets `change(arrays)` alter its values, and writes it with right CRCs."""
    fixed_format = found.fixed_format
    data = np.frombuffer((directory / shard).read_bytes(), dtype=np.uint8).reshape(-1, fixed_format.record_bytes)
    arrays = {name: values.copy() for name, values in fixed_format.decode(data).items()}
    change(arrays)
    write_shard(directory, shard, fixed_format, arrays)
