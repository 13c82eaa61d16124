"""Names of files inside a dataset directory, in one place."""

from __future__ import annotations

import re

MANIFEST = "manifest.json"
STATISTICS = "statistics.json"
REPORT = "report.html"
DEAD_LETTERS = "dead_letters/dead_letters.jsonl"
STAGE = ".stage"
_SHARD = re.compile(r"^(?P<split>[A-Za-z0-9_]+)\.tfrecord-(?P<shard>\d{5,})-of-(?P<count>\d{5,})$")


def shard(split: str, index: int, count: int) -> str:
    """Names a shard as SeqIO and TFDS do.

    >>> shard("train", 3, 128)
    'train.tfrecord-00003-of-00128'
    """
    return f"{split}.tfrecord-{index:05d}-of-{count:05d}"


def is_shard(name: str) -> bool:
    """Says whether a file name is one that `shard` makes."""
    return _SHARD.match(name) is not None


def provenance(split: str, index: int, count: int) -> str:
    """Names the table that says where each token of a shard came from."""
    return f"provenance/{split}-{index:05d}-of-{count:05d}.parquet"


def vocabulary(kind: str) -> str:
    """Names the copy of the vocabulary that travels with the dataset."""
    return {"sentencepiece": "vocabulary.model"}.get(kind, "vocabulary.json")
