"""Local shards, opened: how many may be open, and what an error says when one is gone.

Tested in tests/tokenreel/loaders/records/test_mapped.py.
"""

from __future__ import annotations

import os
import resource

from tokenreel.errors import ManifestError
from tokenreel.format.manifest import ShardInfo
from tokenreel.loaders.records.base import COPY_AGAIN
from tokenreel.storage import files


def open_limit() -> int:
    """Says how many shards may be open: each map holds a file descriptor, and the kernel allows some 65,000 maps."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 16_384 if soft == resource.RLIM_INFINITY else max(8, min(16_384, soft // 2))


def open_file(directory: str, info: ShardInfo) -> int:
    """Opens a shard of a directory for reading; gives the descriptor.

    Raises:
      ManifestError: the shard is gone.
    """
    path = files.join(directory, info.file)
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        raise ManifestError(f"{path}: the shard vanished after the dataset was opened. {COPY_AGAIN}") from None
