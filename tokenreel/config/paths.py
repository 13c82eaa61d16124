"""Where the relative paths of a config begin: in the folder of the config itself, so that a config and its text can move together.

A path given on the command line begins in the working directory, as any other command takes it. An absolute path and one under `gs://` are
what they say; one that is relative in a config under `gs://` lies in the same bucket.
"""

from __future__ import annotations

import glob
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenreel.storage import files

WILDCARDS = frozenset("*?[")

# Options of SentencePiece's trainer that name a file.
TRAINER_FILES = ("normalization_rule_tsv", "denormalization_rule_tsv", "seed_sentencepieces_file")

# The settings of all jobs that hold a path, or several: `*` stands for each item of a list.
SETTINGS = (
    "output",
    "sources.*.files",
    "sources.*.filters.bad_words",
    "filters.bad_words",
    "vocabulary.path",
    "execution.stage",
    *(f"options.{name}" for name in TRAINER_FILES),
)


def begin_in(folder: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the settings of a config with its relative paths resolved against a folder.

    Args:
      folder: local or `gs://`; "" leaves paths to the working directory.
      data: the settings as YAML gives them, right or wrong; it is not changed, because YAML lets two settings share one list.
    """
    changed = dict(data)
    for setting in SETTINGS if folder else ():
        changed = _replace(changed, setting.split("."), lambda path: resolve(path, folder))
    return changed


def _replace(value: Any, setting: Sequence[str], change: Callable[[str], str]) -> Any:
    """Gives a copy of settings in which the texts of one setting are changed; what has another form is left for the checks to name."""
    if not setting:
        if isinstance(value, list):
            return [change(item) if isinstance(item, str) else item for item in value]
        return change(value) if isinstance(value, str) else value
    name, rest = setting[0], setting[1:]
    if name == "*" and isinstance(value, list):
        return [_replace(item, rest, change) for item in value]
    if isinstance(value, dict) and name in value:
        return {**value, name: _replace(value[name], rest, change)}
    return value


def resolve(path: str, folder: str) -> str:
    """Resolves a path, a pattern or `@list` against a folder.

    >>> resolve("texts/*.jsonl", "jobs"), resolve("../out", "jobs/books"), resolve("@list.txt", "gs://bucket/jobs")
    ('jobs/texts/*.jsonl', 'jobs/out', '@gs://bucket/jobs/list.txt')
    """
    if path.startswith("@"):
        return f"@{resolve(path[1:], folder)}"
    if not path or not folder or files.is_remote(path) or os.path.isabs(path):
        return path
    if files.is_remote(folder):
        return files.GS + posixpath.normpath(posixpath.join(folder.removeprefix(files.GS), path))
    if WILDCARDS & set(path) and not os.path.lexists(os.path.join(folder, path)):
        folder = glob.escape(folder)  # a pattern with a bracket in the name of the folder would match elsewhere
    joined = os.path.join(folder, path)
    short = os.path.normpath(joined)
    if os.path.realpath(short) != os.path.realpath(joined):  # `..` behind a link leads elsewhere than its text says
        short = joined
    return f"./{short}" if short.startswith("@") else short


def folder_of(path: str) -> str:
    """Names the folder of a config; "" where that is the working directory."""
    return posixpath.dirname(path) if files.is_remote(path) else os.path.dirname(path)
