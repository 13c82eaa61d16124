"""Moves files to their places in an output, which only the job that has it can do.

On a disk they are renamed while the record of the claim is locked: no other job can take the output in between, and one that did has taken
it before. A bucket cannot be locked. There objects are copied on the server, under the condition that the target is what it was when it was
listed, and the claim is looked at after the listing. If another job takes the output between that look and the copy, whatever it has put
in place by then refuses the copy; what it puts there later is copied over ours.

Tested in tests/pipelines/test_fencing.py and tests/pipelines/test_buckets.py.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence

from tokenreel.errors import BuildError
from tokenreel.storage import files, gcs
from tokenreel.storage.claims import Folder

_COPIERS = 32  # copies at a time
_COPIES = 256  # between two looks at the claim
_ATTEMPTS = 5  # to copy to a target that others write
_FEW = 4  # files: fewer are looked at one by one, and not by a listing


@dataclasses.dataclass(frozen=True)
class Placing:
    """A file on its way to its place.

    Attributes:
      source: where it was written; gone if it was moved already.
      name: of its place in the output.
      bytes, crc32c: of its content.
    """

    source: str
    name: str
    bytes: int
    crc32c: int


def place(output: Folder, placings: Sequence[Placing], is_stale: Callable[[str], bool] | None = None) -> None:
    """Removes what is stale, and moves files to their places; those that are there already stay.

    Args:
      output: the dataset's directory.
      placings: the files, and where they go.
      is_stale: says by its name whether a file in the output, of which no placing tells, is to be removed.

    Raises:
      LostOutputError: another job has the output; some files may have been moved.
      BuildError: a file vanished, or is not what was written.
    """
    new = {placing.name for placing in placings}

    def goes(name: str) -> bool:
        return is_stale is not None and name not in new and is_stale(name)

    if files.is_remote(output.path):
        _place_objects(output, placings, goes, everything=is_stale is not None)
        return
    with output.claim.exclusively() if output.claim is not None else contextlib.nullcontext():
        for name in files.list_files(output.path) if is_stale is not None else ():
            if goes(name):
                files.remove(files.join(output.path, name))
        for placing in placings:
            _rename(output.path, placing)
        for folder in sorted({os.path.dirname(files.join(output.path, name)) for name in new} | {output.path}):
            files.sync_directory(folder)


def _rename(directory: str, placing: Placing) -> None:
    target = files.join(directory, placing.name)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if files.size(placing.source) == placing.bytes:
        os.replace(placing.source, target)
    elif files.size(target) != placing.bytes:
        raise _vanished(target)


def _place_objects(output: Folder, placings: Sequence[Placing], goes: Callable[[str], bool], *, everything: bool) -> None:
    present = _look(output.path, placings, everything=everything)
    with concurrent.futures.ThreadPoolExecutor(_COPIERS) as pool:
        output.ready()
        list(pool.map(lambda found: gcs.remove(found.path, found.generation), [found for name, found in present.items() if goes(name)]))
        for start in range(0, len(placings), _COPIES):
            output.ready()
            list(pool.map(functools.partial(_copy, output, present), placings[start : start + _COPIES]))
    output.ready()  # else another job has the output by now, and copies over what was copied here


def _look(directory: str, placings: Sequence[Placing], *, everything: bool) -> dict[str, gcs.Object]:
    """Looks at the objects in the output: at all, or at those that are to be written."""
    if not everything and len(placings) <= _FEW:
        each = {placing.name: gcs.stat(files.join(directory, placing.name)) for placing in placings}
        return {name: found for name, found in each.items() if found is not None}
    return files.remote_list(directory)


def _copy(output: Folder, present: dict[str, gcs.Object], placing: Placing) -> None:
    target = files.join(output.path, placing.name)
    found = present.get(placing.name)
    for _ in range(_ATTEMPTS):
        if found is not None and (found.size, found.crc32c) == (placing.bytes, placing.crc32c):
            return
        try:
            copied = gcs.rewrite(placing.source, target, found.generation if found else 0)
        except FileNotFoundError:  # moved by another attempt at the same step, or gone
            copied = gcs.stat(target)
            if copied is None or (copied.size, copied.crc32c) != (placing.bytes, placing.crc32c):
                raise _vanished(target) from None
        if copied is not None:
            if (copied.size, copied.crc32c) != (placing.bytes, placing.crc32c):
                raise _vanished(target)
            return
        found = gcs.stat(target)  # another job wrote it: one that lost the output, or that has it now
        output.ready()
    raise BuildError(f"{target}: another process keeps writing here. Let it finish, and run the same command again.")


def _vanished(path: str) -> BuildError:
    return BuildError(f"{path}: vanished, or is not what was written, while the build was running. Run the same command again.")
