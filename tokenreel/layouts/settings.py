"""Checks the settings that several modes share.

Tested in tests/tokenreel/layouts/test_wrapping.py and tests/tokenreel/layouts/test_bin_packing.py.
"""

from __future__ import annotations

from typing import Literal

from tokenreel.errors import ConfigError

LongDocuments = Literal["split", "truncate", "drop"]


def check_seq_len(seq_len: int) -> None:
    """Refuses examples without room, with a `ConfigError`."""
    if seq_len < 1:
        raise ConfigError(f"packing.seq_len must be at least 1, got {seq_len}")


def check_overlap(overlap: int, seq_len: int) -> None:
    """Refuses an overlap as long as the stride, with a `ConfigError`."""
    if not 0 <= overlap < seq_len:
        raise ConfigError(
            f"packing.overlap must be between 0 and seq_len - 1 = {seq_len - 1}, got {overlap}; 1 makes every token a target once"
        )


def check_max_segments(max_segments: int | None) -> None:
    """Refuses examples without segments, with a `ConfigError`."""
    if max_segments is not None and max_segments < 1:
        raise ConfigError(f"packing.max_segments must be at least 1, got {max_segments}; leave it out for no limit")


def check_align(align: int, seq_len: int) -> None:
    """Refuses an alignment that does not divide the examples, with a `ConfigError`."""
    if align < 1 or seq_len % align:
        raise ConfigError(
            f"packing.align must divide packing.seq_len, got {align} and {seq_len}; "
            f"seq_len {max(1, seq_len // max(align, 1)) * max(align, 1)} would work"
        )
