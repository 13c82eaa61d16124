"""The directories in which tasks look for their caches."""

from __future__ import annotations

from collections.abc import Iterable

from tokenreel.format import naming
from tokenreel.storage import files
from tokenreel.tasks import caching

_DIRECTORIES: list[str] = []


def get_global_cache_dirs() -> list[str]:
    """Lists the directories, first to last as they are looked through."""
    return _DIRECTORIES


def set_global_cache_dirs(global_cache_dirs: Iterable[str]) -> None:
    """Looks in these directories and in no other."""
    _DIRECTORIES.clear()
    add_global_cache_dirs(global_cache_dirs)


def add_global_cache_dirs(global_cache_dirs: Iterable[str]) -> None:
    """Looks in these directories too, after those that are known."""
    for directory in [global_cache_dirs] if isinstance(global_cache_dirs, str) else global_cache_dirs:
        if str(directory) not in _DIRECTORIES:
            _DIRECTORIES.append(str(directory))


def find(task_name: str) -> str | None:
    """Finds the directory of a task's cache; None where no directory holds a whole one."""
    for directory in _DIRECTORIES:
        path = files.join(directory, naming.cache_directory(task_name))
        if caching.is_cached(path):
            return path
    return None
