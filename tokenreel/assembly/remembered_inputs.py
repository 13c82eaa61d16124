"""Whether the text of a finished dataset is still what it was made of.

The manifest has a digest of the contents of each source's files, whatever their times and wherever they lie. Beside the output, in a file
that is no part of the dataset, a build remembers the size, the time or generation, and the CRC32C of each file: where those are what they
were, nothing has to be read to know that the text is the same. Without that file, contents are read and compared.

Tested in tests/pipelines/test_changed_text.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tokenreel.config.build import JobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.errors import SourceError, TokenreelError
from tokenreel.format import naming
from tokenreel.sources.inputs import InputFile
from tokenreel.staging.contents import FileContent
from tokenreel.storage import files

CONTENT = "content"  # the entry of `totals.inputs` with the digest of a source's contents; manifests from before have none
_DIGEST_BYTES = 16


class Remembered(NamedTuple):
    """A file as a build saw it: its source by number, and the attributes of `InputFile`; `crc32c` of its bytes as they were read."""

    source: int
    name: str
    size: int
    version: int
    changed: int
    crc32c: int | None


def path_of(output: str) -> str | None:
    """Names the file beside an output that remembers its inputs; None for a whole bucket, which has nothing beside it."""
    parent, _, name = output.rstrip("/").rpartition("/")
    if files.is_remote(output) and parent + "/" == files.GS:
        return None
    return f"{parent}/.{name}.inputs.jsonl" if parent or output.startswith("/") else f".{name}.inputs.jsonl"


def write_listing(config: JobConfig | TokenizerJobConfig, build: str, listed: Sequence[Sequence[InputFile]]) -> None:
    """Notes what the first listing of a job found, before anything is read: what is written to a file later has another time.

    Args:
      config: the settings of the job.
      build: its identity.
      listed: the files of each source.
    """
    rows = (Remembered(source, *_seen(file), file.crc32c) for source, found in enumerate(listed) for file in found)
    _write(files.join(config.output, naming.LISTING), build, rows)


def leave_out_new(config: JobConfig | TokenizerJobConfig, index: int, found: Sequence[InputFile]) -> tuple[list[InputFile], str] | None:
    """Leaves out what arrived in a source after a job listed it, and writes what was there to a list beside the output.

    Args:
      config: the settings of the job.
      index: of the source.
      found: its files as they are listed now.

    Returns:
      those that were there before, and the list as `sources.files` takes it; None where one of them is gone or changed, or none is known.
    """
    path, source = path_of(config.output), config.sources[index]
    rows = _by_source(files.join(config.output, naming.LISTING)).get(index)
    now = {file.name: file for file in found}
    if path is None or rows is None or any(row.name not in now or row[1:5] != _seen(now[row.name]) for row in rows):
        return None
    kept = [now[row.name] for row in rows]
    listing = f"{path.removesuffix('.inputs.jsonl')}.{source.name}.list"
    files.write_bytes(listing, "".join(f"{file.path}\n" for file in kept).encode("utf-8", "surrogateescape"))
    return kept, f"@{listing}"


def _seen(file: InputFile) -> tuple[str, int, int, int]:
    return file.name, file.size, file.version, file.changed


class ContentDigest:
    """Digests the contents of a source's files, in the order of their names. Empty files count by their names, which are elsewhere."""

    def __init__(self) -> None:
        self._state = hashlib.blake2b(digest_size=_DIGEST_BYTES)

    def add(self, name: str, size: int, crc32c: int | None) -> None:
        """Adds a file."""
        if size:
            self._state.update(json.dumps([name, size, crc32c]).encode() + b"\n")

    def __str__(self) -> str:
        return self._state.hexdigest()


def add_contents(config: JobConfig, inputs: Mapping[str, Any], contents: Iterable[FileContent]) -> dict[str, Any]:
    """Gives what the listing found with a digest of each source's contents, and remembers the files for builds to come.

    Args:
      config: the settings of the build.
      inputs: for each source, what `list_inputs` gives.
      contents: what was read of each file, in the order of sources and files.
    """
    digests = [ContentDigest() for _ in config.sources]
    crcs: dict[tuple[int, str], int | None] = {}
    for content in contents:
        digests[content.source].add(content.name, content.bytes, content.crc32c)
        crcs[content.source, content.name] = content.crc32c
    with contextlib.suppress(ValueError, KeyError, FileNotFoundError):  # a listing that was damaged meanwhile remembers nothing
        build, listing = _read(files.join(config.output, naming.LISTING))
        _remember(config.output, build, [row._replace(crc32c=crcs[row.source, row.name] if row.size else None) for row in listing])
    names = [source.name for source in config.sources]
    return {name: {**inputs[name], CONTENT: str(digest)} for name, digest in zip(names, digests, strict=True)}


