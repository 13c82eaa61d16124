"""The table of shards: what a manifest of very many says beside its JSON."""

from __future__ import annotations

import dataclasses
import io
import json

import numpy as np
import pytest

from tests.tokenreel.format.test_manifest import EXAMPLE
from tokenreel.errors import ManifestError
from tokenreel.format import manifest, naming, shard_table
from tokenreel.format.manifest import FileInfo, Manifest, ShardInfo, SplitInfo


def example(count: int, tables: bool = True) -> Manifest:
    """A manifest with so many shards of two splits, as a build makes it."""
    splits = {}
    for split, number in (("train", count - 1), ("validation", 1)):
        shards = [
            ShardInfo(
                file=naming.shard(split, i, number), records=64 - (i == number - 1), bytes=72 * (64 - (i == number - 1)), crc32c=7 + i
            )
            for i in range(number)
        ]
        splits[split] = SplitInfo(shards=tuple(shards))
    files = [
        FileInfo(file=naming.provenance(split, i, len(info.shards)), bytes=100 + i, crc32c=i)
        for split, info in splits.items()
        for i in range(len(info.shards) if tables else 0)
    ]
    files += [FileInfo(file=naming.SHARD_TABLE, bytes=1, crc32c=1), FileInfo(file="statistics.json", bytes=10, crc32c=1)]
    return dataclasses.replace(EXAMPLE, splits=splits, files=tuple(files), format_version=manifest.TABLE_VERSION)


def read_back(made: Manifest, table: bytes | None = None) -> Manifest:
    return manifest.parse(made.to_text(), "manifest.json", lambda: shard_table.to_bytes(made.shard_table) if table is None else table)


@pytest.mark.parametrize("tables", [True, False])
def test_a_manifest_with_a_table_is_read_back(tables: bool) -> None:
    made = example(50, tables)
    found = read_back(made)
    assert found.to_text() == made.to_text() and found.fingerprint == made.fingerprint
    assert list(found.splits["train"].shards) == list(made.splits["train"].shards)
    assert found.splits["train"].shards[-1] == made.splits["train"].shards[-1]
    assert found.splits["train"].examples == made.splits["train"].examples == 49 * 64 - 1
    assert sorted(found.files, key=lambda info: info.file) == sorted(made.files, key=lambda info: info.file)
    for info in made.files:
        assert found.find_file(info.file) == info
    for name in ("nothing", naming.provenance("train", 49, 49), naming.provenance("train", 0, 50), naming.provenance("other", 0, 49)):
        assert found.find_file(name) is None
    assert found.find_contradiction("train") is None
    with pytest.raises(IndexError):
        found.splits["train"].shards[49]


def test_numpy_reads_the_table() -> None:
    made = example(50)
    table = np.load(io.BytesIO(shard_table.to_bytes(made.shard_table)))
    assert table.dtype == np.dtype("<i8") and table.shape == (5, 50)
    assert table[:, 1].tolist() == [64, 72 * 64, 8, 101, 1]


def test_the_json_does_not_grow_with_the_shards() -> None:
    few, many = example(50), example(20_000)
    assert len(many.to_text()) < len(few.to_text()) + 20
    assert len(many.to_text()) < len(dataclasses.replace(many, format_version=1).to_text()) / 1000


def test_the_fingerprint_is_that_of_the_training_data() -> None:
    made = example(50)
    assert made.fingerprint == example(50, tables=False).fingerprint
    assert made.fingerprint != dataclasses.replace(made, format_version=manifest.FORMAT_VERSION).fingerprint
    assert made.fingerprint == "ca2c21a06ba6243508a66c7f1318e3b2"  # frozen: trainers name the data of a run by it
    for row in range(3):
        table = made.shard_table.copy()
        table[row, 5] += 1
        shards = shard_table.from_bytes(shard_table.to_bytes(table), {"train": 49, "validation": 1})
        changed = dataclasses.replace(made, splits={split: SplitInfo(shards=found) for split, found in shards.items()})
        assert changed.fingerprint != made.fingerprint


@pytest.mark.parametrize("row", range(5))
def test_an_altered_table_is_refused(row: int) -> None:
    made = example(50)
    table = made.shard_table.copy()
    table[row, 7] += 1
    with pytest.raises(ManifestError, match=r"it or shards\.npy does not match its digest"):
        read_back(made, shard_table.to_bytes(table))


def test_what_is_no_table_is_refused() -> None:
    made = example(50)
    data = shard_table.to_bytes(made.shard_table)
    negative = made.shard_table.copy()
    negative[2, 0] = -1
    for wrong in (b"", data[:-1], data + b"\0", data.replace(b"<i8", b">i8"), shard_table.to_bytes(negative)):
        with pytest.raises(ManifestError, match=r"shards\.npy"):
            read_back(made, wrong)

    def gone() -> bytes:
        raise FileNotFoundError

    with pytest.raises(ManifestError, match=r"shards\.npy, which lists the shards, is missing"):
        manifest.parse(made.to_text(), "manifest.json", gone)
    body = json.loads(made.to_text())
    body["splits"]["train"]["shards"] = -1
    with pytest.raises(ManifestError, match=r"splits\.train\.shards"):
        manifest.parse(json.dumps(body), "manifest.json", lambda: data)


def test_a_table_that_contradicts_itself_is_told() -> None:
    for row, column, shard in ((0, 3, 3), (1, 4, 4)):
        table = example(50).shard_table.copy()
        table[row, column] += 72
        shards = shard_table.from_bytes(shard_table.to_bytes(table), {"train": 49, "validation": 1})
        found = dataclasses.replace(example(50), splits={"train": SplitInfo(shards=shards["train"])})
        assert naming.shard("train", shard, 49) in str(found.find_contradiction("train"))
    with pytest.raises(ValueError, match="stands in the place of"):
        shard_table.to_table({"train": [ShardInfo(file="x", records=1, bytes=1, crc32c=1)]}, ())
