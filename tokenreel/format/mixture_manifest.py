"""`manifest.json` of a cached mixture: the order in which it draws the examples of its tasks' caches, which lie beside it.

Each row of the order names a task by its number, an example by its number in the task's cache, and the pass over that cache; no example is
stored again. The rows of a split lie in files of columns, one after another.

Tested in tests/pipelines/test_cache_mixtures.py.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tokenreel import keys
from tokenreel.format import naming, told_manifest
from tokenreel.format.manifest import ShardInfo, to_json
from tokenreel.storage import files

FORMAT = "tokenreel-mixture"
FORMAT_VERSION = 1
TASK, NUMBER, EPOCH = "task", "number", "epoch"
"""The columns of an order: the task's number in `SplitOfMixture.tasks`, the example's in its cache, and the pass over it."""
_AGAIN = "Copy the directory again, or run `tokenreel cache-tasks` with --overwrite."


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitOfMixture:
    """The order of a split.

    Attributes:
      tasks: names of the tasks that give examples, by the number that rows have.
      rows: the files of the order, first to last.
      epochs: passes over the task that was passed over most often.
      statistics: `examples`, and `TASK_examples` of each task; `tokens` where the order ends by them.
    """

    tasks: Sequence[str]
    rows: Sequence[ShardInfo]
    epochs: int
    statistics: Mapping[str, int]

    @property
    def examples(self) -> int:
        """Rows in all files."""
        return sum(part.records for part in self.rows)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MixtureManifest:
    """Everything a reader needs to know of a cached mixture, and what tells a stale one.

    Attributes:
      mixture: its name.
      identity: what decides the order: what each task's cache was made by, the rates, the seed and where the order ends.
      splits: by name, sorted.
      tokenreel_version: of the software that made it.
    """

    mixture: str
    identity: Mapping[str, Any]
    splits: Mapping[str, SplitOfMixture]
    tokenreel_version: str

    def _body(self) -> dict[str, Any]:
        return {
            "mixture": self.mixture,
            "identity": self.identity,
            "splits": {name: dataclasses.asdict(split) for name, split in self.splits.items()},
        }

    @property
    def fingerprint(self) -> str:
        """Identifies the order: equal exactly where the rows, and what made the examples that they name, are equal."""
        return told_manifest.fingerprint(FORMAT, FORMAT_VERSION, self._body())

    def checksums(self) -> dict[str, tuple[int, int]]:
        """Gives the bytes and the CRC32C of every file beside the manifest, by name."""
        return {part.file: (part.bytes, part.crc32c) for split in self.splits.values() for part in split.rows}

    def to_bytes(self) -> bytes:
        """Gives the text of the file."""
        body = {"format": FORMAT, "format_version": FORMAT_VERSION, "tokenreel_version": self.tokenreel_version}
        return to_json(self._body() | body | {"fingerprint": self.fingerprint})


def made_by(identity: Mapping[str, Any]) -> str:
    """Gives the digest of all that decides the examples of a task's cache, by the identity that its manifest keeps."""
    return keys.digest(json.dumps(identity, sort_keys=True))


def task_directory(directory: str, mixture: str, task: str) -> str:
    """Gives the directory of a task's cache beside that of a mixture.

    >>> task_directory("/caches/a/b", "a:b", "ns:task")
    '/caches/ns/task'
    """
    whole = directory.rstrip("/") if files.is_remote(directory) else os.path.abspath(directory)
    return files.join(whole.removesuffix(f"/{naming.cache_directory(mixture)}"), naming.cache_directory(task))


def find(directory: str) -> MixtureManifest | None:
    """Reads the manifest of a directory; None where there is none, or that of something else.

    Raises:
      ManifestError: it was altered, or a newer version wrote it.
    """
    path = files.join(directory, naming.MANIFEST)
    body = told_manifest.find(path, FORMAT)
    if body is None:
        return None

    def make() -> MixtureManifest:
        splits = {
            name: SplitOfMixture(**{**split, "rows": tuple(ShardInfo(**part) for part in split["rows"])})
            for name, split in sorted(body["splits"].items())
        }
        return MixtureManifest(
            mixture=body["mixture"], identity=body["identity"], splits=splits, tokenreel_version=body["tokenreel_version"]
        )

    return told_manifest.check(body, path, FORMAT_VERSION, make, _AGAIN)
