"""The files of a source and the ranges of them that make a block."""

from __future__ import annotations

import dataclasses
import os
import stat
import urllib.parse
from collections.abc import Collection

from tokenreel import keys
from tokenreel.errors import SourceError
from tokenreel.sources import kinds
from tokenreel.storage import files

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file as the listing saw it.

    Attributes:
      path: where it lies, local or `gs://`.
      name: its path relative to the source's common directory, "/" between the parts: what documents are named by.
      size: in bytes.
      version: what changes with its content: the modification time in nanoseconds, or the generation of an object.
      changed: when the system last changed anything about a local file, in nanoseconds: tells of bytes that were replaced under an old
        date. Part of what staged tokens are known by, but no reason to stop a build: a backup that links the file changes it too.
      crc32c: of an object's bytes, as the listing tells it; None where nobody has computed it. No part of what staged tokens are known
        by: an object of one generation has the same bytes for ever.
    """

    path: str
    name: str
    size: int
    version: int
    changed: int = 0
    crc32c: int | None = None

    @property
    def compressed(self) -> bool:
        """True for a file whose name says so. What it is, its first bytes say; see `opening`."""
        return kinds.named(self.name) is not None

    @property
    def generation(self) -> int | None:
        """The generation of an object, None for a local file. Reads ask for it: an object that is replaced cannot mix in new bytes."""
        return self.version if files.is_remote(self.path) else None

    def partitions(self, wanted: Collection[str]) -> dict[str, str | None]:
        """Gives what the folders of the file say of it, as Hive and Spark name them: `lang=en/` gives `lang`.

        Args:
          wanted: the fields that are asked for; others are not looked for.
        """
        found = {}
        for folder in self.path.split("/")[:-1] if wanted else ():
            name, equals, value = folder.partition("=")
            name = urllib.parse.unquote(name.rpartition("#")[2])  # in an archive: `archive.tar#lang=en/member`
            if equals and name in wanted:
                found[name] = None if value == _NO_VALUE else urllib.parse.unquote(value)
        return found

    def check_unchanged(self) -> None:
        """Checks that the file is what the listing saw.

        Raises:
          SourceError: it is gone or was written since.
        """
        now = stat_file(self.path)
        if now is None:
            raise SourceError(f"{self.path}: vanished after it was listed. Put it back and run the same command again.")
        if now != (self.size, self.version):
            raise SourceError(f"{self.path}: changed after it was listed. Run the same command again when nothing writes to it.")


@dataclasses.dataclass(frozen=True)
class FileRange:
    """A part of a file that can be read by itself.

    Attributes:
      file: the file.
      start: the first byte. The range owns the lines, paragraphs or rows that begin in [start, end), wherever they end; of an Arrow file
        the record batches; of a Parquet file `start` and `end` count row groups instead of bytes.
      end: the byte behind the last; None reads the whole file.
      first_row: number of the first row, in an Arrow file, whose batches do not know how many rows come before them.
    """

    file: InputFile
    start: int = 0
    end: int | None = None
    first_row: int = 0

    @property
    def name(self) -> str:
        """Names the range for fingerprints, which caches are found by: the same for ever."""
        file = self.file
        return str(((file.path, file.name, file.size, file.version, file.changed), self.start, self.end, self.first_row))


@dataclasses.dataclass(frozen=True)
class Block:
    """One unit of work: part of a large file, or several small files in order.

    Attributes:
      source: index of the source in the config.
      index: index of the block in the source.
      file_ranges: what it reads, in order.
      removed: for each part of the block, the file that lists the paragraphs or lines to leave out, or ""; empty where nothing is left out.
    """

    source: int
    index: int
    file_ranges: tuple[FileRange, ...]
    removed: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Identifies the input: names, ranges, sizes and versions of the files, and what is left out (files named by their content)."""
        return keys.digest(*(file_range.name for file_range in self.file_ranges), *(os.path.basename(path) for path in self.removed))


def stat_file(path: str) -> tuple[int, int] | None:
    """Finds the size and the version of a file, as in `InputFile`; None where there is no file.

    Raises:
      SourceError: the file cannot be examined, or is no regular file.
    """
    if files.is_remote(path):
        return files.remote_stat(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}. Check its permissions.") from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise SourceError(f"{path}: not a regular file ({stat.filemode(status.st_mode)}). Leave it out of the source.")
    return status.st_size, status.st_mtime_ns
