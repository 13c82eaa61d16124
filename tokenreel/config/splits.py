"""The ranges of document keys that are held out."""

from __future__ import annotations

from tokenreel.config.build import JobConfig
from tokenreel.config.corpus import CorpusSettings

TRAIN = "train"

KEYS = 1 << 64


def split_ranges(config: CorpusSettings, source: int) -> dict[str, tuple[int, int]]:
    """The range of keys of each split in a source: held-out splits first, the rest is `train`."""
    ranges = dict.fromkeys(config.split_names, (0, 0))
    low = 0
    for name, fraction in config.splits_of(source).items():
        high = min(low + int(fraction * KEYS), KEYS)
        ranges[name] = (low, high)
        low = high
    ranges[TRAIN] = (low, KEYS)
    return ranges


def split_names(config: JobConfig) -> tuple[str, ...]:
    """All splits, `train` last."""
    return (*config.split_names, TRAIN)
