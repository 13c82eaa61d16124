"""Unpacked bundles: a folder of them, by digest, each whole or not there."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable

from tokenreel.shelf import bundle
from tokenreel.storage import files, replacing, user_cache

_BEGUN = ".tmp-"
_ABANDONED_SECONDS = 24 * 3600  # a large model over a slow line takes hours


def default_folder() -> str:
    """Gives the user's own folder of unpacked bundles, as the XDG specification has it."""
    return user_cache.folder("shelf")


def get(directory: str, digest: str, unpack: Callable[[str], object]) -> str:
    """Gives the folder of a bundle's files, which is unpacked if it is not there, or not as it was.

    A folder that is there is read from end to end. One that is unpacked is renamed to its place when it is complete, so processes that
    unpack the same bundle at the same time end with one of their folders, and a process that is killed leaves none under the bundle's
    name; what it leaves under another is removed after a day.

    Args:
      directory: of all unpacked bundles; made if it is not there.
      digest: of the bundle.
      unpack: writes the bundle into the folder that it is given.

    Raises:
      Exception: whatever `unpack` raises.
    """
    place = os.path.join(directory, digest.replace(":", "-"))
    if not bundle.is_whole(place, digest):
        os.makedirs(directory, exist_ok=True)
        _remove_abandoned(directory)
        begun = os.path.join(directory, f"{_BEGUN}{secrets.token_hex(8)}")
        os.mkdir(begun)
        try:
            unpack(begun)
            _place(begun, place, digest)
        finally:
            shutil.rmtree(begun, ignore_errors=True)
    return os.path.join(place, bundle.FOLDER)


def _place(begun: str, place: str, digest: str) -> None:
    """Renames a complete folder to its place, unless a whole one is there by now; a damaged one goes first."""
    directory = os.path.dirname(place)
    with replacing.alone(directory):
        if bundle.is_whole(place, digest):  # another process was faster
            return
        if os.path.lexists(place):
            os.rename(place, f"{begun}-damaged")
        files.sync_directory(begun)
        os.rename(begun, place)
        files.sync_directory(directory)
    shutil.rmtree(f"{begun}-damaged", ignore_errors=True)


def _remove_abandoned(directory: str) -> None:
    for entry in os.scandir(directory):
        with contextlib.suppress(OSError):
            if entry.name.startswith(_BEGUN) and entry.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)
