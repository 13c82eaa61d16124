"""Finds paths that lead to one file: links beside their targets, folders that link to themselves, the revisions of a snapshot.

Tested in tests/tokenreel/sources/test_listing.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from tokenreel.storage import files


def choose(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Chooses one path for each real file: one that is no link before others, then one in fewer folders, then the first by name.

    Returns:
      The chosen paths, and the others, both in the order given. Objects of a bucket have no links.
    """
    real_folders: dict[str, str] = {}
    chosen: dict[object, tuple[bool, int, str]] = {}
    given: list[tuple[str, object]] = []
    for path in paths:
        identity, linked = (path, False) if files.is_remote(path) else _identity(path, real_folders)
        given.append((path, identity))
        rank = (linked, path.count("/"), path)
        chosen[identity] = min(chosen.get(identity, rank), rank)
    kept = {path for _, _, path in chosen.values()}
    return [path for path, _ in given if path in kept], [path for path, _ in given if path not in kept]


def _identity(path: str, real_folders: dict[str, str]) -> tuple[object, bool]:
    """Tells which file a local path leads to, and whether over a link.

    Numbers of inodes are asked for hard links alone: some network disks give one number to many files.
    """
    folder, name = os.path.split(path)
    if folder not in real_folders:
        real_folders[folder] = os.path.realpath(folder)
    try:
        real = os.path.realpath(path) if os.path.islink(path) else os.path.join(real_folders[folder], name)
        target = os.stat(real)  # a path that goes round a loop of folders is too long for the system
    except OSError:  # gone, or a link to nothing or itself: whoever opens it says so
        return path, False
    if target.st_nlink > 1 and target.st_ino:
        return (target.st_dev, target.st_ino), real != path
    return real, real != path
