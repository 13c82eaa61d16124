"""Finds which files of a folder, or of a list, hold a source: lists of files, prepared TensorFlow Datasets, Hugging Face `datasets`."""

from __future__ import annotations

import glob
import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.config.paths import folder_of, resolve
from tokenreel.errors import PATHS_BEGIN, SourceError
from tokenreel.sources import kinds, opening
from tokenreel.storage import files
from tokenreel.wording import plural

# What a file's name says it holds. What is not listed may hold anything.
ENDINGS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".parq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".tfrecord": "tfrecord",
    ".tfrecords": "tfrecord",
}

_TABLES = ("parquet", "arrow")
_LOOKED_AT = 1000  # objects of a folder whose names do not tell

# Formats that can be read as another: rows of any separator, and any text as lines.
_COMPATIBLE = {
    "json": {"jsonl"},
    "csv": {"csv", "tsv"},
    "tsv": {"csv", "tsv"},
    "lines": {"csv", "tsv", "jsonl"},
    "paragraphs": {"csv", "tsv", "jsonl"},
    "text": {"csv", "tsv", "jsonl"},
    "tfds": {"tfrecord"},
}


def expand(source: SourceConfig) -> Iterator[tuple[str, str, bool]]:
    """Yields (pattern, where it stands, whether an index chose the files of a split) of a source.

    Replaces `@list` by the lines of the list, and folders by the files that their index names.

    Raises:
      SourceError: a list cannot be read or is empty, or a folder is not what the format asks for.
    """
    for setting in source.files:
        found = _listed(setting, source) if setting.startswith("@") else [(setting, f"source {source.name!r}")]
        for pattern, where in found:
            if source.format == "tfds":
                yield from ((path, where, True) for path in _prepared(pattern, source, where))
            elif source.format == "arrow" and (index := _index(pattern)):
                yield from ((path, where, True) for path in _saved(pattern, *index, source, where))
            else:
                yield pattern, where, False


def _listed(setting: str, source: SourceConfig) -> Iterator[tuple[str, str]]:
    """Yields the patterns of a list of files, and where each stands in it.

    Raises:
      SourceError: the list cannot be read, names no file or names another list.
    """
    path = setting[1:]
    try:
        lines = files.read_bytes(path).decode("utf-8-sig").split("\n")  # names may hold what else ends lines
    except FileNotFoundError:
        raise SourceError(
            f"{setting}: there is no list {path} (source {source.name!r}). A file whose name begins with @ is ./{setting}. {PATHS_BEGIN}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path}: the list cannot be read (source {source.name!r}): {error}. It must be a UTF-8 text file.") from error
    count = 0
    for number, line in enumerate(lines, 1):
        pattern = line.strip(" \t\r")
        if not pattern or pattern.startswith("#"):
            continue
        count += 1
        if pattern.startswith("@"):
            raise SourceError(f"{path} line {number}: a list cannot name another list ({pattern}). Name it in sources.files.")
        yield resolve(pattern, folder_of(path)), f"{path} line {number}, source {source.name!r}"
    if not count:
        raise SourceError(f"{path}: the list names no file (source {source.name!r}). Write one path, glob or directory on each line.")


def _json(path: str) -> Any:
    """Reads a JSON file; None where there is none.

    Raises:
      SourceError: the file is no JSON.
    """
    try:
        return json.loads(files.read_bytes(path))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except ValueError as error:
        raise SourceError(f"{path}: not JSON ({error}). Fetch the folder again.") from error


def _index(folder: str) -> tuple[str, Any] | None:
    """Finds the file by which `datasets` describes a folder that it saved: its name and content; None where there is none."""
    if not files.is_remote(folder) and not os.path.isdir(folder):
        return None
    for name in ("dataset_dict.json", "state.json"):
        content = _json(files.join(folder, name))
        if content is not None:
            return name, content
    return None


def _saved(folder: str, name: str, content: Any, source: SourceConfig, where: str) -> list[str]:
    """Lists the files of a folder that `save_to_disk` wrote: those of its state alone, as maps leave other tables beside them.

    Args:
      folder: the folder.
      name: the file that describes it, as `_index` found it,
      content: and what that holds.
      source: names the split.
      where: where the folder is named, for errors.

    Raises:
      SourceError: the split is missing, or the state names no files of the folder.
    """
    if name == "dataset_dict.json":
        splits = content.get("splits") if isinstance(content, dict) else None
        if not isinstance(splits, list) or source.split not in splits:
            raise SourceError(
                f"{folder}: holds the splits {splits} ({where}). Set sources.split to one of them; for several make a source of each."
            )
        folder = files.join(folder, str(source.split))
        content = _json(files.join(folder, "state.json"))
    elif source.split is not None and content.get("_split") != source.split:
        raise SourceError(f"{folder}: holds the split {content.get('_split')!r}, not {source.split!r} ({where}). Leave sources.split out.")
    try:
        names = [str(file["filename"]) for file in content["_data_files"]]
    except (TypeError, KeyError) as error:
        raise SourceError(f"{folder}: has no state.json that names its files ({where}). Save the data set again.") from error
    if content.get("_indices_data_files"):
        raise SourceError(f"{folder}: is a selection of rows of other tables ({where}). Save it with `flatten_indices()` first.")
    if any(posixpath.basename(name) != name for name in names):
        raise SourceError(f"{folder}: state.json names a file outside of the folder ({where}): {names}. Save the data set again.")
    return [_literal(files.join(folder, name)) for name in names]


