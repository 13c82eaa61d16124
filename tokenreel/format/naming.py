"""Names of files inside a dataset directory, in one place."""

from __future__ import annotations

import dataclasses
import re

MANIFEST = "manifest.json"
STATISTICS = "statistics.json"
REPORT = "report.html"
SHARD_TABLE = "shards.npy"
BESIDE_TOKENIZER = ("tokenizer_config.json", "special_tokens_map.json")  # copies, beside that of a tokenizer
DEAD_LETTERS = "dead_letters/dead_letters.jsonl"
STAGE = ".stage"
LISTING = f"{STAGE}/inputs.jsonl"  # what a job found when it began, while it runs
_SHARD = re.compile(r"^(?P<split>[A-Za-z0-9_]+)\.tfrecord-(?P<shard>\d{5,})-of-(?P<count>\d{5,})$")
_INDEX = re.compile(r"^[A-Za-z0-9_]+\.index-\d{5,}-of-\d{5,}$")
_PROVENANCE = re.compile(r"provenance/(?P<split>[A-Za-z0-9_]+)-(?P<shard>\d{5,})-of-(?P<count>\d{5,})\.parquet")
_SCORES = re.compile(r"scores/[A-Za-z0-9_]+-\d{5,}-of-\d{5,}\.parquet")
_ORDER = re.compile(r"^[A-Za-z0-9_]+\.order-\d{5,}-of-\d{5,}$")
_OF_SEQIO = re.compile(r"(info|stats)\..+\.json")
COMPLETED = "COMPLETED"  # what SeqIO looks for


@dataclasses.dataclass(frozen=True)
class Place:
    """Which of how many shards of a split."""

    split: str
    index: int
    count: int


def shard(split: str, index: int, count: int) -> str:
    """Names a shard as SeqIO and TFDS do.

    >>> shard("train", 3, 128)
    'train.tfrecord-00003-of-00128'
    """
    return f"{split}.tfrecord-{index:05d}-of-{count:05d}"


def seqio_info(split: str) -> str:
    """Names what SeqIO reads of the features of a split."""
    return f"info.{split}.json"


def seqio_statistics(split: str) -> str:
    """Names what SeqIO reads of the statistics of a split."""
    return f"stats.{split}.json"


def is_seqio_view(name: str) -> bool:
    """Says whether a file name is one of those that SeqIO looks for beside shards.

    >>> [is_seqio_view(name) for name in ("info.train.json", "COMPLETED", "statistics.json")]
    [True, True, False]
    """
    return name == COMPLETED or _OF_SEQIO.fullmatch(name) is not None


def is_shard(name: str) -> bool:
    """Says whether a file name is one that `shard` makes."""
    return _SHARD.match(name) is not None


def place_of_shard(name: str) -> Place | None:
    """Reads a name that `shard` made; None for others.

    >>> place_of_shard("train.tfrecord-00003-of-00128")
    Place(split='train', index=3, count=128)
    """
    return _place(_SHARD.match(name))


def shard_index(split: str, index: int, count: int) -> str:
    """Names the index beside a shard of a cache, as no pattern for shards does.

    >>> shard_index("train", 3, 128)
    'train.index-00003-of-00128'
    """
    return f"{split}.index-{index:05d}-of-{count:05d}"


def is_shard_index(name: str) -> bool:
    """Says whether a file name is one that `shard_index` makes."""
    return _INDEX.match(name) is not None


def cache_directory(name: str) -> str:
    """Names the directory of the cache of a task or mixture, below that of all caches.

    >>> cache_directory("ns:task")
    'ns/task'
    """
    return name.replace(":", "/")


def order(split: str, index: int, count: int) -> str:
    """Names a file of the order of a cached mixture.

    >>> order("train", 0, 2)
    'train.order-00000-of-00002'
    """
    return f"{split}.order-{index:05d}-of-{count:05d}"


def is_order(name: str) -> bool:
    """Says whether a file name is one that `order` makes."""
    return _ORDER.match(name) is not None


def provenance(split: str, index: int, count: int) -> str:
    """Names the table that says where each token of a shard came from."""
    return f"provenance/{split}-{index:05d}-of-{count:05d}.parquet"


def place_of_provenance(name: str) -> Place | None:
    """Reads a name that `provenance` made; None for others.

    >>> place_of_provenance("provenance/train-00003-of-00128.parquet")
    Place(split='train', index=3, count=128)
    """
    return _place(_PROVENANCE.fullmatch(name))


def _place(found: re.Match[str] | None) -> Place | None:
    return found and Place(found["split"], int(found["shard"]), int(found["count"]))


def vocabulary(kind: str) -> str:
    """Names the copy of the vocabulary that travels with the dataset."""
    return {"sentencepiece": "vocabulary.model", "tiktoken": "vocabulary.tiktoken"}.get(kind, "vocabulary.json")


def scores(split: str, index: int, count: int) -> str:
    """Names a table of the scores of documents, beside features.

    >>> scores("train", 0, 2)
    'scores/train-00000-of-00002.parquet'
    """
    return f"scores/{split}-{index:05d}-of-{count:05d}.parquet"


def is_scores(name: str) -> bool:
    """Says whether a file name is one that `scores` makes."""
    return _SCORES.fullmatch(name) is not None
