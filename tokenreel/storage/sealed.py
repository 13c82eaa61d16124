"""Small JSON files that carry a digest of their own: what a job wrote for its next attempt, read back as it was written or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tokenreel import keys
from tokenreel.storage import files

# The digest stands in front of the text that it is of, so that damaged text is never parsed: nothing that it could hold does any harm.
_FRAME = re.compile(rb'\{"digest": "([0-9a-f]{32})", "content": (.*)\}\n', re.DOTALL)


def write(path: str, content: Mapping[str, Any]) -> None:
    """Writes JSON values with their digest, atomically; equal contents are equal bytes."""
    files.write_bytes(path, seal(content))


def seal(content: Mapping[str, Any]) -> bytes:
    """Gives the bytes that `write` writes: a JSON object of the content and the digest of its text."""
    text = json.dumps(content, sort_keys=True).encode()
    return b'{"digest": "%b", "content": %b}\n' % (keys.digest(text).encode(), text)


def read(path: str) -> dict[str, Any] | None:
    """Reads what `write` wrote; None where there is no such file, or where a byte of it is not what was written."""
    try:
        data = files.read_bytes(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    frame = _FRAME.fullmatch(data)
    if frame is None or keys.digest(frame[2]).encode() != frame[1]:
        return None
    content: dict[str, Any] = json.loads(frame[2])
    return content