def _remember(output: str, build: str, rows: Iterable[Remembered]) -> None:
    """Writes what is remembered, where that can be written: it saves time, and no dataset depends on it."""
    path = path_of(output)
    if path is not None:
        with contextlib.suppress(OSError, TokenreelError):
            _write(path, build, rows)


def changed(
    config: JobConfig, build: str, recorded: Mapping[str, Any], listed: Sequence[Sequence[InputFile]], *, recheck: bool
) -> list[str]:
    """Finds the files whose contents are not those of a finished dataset. Reads those whose size or time is not as remembered.

    Args:
      config: the settings of the build.
      build: its identity.
      recorded: `totals.inputs` of its manifest; names, numbers and sizes of files are known to be equal.
      listed: the files of each source.
      recheck: reads all files.

    Returns:
      "source: name" of each; of a source of which nothing is remembered, its files together.

    Raises:
      SourceError: a file vanished.
    """
    known = {} if (path := path_of(config.output)) is None else _by_source(path)
    found, rows = [], []
    for index, source in enumerate(config.sources):
        if CONTENT not in recorded[source.name]:
            continue  # the release that built it recorded no contents
        before = known.get(index, [])
        if [row.name for row in before] != [file.name for file in listed[index]] or _digest(before) != recorded[source.name][CONTENT]:
            before = []  # of another dataset that lay there
        now = [_look(index, file, row, recheck) for file, row in itertools.zip_longest(listed[index], before)]
        rows += now
        different = [f"{source.name}: {row.name}" for row, old in zip(now, before, strict=False) if row.crc32c != old.crc32c]
        if not before and _digest(now) != recorded[source.name][CONTENT]:
            different = [f"{source.name}: one of its {len(now):,} files"]
        found += different
    if not found and rows != [row for index in sorted(known) for row in known[index]]:
        _remember(config.output, build, rows)
    return found


def _look(source: int, file: InputFile, before: Remembered | None, recheck: bool) -> Remembered:
    """Finds the CRC of a file: as remembered where nothing about the file has changed since, else of its content."""
    if before is not None and not recheck and before[1:5] == _seen(file):
        return before
    crc = file.crc32c
    if crc is None and file.size:
        checksum = files.checksum(file.path)
        if checksum is None:
            raise SourceError(f"{file.path}: vanished after it was listed. Put it back and run the same command again.")
        crc = checksum[1]
    return Remembered(source, *_seen(file), crc if file.size else None)


def _digest(rows: Iterable[Remembered]) -> str:
    digest = ContentDigest()
    for row in rows:
        digest.add(row.name, row.size, row.crc32c)
    return str(digest)


def _by_source(path: str) -> dict[int, list[Remembered]]:
    found: dict[int, list[Remembered]] = {}
    with contextlib.suppress(ValueError, OSError, TokenreelError):  # what cannot be read is as if there were nothing
        for row in _read(path)[1]:
            found.setdefault(row.source, []).append(row)
    return found


def _write(path: str, build: str, rows: Iterable[Remembered]) -> None:
    """Writes the identity of a build and its rows, each a line, and their digest in the last one."""
    state = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    with files.write_atomic(path) as file:
        for row in (build, *rows):
            line = json.dumps(row).encode() + b"\n"
            state.update(line)
            file.write(line)
        file.write(state.hexdigest().encode() + b"\n")


def built_by(output: str) -> str | None:
    """Gives the identity of the build that finished a dataset here last, and None where nothing is remembered."""
    path = path_of(output)
    with contextlib.suppress(ValueError, OSError, TokenreelError):
        return None if path is None else _read(path)[0]
    return None


def _read(path: str) -> tuple[str, list[Remembered]]:
    """Reads the identity of a build and its rows.

    Raises:
      FileNotFoundError: there is none.
      ValueError: a byte of it is not what was written.
    """
    data = files.read_bytes(path)
    end = max(0, len(data) - 2 * _DIGEST_BYTES - 1)
    if data[end:] != hashlib.blake2b(memoryview(data)[:end], digest_size=_DIGEST_BYTES).hexdigest().encode() + b"\n":
        raise ValueError(f"{path}: its text does not match its digest")
    build, *rows = map(json.loads, io.BytesIO(data[:end]))
    return build, [Remembered(*row) for row in rows]
