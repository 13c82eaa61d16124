"""How numbers of things are written for people."""

from __future__ import annotations


def plural(count: int, noun: str) -> str:
    """Writes a number of things, of which one is no several.

    >>> plural(1, "shard"), plural(1_024, "shard")
    ('1 shard', '1,024 shards')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
