"""What the files of a build hold, as the blocks that read them recorded it: bytes and CRC32C of each, from the headers of stage files.

Tested in tests/pipelines/test_contents.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from tokenreel.errors import BuildError
from tokenreel.sources.extents import UNREAD, Extent, join
from tokenreel.staging import range_cache
from tokenreel.staging.columns import StageInfo
from tokenreel.staging.stage_file import StageFile
from tokenreel.storage import files, pooled, sealed

_SHOWN = 3  # files in a message


class FileContent(NamedTuple):
    """What was read of an input file.

    Attributes:
      source: index of its source in the config.
      name: as in `InputFile`.
      bytes: of the file as it is stored.
      crc32c: of the bytes that its blocks read; None where these do not cover the file.
      unread: whether a part of it was left out, as its decoder ends the process.
      expected: CRC32C that the listing of its bucket told; None of a local file.
      stages: the stage files of the blocks that read it.
    """

    source: int
    name: str
    bytes: int
    crc32c: int | None
    unread: bool
    expected: int | None
    stages: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Says whether the file was read from end to end, and what was read is what its bucket says that it holds."""
        return self.unread or (self.crc32c is not None and self.expected in (None, self.crc32c))


class _Read(NamedTuple):
    """An extent, and where it was found."""

    source: int
    name: str
    bytes: int
    expected: int | None
    stage: str
    extent: Extent


def read_contents(infos: Iterable[StageInfo]) -> Iterator[FileContent]:
    """Yields what was read of each file, in the order of sources and files.

    Args:
      infos: all stage files of a build, sorted as the text lies.

    Raises:
      BuildError: a stage file is gone or damaged.
    """
    for (source, name), group in itertools.groupby(_extents(infos), key=lambda read: (read.source, read.name)):
        found = list(group)
        size = found[0].bytes
        joined = join(read.extent for read in found)
        whole = joined is not None and (joined.start, joined.bytes) == (0, size)
        unread = any(read.extent == UNREAD for read in found)
        stages = tuple(dict.fromkeys(read.stage for read in found))
        yield FileContent(source, name, size, joined.crc32c if joined and whole else None, unread, found[0].expected, stages)


def _extents(infos: Iterable[StageInfo]) -> Iterator[_Read]:
    infos = list(infos)
    remote = bool(infos) and files.is_remote(infos[0].path)
    for info, header in pooled.each(lambda info: (info, StageFile(info).header()), infos, remote=remote):
        for index, *extent in header["extents"]:
            size, expected = header["stored"][index]
            yield _Read(info.source, header["files"][index], size, expected, info.path, Extent(*extent))


def record_path(directory: str, identity: str) -> str:
    """Names the file that says what was read of the files behind some stage files, which have this identity together."""
    return files.join(directory, f"contents-{identity}.json")


def recorded(record: str, infos: Iterable[StageInfo]) -> Iterator[FileContent]:
    """Gives what `check` recorded, and reads all headers again only where that is gone or damaged; see `read_contents`."""
    found = sealed.read(record)
    if found is None:
        return read_contents(infos)
    return (FileContent(source, name, size, crc32c, False, None, ()) for source, name, size, crc32c in found["contents"])


def check(infos: Iterable[StageInfo], sources: Sequence[str], record: str) -> None:
    """Compares what was read of each file with what its bucket says that it holds. Removes the stage files of those that differ.

    Args:
      infos: all stage files of a build, sorted as the text lies.
      sources: names of the sources.
      record: where to write what was read, for `recorded`.

    Raises:
      BuildError: what was read of a file is not what lies in its bucket.
    """
    found, bad = [], []
    for content in read_contents(infos):
        found.append((content.source, content.name, content.bytes, content.crc32c))
        if not content.sound:
            bad.append(content)
    if not bad:
        sealed.write(record, {"contents": found})
        return
    for path in sorted({path for content in bad for path in content.stages}):
        range_cache.forget(path)
        files.remove(path)
    told = "; ".join(f"{sources[content.source]}: {content.name} ({_difference(content)})" for content in bad[:_SHOWN])
    more = f" and {len(bad) - _SHOWN:,} more" if len(bad) > _SHOWN else ""
    raise BuildError(
        f"what was read is not what is stored: {told}{more}. The bytes were altered on their way; what was made of them is removed. "
        "Run the same command again: it reads these files once more, and keeps the others."
    )


def _difference(content: FileContent) -> str:
    if content.crc32c is None:
        return f"its blocks do not make up its {content.bytes:,} bytes"
    return f"crc32c {content.crc32c:#010x}, the bucket says {content.expected:#010x}"
