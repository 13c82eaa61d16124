"""The user's own cache, for what can be made again."""

from __future__ import annotations

import os


def folder(name: str) -> str:
    """Gives the folder of one purpose, as the XDG specification has it; it may not be there, and is not made."""
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "tokenreel", name)