def _prepared(folder: str, source: SourceConfig, where: str) -> list[str]:
    """Lists the files of a split of a data set that TensorFlow Datasets prepared.

    Raises:
      SourceError: the folder is no such data set, has no such split, or holds files of another format.
    """
    info = _json(files.join(folder, "dataset_info.json"))
    if not isinstance(info, dict) or "splits" not in info:
        raise SourceError(
            f"{folder}: no dataset_info.json with splits ({where}). Name the folder of one version of a prepared data set, such as "
            "~/tensorflow_datasets/wikipedia/20230601.en/1.0.0."
        )
    kind = str(info.get("fileFormat") or "tfrecord")
    if kind != "tfrecord":
        raise SourceError(f"{folder}: its files are {kind}, only tfrecord is read ({where}). Prepare it with file_format='tfrecord'.")
    splits = {str(split.get("name")): split for split in info["splits"]}
    if source.split not in splits:
        raise SourceError(f"{folder}: has no split {source.split!r}, only {', '.join(splits)} ({where}). Set sources.split to one of them.")
    split = splits[source.split]
    shards = len(split.get("shardLengths", ())) or 1
    template = str(split.get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}")
    for name, value in (("DATASET", info.get("name", "")), ("SPLIT", source.split), ("FILEFORMAT", kind)):
        template = template.replace("{" + name + "}", str(value))
    if posixpath.basename(template) != template:
        raise SourceError(
            f"{folder}: dataset_info.json names files outside of the folder ({where}): {template}. Prepare the data set again."
        )
    names = [
        template.replace("{SHARD_X_OF_Y}", f"{shard:05d}-of-{shards:05d}")
        .replace("{SHARD_INDEX}", f"{shard:05d}")
        .replace("{NUM_SHARDS}", f"{shards:05d}")
        for shard in range(shards)
    ]
    return [_literal(files.join(folder, name)) for name in names]


def _literal(path: str) -> str:
    """Makes a pattern that matches a path alone."""
    return path if files.is_remote(path) or os.path.exists(path) else glob.escape(path)


def pick(found: Iterable[str], source: SourceConfig) -> tuple[list[str], list[str]]:
    """Picks the files of a source out of those of a folder: those that it holds, and others.

    Other formats than tables take all. Of tables, files are taken whose name says so, or whose first bytes do; beside them lie
    descriptions. What maps of `datasets` left is neither. Of a bucket at most `_LOOKED_AT` objects are looked at.
    """
    taken: list[str] = []
    others: list[str] = []
    looks = 0
    for path in sorted(found):
        if source.format == "arrow" and posixpath.basename(path).startswith("cache-"):
            continue
        if source.format not in _TABLES or _kind(path) == source.format:
            taken.append(path)
            continue
        looks += files.is_remote(path)
        told = looks <= _LOOKED_AT and _holds_it(path, source)
        (taken if told else others).append(path)
    return taken, others


def has_log(folder: str) -> bool:
    """Tells whether a folder is a Delta table, whose log says which of its files count."""
    return files.size(files.join(folder, "_delta_log/00000000000000000000.json")) is not None


def none_of(folder: str, others: Sequence[str], source: SourceConfig, where: str) -> str:
    """Writes the message for a folder in which no file is of the source's format: what the first one is, and what to do."""
    if not others:
        return f"{folder}: no file matches ({where}): it holds only what `datasets` left in files called cache-*. Name its other files."
    found = kinds.recognise(_head(others[0]))
    told = f"{others[0]} is {found.title}" if found else f"the first is {others[0]}"
    way = f"{found.way_out}" if found and found.way_out else "Set the source's format to that of the files"
    held = f"it holds {plural(len(others), 'file')}, none of format {source.format}"
    return f"{folder}: no file matches ({where}): {held}; {told}. {way}, or name another folder."


def check_kind(path: str, source: SourceConfig) -> None:
    """Refuses a file whose name tells of another format than the source has, unless its first bytes show that it has the source's.

    Raises:
      SourceError: names the setting to change.
    """
    if not named_otherwise(path, source):
        if source.format in _TABLES and kinds.named(path) and not _holds_it(path, source):
            raise SourceError(
                f"{path}: a compressed {source.format} file cannot be read from its middle (source {source.name!r}). Decompress it; tables "
                "are compressed inside."
            )
        return
    if _holds_it(path, source):
        return
    kind = _kind(path)
    raise SourceError(
        f"{path}: is named like a {kind} file, but source {source.name!r} has format: {source.format}. Set its format to {kind}, or leave "
        f"the file out (files: ['**/*.{source.format}'] takes no others)."
    )


def named_otherwise(path: str, source: SourceConfig) -> bool:
    """Tells whether a file's name tells of a format that cannot be read as the source's."""
    kind = _kind(path)
    return kind is not None and kind != source.format and kind not in _COMPATIBLE.get(source.format, ())


def _holds_it(path: str, source: SourceConfig) -> bool:
    """Looks whether the first bytes of a file are those of the source's format, which formats of text do not have."""
    found = kinds.recognise(_head(path))
    return found is not None and opening.fits(found, source.format)


def _head(path: str) -> bytes:
    """Reads the first bytes of a file; none where it cannot be read, which whoever opens it says."""
    if not files.is_remote(path) and not os.path.isfile(path):  # opening a pipe would wait for ever
        return b""
    try:
        return files.read_bytes(path, 0, kinds.HEAD_BYTES)
    except OSError:
        return b""


def _kind(path: str) -> str | None:
    """Says what format a file's name tells of, compressed or not; None where it tells nothing."""
    return ENDINGS.get(posixpath.splitext(kinds.bare(path))[1].lower())
