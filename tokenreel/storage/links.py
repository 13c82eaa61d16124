"""Symbolic links where a job writes: followed once and said, or refused. Objects in a bucket have none.

Tested in tests/pipelines/test_rebuilds.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from tokenreel.storage import files


def follow(directory: str, name: str, note: Callable[[str], object]) -> str:
    """Gives the directory behind a link, so that wherever the link leads later, the job stays where it began.

    Args:
      directory: where the job would write.
      name: what it is called in the note, such as the setting that names it.
      note: told where a link leads.
    """
    if files.is_remote(directory) or not os.path.islink(directory.rstrip("/")):
        return directory
    target = os.path.realpath(directory)
    note(f"{name}: {directory} is a symbolic link; the files are in {target}")
    return target


def linked_folders(directory: str) -> Iterator[str]:
    """Finds the links to folders below a directory, without following any: "/" between the parts of the names."""
    if files.is_remote(directory):
        return
    for folder, names, _ in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                yield os.path.relpath(path, directory).replace(os.sep, "/")
