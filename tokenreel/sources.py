"""From the patterns of a source to blocks: byte ranges of files, the unit of work."""

from __future__ import annotations

import dataclasses
import glob
import os
import posixpath
import stat
from collections.abc import Iterator, Sequence

from tokenreel import keys
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.storage import files

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_WILDCARDS = set("*?[")
# A compressed file is taken for this many times its size when small files are gathered into a block.
_EXPANSION = 4


@dataclasses.dataclass(frozen=True)
class InputFile:
    """A file as the listing saw it.

    Attributes:
      path: where it is.
      name: its path relative to the source's common directory, "/" between the parts: what documents are named by.
      size: in bytes.
      version: of its content: the modification time in nanoseconds, or the generation of an object.
      changed: when the system last changed anything about a local file, in nanoseconds: tells of bytes that were replaced under an old
        date. Part of what staged tokens are known by, but no reason to stop a build: a backup that links the file changes it too.
    """

    path: str
    name: str
    size: int
    version: int
    changed: int = 0

    @property
    def compressed(self) -> bool:
        """Whether it must be read from its start."""
        return self.name.endswith(COMPRESSED)

    @property
    def generation(self) -> int | None:
        """Of an object, which alone is read: an object that is replaced meanwhile cannot mix old and new bytes."""
        return self.version if files.is_remote(self.path) else None

    def check_unchanged(self) -> None:
        """Compares the file with what the listing saw.

        Raises:
          SourceError: it is gone or was written since.
        """
        now = _stat(self.path)
        if now is None:
            raise SourceError(f"{self.path}: vanished after it was listed. Put it back and run the same command again.")
        if now != (self.size, self.version):
            raise SourceError(f"{self.path}: changed after it was listed. Run the same command again when nothing writes to it.")


@dataclasses.dataclass(frozen=True)
class Piece:
    """The lines of a file that begin in [start, end); a whole file where `end` is None.

    In Parquet files the row groups of [start, end), in Arrow files the record batches, of which `first_row` is the first one's first row.
    """

    file: InputFile
    start: int = 0
    end: int | None = None
    first_row: int = 0


@dataclasses.dataclass(frozen=True)
class Block:
    """One unit of work: part of a large file, or several small files in order.

    Attributes:
      source: index of the source in the config.
      index: the block's place in the source.
      pieces: what it reads.
      removed: for each part of it the file that lists the paragraphs or lines to leave out, or ""; none where nothing is.
    """

    source: int
    index: int
    pieces: tuple[Piece, ...]
    removed: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Identifies the input: names, ranges, sizes and versions of the files, and what is left out (files named by their content)."""
        return keys.digest(*(str(dataclasses.astuple(piece)) for piece in self.pieces), *(os.path.basename(path) for path in self.removed))


def _stat(path: str) -> tuple[int, int] | None:
    """Size and version of a file, or None where there is none."""
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


def _base(pattern: str, is_directory: bool) -> str:
    """The directory before a pattern's first wildcard; `is_directory` tells of a pattern in a bucket, which has no directories to ask."""
    if files.is_remote(pattern):
        if is_directory:
            return pattern.rstrip("/")
        bucket, _, rest = pattern.removeprefix(files.GS).partition("/")
        return posixpath.join(files.GS + bucket, *_fixed_parts(rest.split("/")))
    if not _WILDCARDS & set(pattern):
        path = os.path.abspath(pattern)
        return path if os.path.isdir(path) else os.path.dirname(path)
    return os.sep.join(_fixed_parts(os.path.abspath(pattern).split(os.sep))) or os.sep


def _fixed_parts(parts: Sequence[str]) -> list[str]:
    kept = []
    for part in parts[:-1]:
        if _WILDCARDS & set(part):
            break
        kept.append(part)
    return kept


def _common(directories: Sequence[str]) -> str:
    """The directory that all lie in; none where some are remote and some are not."""
    remote = {files.is_remote(directory) for directory in directories}
    if remote == {True}:
        return files.GS + posixpath.commonpath([directory.removeprefix(files.GS) for directory in directories])
    return os.path.commonpath(directories) if remote == {False} else ""


def _match(pattern: str) -> list[str]:
    if os.path.isdir(pattern):
        return list(_walk(pattern, ()))
    if _WILDCARDS & set(pattern) and not os.path.exists(pattern):
        return [
            path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)
        ]  # a link to nothing is an error, not nothing
    return [pattern] if os.path.lexists(pattern) else []


