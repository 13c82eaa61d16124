"""Lock files: which bundle a tag meant when it was fetched first, so that every later fetch gets the same one, whatever the tag names now.

A lock file is JSON, to be kept under version control beside the program that fetches:

    {"format": "tokenreel.shelf-lock/1", "items": {"vocabulary/english@main": "sha256:..."}}
"""

from __future__ import annotations

import json

from tokenreel.errors import ShelfError
from tokenreel.shelf import bundle
from tokenreel.storage import files, replacing

FORMAT = "tokenreel.shelf-lock/1"


def read(path: str) -> dict[str, str]:
    """Reads the digests by item and tag; none where there is no file.

    Raises:
      ShelfError: it is no lock file.
    """
    try:
        return _parse(path, files.read_bytes(path))
    except FileNotFoundError:
        return {}


def pin(path: str, item: str, digest: str) -> None:
    """Writes into a lock file which bundle an item is; what others write there meanwhile is kept.

    Raises:
      ShelfError: what is there is no lock file.
    """

    def change(data: bytes | None) -> bytes | None:
        items = {} if data is None else _parse(path, data)
        if items.get(item) == digest:
            return None
        return json.dumps({"format": FORMAT, "items": {**items, item: digest}}, indent=1, sort_keys=True).encode() + b"\n"

    replacing.replace(path, change)


def _parse(path: str, data: bytes) -> dict[str, str]:
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ShelfError(f"{path}: a lock file of format {content['format']!r:.100}, this version reads {FORMAT!r}. Upgrade tokenreel.")
        items = dict(content["items"])
        if not all(isinstance(digest, str) and bundle.is_digest(digest) for digest in items.values()):
            raise ValueError("no digest")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ShelfError(f"{path}: no lock file of a shelf. Give another --lock, or remove the file to pin everything anew.") from error
    return items
