"""Says which ranges of document keys are held out."""

from __future__ import annotations

from tokenreel.config.build import JobConfig
from tokenreel.config.corpus import CorpusSettings

TRAIN = "train"  # what held-out splits leave
KEYS = 1 << 64  # one more than the largest key


def key_range(part: int, ranges: int) -> tuple[int, int]:
    """Gives the bounds [low, high) of one of so many equal ranges of keys; 0 ranges are not cut: all keys.

    >>> key_range(1, 2), key_range(0, 0)
    ((9223372036854775808, 18446744073709551616), (0, 18446744073709551616))
    """
    return (KEYS * part // ranges, KEYS * (part + 1) // ranges) if ranges else (0, KEYS)


def split_ranges(config: CorpusSettings, source: int) -> dict[str, tuple[int, int]]:
    """Cuts the keys of a source's documents into a range [low, high) for each split: held-out splits first, the rest is `train`.

    A split that the source does not have gets an empty range.
    """
    ranges = dict.fromkeys(config.split_names, (0, 0))
    low = 0
    for name, fraction in config.splits_of(source).items():
        high = min(low + int(fraction * KEYS), KEYS)
        ranges[name] = (low, high)
        low = high
    ranges[TRAIN] = (low, KEYS)
    return ranges


def shares_taken(config: CorpusSettings, source: int) -> dict[str, tuple[float, float]]:
    """Gives the share of a source's documents that falls into each of its splits, and how often each is taken there, on average.

    Held-out documents are for measuring: none is taken twice.
    """
    held_out, epochs = config.splits_of(source), config.sources[source].epochs
    shares = {name: (share, min(epochs, 1.0)) for name, share in held_out.items()}
    return shares | {TRAIN: (1 - sum(held_out.values()), epochs)}


def split_names(config: JobConfig) -> tuple[str, ...]:
    """Lists all splits, `train` last."""
    return (*config.split_names, TRAIN)