def _walk(folder: str, above: tuple[str, ...]) -> Iterator[str]:
    """The files below a folder; links to folders are followed, but for those to a folder that they lie in (`above`)."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir()) for entry in entries if entry.name[0] not in "._"]
    except OSError as error:  # what nobody may list would be left out without a word
        raise SourceError(f"{folder}: cannot be listed ({error.strerror}). Check its permissions.") from error
    for name, is_folder in found:
        path = os.path.join(folder, name)
        if is_folder:
            yield from _walk(path, (*above, real))
        else:
            yield path


def list_files(source: SourceConfig) -> list[InputFile]:
    """Finds the files of a source, sorted by name; a file that two patterns match counts once.

    Hidden files and those that begin with "_" are left out of directories, as Hadoop and Spark do.

    Raises:
      SourceError: a pattern matches no file, a file cannot be examined, or is named like one of another format.
    """
    from tokenreel.readers import folders

    paths: dict[str, tuple[int, int] | None] = {}
    patterns = list(folders.expand(source))
    for pattern, where in patterns:
        # A bucket's listing tells size and generation; asking for each object would take one request more for every file.
        matched: dict[str, tuple[int, int] | None]
        if files.is_remote(pattern):
            matched = dict(files.remote_glob(pattern))
            named = {pattern}
        else:
            matched = {os.path.abspath(path): None for path in _match(pattern)}
            named = {os.path.abspath(pattern)}
        if not _WILDCARDS & set(pattern) and matched.keys() != named:
            matched = {path: listed for path, listed in matched.items() if folders.belongs(path, source)}
        if not matched:
            raise SourceError(f"{pattern}: no file matches ({where}). Check the path, and the wildcards if it has any.")
        paths.update(matched)
    base = _common([_base(pattern, not _WILDCARDS & set(pattern) and pattern not in paths) for pattern, _ in patterns])
    found = []
    for path, listed in paths.items():
        folders.check_kind(path, source)
        status = listed or _stat(path)
        if status is None:
            if os.path.islink(path):
                raise SourceError(f"{path}: a symbolic link to nothing. Remove it, or leave it out of the source.")
            raise SourceError(f"{path}: vanished while the files were listed. Run the same command again.")
        name = path.removeprefix(base).lstrip("/").replace(os.sep, "/")
        found.append(InputFile(path, name, *status, changed=0 if files.is_remote(path) else os.stat(path).st_ctime_ns))
    return sorted(found, key=lambda file: os.fsencode(file.name))


def list_blocks(source: SourceConfig, source_index: int, block_bytes: int, found: Sequence[InputFile] | None = None) -> Iterator[Block]:
    """Cuts the files of a source into blocks of about `block_bytes`: large ones are split if they can be, small ones are gathered.

    Which block a document falls into changes nothing about it. `found` is what `list_files` gives, where it is known already.
    """
    index = 0
    gathered: list[Piece] = []
    gathered_bytes = 0
    for file in list_files(source) if found is None else found:
        weight = file.size * (_EXPANSION if file.compressed or source.format == "parquet" else 1)
        if gathered and gathered_bytes + weight > block_bytes:
            yield Block(source_index, index, tuple(gathered))
            index, gathered, gathered_bytes = index + 1, [], 0
        pieces = _split(file, source, block_bytes) if weight > block_bytes else [Piece(file)]
        if len(pieces) > 1:
            for piece in pieces:
                yield Block(source_index, index, (piece,))
                index += 1
        else:
            gathered += pieces
            gathered_bytes += weight
    if gathered:
        yield Block(source_index, index, tuple(gathered))


def _split(file: InputFile, source: SourceConfig, block_bytes: int) -> list[Piece]:
    """Cuts a large file where its format allows it: between lines, row groups or record batches. The rest is read as one stream."""
    from tokenreel.readers import arrow, parquet

    if source.format == "parquet":
        return parquet.pieces(file, block_bytes)
    if source.format == "arrow":
        return arrow.pieces(file, block_bytes)
    lines = source.format in ("jsonl", "lines", "paragraphs") or (source.format in ("csv", "tsv") and not source.embedded_newlines)
    if file.compressed or not lines:
        return [Piece(file)]
    return [Piece(file, start, min(start + block_bytes, file.size)) for start in range(0, file.size, block_bytes)]
