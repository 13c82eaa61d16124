"""Which blocks are being read, told by small files: what a process died over is named, and left out where a config asks for that."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from contextlib import suppress

from tokenreel.storage import files

MOST_DEATHS = 2  # of processes in the midst of a block: the first may have had other reasons
_ENDING = ".reading"


@dataclasses.dataclass(frozen=True)
class Mark:
    """A block that a process began to read and did not finish.

    Attributes:
      paths: the files of the block.
      deaths: processes that ended in the midst of it, this one included.
    """

    paths: tuple[str, ...]
    deaths: int

    def __str__(self) -> str:
        """Names the files, and the way out where this process was not the first."""
        names = ", ".join(self.paths[:3]) + (f" or {len(self.paths) - 3:,} more" if len(self.paths) > 3 else "")
        if self.deaths < MOST_DEATHS:
            return names
        others = f"{self.deaths - 1} other" + ("s" if self.deaths > 2 else "")
        return f"{names}, as {others} did: leave the file out of sources.files, or set execution.dead_letter_crashes: true"


def begin(directory: str, block: str, paths: Iterable[str]) -> int:
    """Notes that this process is about to read a block.

    Args:
      directory: of the marks. None are made in a bucket: there a service restarts what ends, and says so in its logs.
      block: the block's name.
      paths: the files that it reads.

    Returns:
      How many processes ended in the midst of it before.
    """
    if files.is_remote(directory):
        return 0
    path = os.path.join(directory, block + _ENDING)
    deaths = found.deaths if (found := _read(path)) else 0
    os.makedirs(directory, exist_ok=True)
    # Not by a temporary name and not synced: a mark that a power cut halves is no mark.
    with open(path, "w", encoding="utf-8") as stream:
        json.dump({"paths": list(dict.fromkeys(paths)), "deaths": deaths, "process": _this_process()}, stream)
    return deaths


def end(directory: str, block: str) -> None:
    """Takes the note back: the block was read, or failed in a way that was told."""
    if not files.is_remote(directory):
        with suppress(OSError):
            os.unlink(os.path.join(directory, block + _ENDING))


def left(directory: str) -> list[Mark]:
    """Lists what processes that are no more left behind."""
    if files.is_remote(directory) or not os.path.isdir(directory):
        return []
    names = sorted(name for name in os.listdir(directory) if name.endswith(_ENDING))
    return [mark for name in names if (mark := _read(os.path.join(directory, name)))]


def clear(directory: str) -> None:
    """Removes all marks: the processes are ended on purpose."""
    if not files.is_remote(directory) and os.path.isdir(directory):
        for name in os.listdir(directory):
            end(directory, name.removesuffix(_ENDING))


def _read(path: str) -> Mark | None:
    """Reads a mark of a process that is no more; None where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
        if _is_alive(*content["process"]):
            return None
        return Mark(tuple(map(str, content["paths"])), int(content["deaths"]) + 1)
    except (OSError, ValueError, TypeError, LookupError):
        return None


def _this_process() -> tuple[int, float]:
    import psutil

    return os.getpid(), psutil.Process().create_time()


def _is_alive(pid: int, created: float) -> bool:
    """Says whether a process runs; its number alone may be another's by now."""
    import psutil

    try:
        process = psutil.Process(pid)
        return process.create_time() == created and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.Error:
        return False
