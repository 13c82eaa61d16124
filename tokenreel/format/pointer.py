"""Pointers: a small JSON file that names the dataset to use, so that trainers read one path while datasets of other dates take turns.

A pointer is replaced as a whole, and only by a dataset of the same date or a later one. It remembers the datasets that it named before, so
that a run which was started with one of them can be told where it is.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Callable
from typing import Any

from tokenreel.errors import ConfigError, ManifestError
from tokenreel.format import naming
from tokenreel.storage import files, replacing

FORMAT = "tokenreel.pointer/1"
_REMEMBERED = 200  # datasets that it named before; each is some 150 bytes
_ENDING = ".json"


@dataclasses.dataclass(frozen=True)
class Target:
    """A dataset that a pointer names.

    Attributes:
      dataset: its directory.
      fingerprint: that of its manifest.
      date: of its data, as `normal_date` writes it.
    """

    dataset: str
    fingerprint: str
    date: str


@dataclasses.dataclass(frozen=True)
class Pointer:
    """What a pointer says.

    Attributes:
      path: of the pointer.
      current: the dataset to use.
      previous: those that it named before, the latest first.
    """

    path: str
    current: Target
    previous: tuple[Target, ...] = ()

    def find(self, matches: Callable[[str], bool]) -> Target | None:
        """Finds the dataset of a fingerprint, among those that the pointer names and named."""
        return next((target for target in (self.current, *self.previous) if matches(target.fingerprint)), None)


def is_pointer(path: str) -> bool:
    """Says whether a path is that of a pointer, by its name; a dataset is a directory."""
    return path.endswith(_ENDING) and (files.is_remote(path) or not os.path.isdir(path))


def read(path: str) -> Pointer:
    """Reads a pointer.

    Raises:
      ManifestError: it is missing, or no pointer.
      StorageError: it is there and cannot be read.
    """
    try:
        data = files.read_bytes(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ManifestError(
            f"{path}: no such file. Give the directory of a dataset, or the pointer that `tokenreel publish` wrote."
        ) from error
    return _parse(path, data)


def follow(path: str) -> str:
    """Gives the directory of the dataset that a path means: the one that it names where it is a pointer, else itself.

    Raises:
      ManifestError: as `read`.
    """
    path = files.expand(path)
    return read(path).current.dataset if is_pointer(path) else path


def normal_date(text: str) -> str:
    """Writes a date, or a date and time, of ISO 8601 in UTC, so that later ones sort behind earlier ones.

    Raises:
      ConfigError: it is none.

    >>> normal_date("2026-11-29"), normal_date("2026-11-29T01:30:00+02:00")
    ('2026-11-29T00:00:00Z', '2026-11-28T23:30:00Z')
    """
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no date such as 2026-11-29 or 2026-11-29T06:00:00Z") from None
    found = found.replace(tzinfo=datetime.UTC) if found.tzinfo is None else found.astimezone(datetime.UTC)
    return found.strftime("%Y-%m-%dT%H:%M:%SZ")


def move(path: str, target: Target, *, back: bool = False) -> Pointer:
    """Makes a pointer name a dataset, unless it names one of a later date.

    Args:
      path: of the pointer, local or `gs://`; written if there is none.
      target: the dataset.
      back: move to an earlier date, too.

    Returns:
      what the pointer says from now on: `current` is another dataset where that is of a later date.

    Raises:
      ConfigError: the path is not that of a pointer.
      ManifestError: what lies there is no pointer.
    """
    if not is_pointer(path):
        raise ConfigError(f"{path}: a pointer is a file whose name ends with {_ENDING}, for example latest.json beside the datasets")
    folder = path.rpartition("/")[0]
    if os.path.basename(path) == naming.MANIFEST or files.size(files.join(folder or ".", naming.MANIFEST)) is not None:
        raise ConfigError(f"{path}: lies in a dataset, where builds allow no other files. Put the pointer beside it.")
    result: list[Pointer] = []

    def change(data: bytes | None) -> bytes | None:
        found = None if data is None else _parse(path, data)
        if found is not None and (found.current == target or (found.current.date > target.date and not back)):
            result.append(found)
            return None
        before = () if found is None else (found.current, *found.previous)
        kept = tuple(each for each in before if each.fingerprint != target.fingerprint or each.dataset != target.dataset)
        result.append(Pointer(path, target, kept[:_REMEMBERED]))
        return _to_json(result[-1])

    replacing.replace(path, change)
    return result[-1]


def _to_json(pointer: Pointer) -> bytes:
    def entry(target: Target) -> dict[str, str]:
        return {**dataclasses.asdict(target), "dataset": _relative(pointer.path, target.dataset)}

    content = {"format": FORMAT, **entry(pointer.current), "previous": [entry(target) for target in pointer.previous]}
    return json.dumps(content, indent=1).encode() + b"\n"


def _relative(path: str, dataset: str) -> str:
    """Names a dataset from the folder of its pointer, where it lies below that: both may be moved or copied together."""
    if files.is_remote(path):
        base = f"{path.rpartition('/')[0]}/"
        return dataset.removeprefix(base)
    base, dataset = os.path.dirname(os.path.abspath(path)), files.absolute(dataset)
    return os.path.relpath(dataset, base) if dataset.startswith(f"{base}{os.sep}") else dataset


def _parse(path: str, data: bytes) -> Pointer:
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ManifestError(
                f"{path}: a pointer of format {content['format']!r}, this version of tokenreel reads {FORMAT!r}. Upgrade it."
            )
        return Pointer(path, _target(path, content), tuple(_target(path, entry) for entry in content["previous"]))
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ManifestError(
            f"{path}: no pointer to a dataset. Give the directory of a dataset, or what `tokenreel publish` wrote."
        ) from error


def _target(path: str, entry: Any) -> Target:
    dataset, fingerprint, date = (entry[name] for name in ("dataset", "fingerprint", "date"))
    if not all(isinstance(value, str) and value for value in (dataset, fingerprint, date)):
        raise ValueError(entry)
    if not (files.is_remote(dataset) or os.path.isabs(dataset)):
        dataset = files.join(path.rpartition("/")[0] if files.is_remote(path) else os.path.dirname(path), dataset)
    return Target(dataset, fingerprint, date)
