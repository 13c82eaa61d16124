"""Finds the files that the patterns of a source match, and the names by which documents know them."""

from __future__ import annotations

import dataclasses
import glob
import os
import posixpath
import re
from collections.abc import Iterator, Sequence

from tokenreel.config.corpus import SourceConfig
from tokenreel.config.paths import WILDCARDS, explain
from tokenreel.errors import PATHS_BEGIN, SourceError
from tokenreel.sources import folders, real_files, split_names
from tokenreel.sources.inputs import InputFile, stat_file
from tokenreel.storage import files
from tokenreel.wording import first_of, plural

_NAMED = 3  # files that a message names


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of a source, sorted by name, and what a person should know of how they were chosen, each a line."""

    files: list[InputFile]
    notes: list[str]


def list_files(source: SourceConfig) -> list[InputFile]:
    """Finds the files of a source, sorted by name; see `list_source`."""
    return list_source(source).files


def list_source(source: SourceConfig) -> Listing:
    """Finds the files of a source, sorted by name; a file that two patterns match, or that links lead to, counts once.

    Hidden files and those that begin with "_" are left out of directories, as Hadoop and Spark do, and wildcards do not enter such folders.

    Raises:
      SourceError: a pattern matches no file, a file cannot be examined, or is named like one of another format.
    """
    paths: dict[str, tuple[int, int, int | None] | None] = {}
    patterns = list(folders.expand(source))
    left_out: list[str] = []
    notes: list[str] = []
    for pattern, where, _ in patterns:
        paths.update(_find(pattern, where, source, left_out))
        if source.format == "parquet" and pattern not in paths and not WILDCARDS & set(pattern) and folders.has_log(pattern):
            notes.append(
                f"source {source.name!r}: {pattern} is a Delta table, of which rows that were changed or deleted may be read too: its log "
                "is not followed. Write its present rows to a folder of their own to be sure."
            )
    base = common_directory([_base(pattern, not WILDCARDS & set(pattern) and pattern not in paths) for pattern, *_ in patterns])
    once, linked = real_files.choose(paths)
    found = []
    for path in once:
        folders.check_kind(path, source)
        listed = paths[path]
        status = listed[:2] if listed else stat_file(path)
        if status is None:
            if os.path.islink(path):
                raise SourceError(f"{path}: a symbolic link to nothing. Remove it, or leave it out of the source.")
            raise SourceError(f"{path}: vanished while the files were listed. Run the same command again.")
        name = path.removeprefix(base).lstrip("/").replace(os.sep, "/")
        changed = 0 if files.is_remote(path) else os.stat(path).st_ctime_ns
        found.append(InputFile(path, name, *status, changed, crc32c=listed[2] if listed else None))
    found.sort(key=lambda file: os.fsencode(file.name))
    notes += _notes(source, left_out, linked)
    if not all(chosen for *_, chosen in patterns):
        found = _of_split(found, source, notes)
    return Listing(found, notes)


def _find(pattern: str, where: str, source: SourceConfig, left_out: list[str]) -> dict[str, tuple[int, int, int | None] | None]:
    """Finds the files that a pattern matches, with size and generation where a listing tells them; notes those of a folder it leaves out.

    Raises:
      SourceError: there is none.
    """
    # A bucket's listing tells size, generation and CRC; asking for each object would take one request more for every file.
    matched: dict[str, tuple[int, int, int | None] | None]
    if files.is_remote(pattern):
        matched = dict(files.remote_glob(pattern))
        named = {pattern}
    else:
        matched = {os.path.abspath(path): None for path in _match(pattern)}
        named = {os.path.abspath(pattern)}
    if WILDCARDS & set(pattern):
        matched = {path: listed for path, listed in matched.items() if not _hidden(path, pattern)}
    elif matched.keys() != named:
        taken, others = folders.pick(matched, source)
        if matched and not taken:
            raise SourceError(folders.none_of(pattern, others, source, where))
        matched = {path: matched[path] for path in taken}
        left_out += others
    if not matched:
        raise SourceError(f"{pattern}: no file matches ({where}). {explain(pattern) or f'Check its spelling. {PATHS_BEGIN}'}")
    return matched


def _of_split(found: list[InputFile], source: SourceConfig, notes: list[str]) -> list[InputFile]:
    """Chooses the files of the source's split by their names; where none is set, notes that there are several.

    Raises:
      SourceError: no file is of the split.
    """
    told = split_names.told(found)
    listed = ", ".join(f"{split} ({plural(count, 'file')})" for split, count in told.items())
    if source.split is not None:
        chosen = split_names.choose(found, source.split)
        if not chosen:
            held = f"names tell of {listed}" if told else f"names such as {found[0].name} tell of no split"
            raise SourceError(
                f"source {source.name!r}: none of {plural(len(found), 'file')} is of the split {source.split!r}; {held}. "
                "Set sources.split to another, or leave it out and name the files."
            )
        return chosen
    if len(told) > 1:
        notes.append(
            f"source {source.name!r}: by their names, files of several splits are read as one text: {listed}. sources.split chooses one."
        )
    return found


def _notes(source: SourceConfig, left_out: Sequence[str], linked: Sequence[str]) -> list[str]:
    """Says which files were left out, and why."""
    notes = []
    for paths, why in ((left_out, f"not of format {source.format}"), (linked, "listed already under another name")):
        if paths:
            notes.append(f"source {source.name!r}: leaves out {plural(len(paths), 'file')}, {why}: {first_of(sorted(paths), _NAMED)}.")
    return notes


def _hidden(path: str, pattern: str) -> bool:
    """Tells whether wildcards entered a folder that begins with "_" or ".", as no listing of a folder does; a pattern may name one."""
    fixed = len(_fixed_parts(pattern.split("/")))
    marks = {part[0] for part in pattern.split("/")[fixed:] if part[:1] in ("_", ".")}
    if not files.is_remote(pattern):
        fixed = len(_fixed_parts(os.path.abspath(pattern).split("/")))
    return any(part[:1] in ("_", ".") and part[0] not in marks for part in path.split("/")[fixed:-1])


def _base(pattern: str, is_directory: bool) -> str:
    """Gives the directory before a pattern's first wildcard.

    A bucket has no directories that could be asked, so for a pattern in a bucket `is_directory` tells whether it names one.
    """
    if files.is_remote(pattern):
        if is_directory:
            return pattern.rstrip("/")
        bucket, _, rest = pattern.removeprefix(files.GS).partition("/")
        return posixpath.join(files.GS + bucket, *_fixed_parts(rest.split("/")))
    if not WILDCARDS & set(pattern):
        path = os.path.abspath(pattern)
        return path if os.path.isdir(path) else os.path.dirname(path)
    return os.sep.join(_fixed_parts(os.path.abspath(pattern).split(os.sep))) or os.sep


def _fixed_parts(parts: Sequence[str]) -> list[str]:
    """Takes the parts of a path before the first with a wildcard, and never the last, which names files. Escaped ones are no wildcards."""
    kept = []
    for part in parts[:-1]:
        name = re.sub(r"\[([*?[])\]", r"\1", part)
        if glob.escape(name) != part:
            break
        kept.append(name)
    return kept


def common_directory(directories: Sequence[str]) -> str:
    """Finds the directory that all lie in; "" where some are remote and some are not."""
    remote = {files.is_remote(directory) for directory in directories}
    if remote == {True}:
        return files.GS + posixpath.commonpath([directory.removeprefix(files.GS) for directory in directories])
    return os.path.commonpath(directories) if remote == {False} else ""


def _match(pattern: str) -> list[str]:
    """Finds the local files that a pattern matches, or all files below the directory that it names."""
    if os.path.isdir(pattern):
        return list(_walk(pattern, ()))
    if WILDCARDS & set(pattern) and not os.path.exists(pattern):
        return [path for path in glob.glob(pattern, recursive=True) if not os.path.isdir(path)]
    return [pattern] if os.path.lexists(pattern) else []  # a link to nothing is found, and then an error


def _walk(folder: str, above: tuple[str, ...]) -> Iterator[str]:
    """Yields the files below a folder. Follows links to folders, but for those to a folder that they lie in (`above`, real paths)."""
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
