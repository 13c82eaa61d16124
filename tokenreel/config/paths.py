"""Where the relative paths of a config begin: in the folder of the config itself, so that a config and its text can move together.

A path given on the command line begins in the working directory, as any other command takes it. An absolute path and one under `gs://` are
what they say; one that is relative in a config under `gs://` lies in the same bucket. `~` is the home directory, wherever a path is given,
and `file://` says that a path is local. Addresses that are not read are refused by name.
"""

from __future__ import annotations

import glob
import os
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tokenreel.errors import ConfigError
from tokenreel.storage import files
from tokenreel.wording import brief

WILDCARDS = frozenset("*?[")

# Options of SentencePiece's trainer that name a file.
TRAINER_FILES = ("normalization_rule_tsv", "denormalization_rule_tsv", "seed_sentencepieces_file")

# The settings of all jobs that hold a path, or several: `*` stands for each item of a list.
SETTINGS = (
    "output",
    "sources.*.files",
    "sources.*.filters.bad_words",
    "filters.bad_words",
    "filters.scores.files",
    "sources.*.filters.scores.files",
    "vocabulary.path",
    "execution.stage",
    "cache_dirs",
    "dataset",
    "model.path",
    *(f"options.{name}" for name in TRAINER_FILES),
)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_VARIABLE = re.compile(r"\$(\w+|\{\w+\})")
_BRACES = re.compile(r"\{[^{}/]*,[^{}/]*\}")
_MADE = ("output", "execution.stage")  # settings whose directory is made, so that no missing file tells of a mistake

# How to get at what is not read.
_FETCH = {
    "hf": "Download it with `hf download --repo-type dataset`",
    "http": "Download it with `curl -LO`",
    "https": "Download it with `curl -LO`",
    "s3": "Copy it with `aws s3 cp --recursive`",
}


def explain(path: str) -> str | None:
    """Says why a path, a pattern or `@list` cannot name what it seems to name, and what to write instead; None where it can.

    >>> explain("s3://bucket/a")
    's3:// is not read, only gs:// and local paths are. Copy it with `aws s3 cp --recursive`, and name the copy.'
    >>> explain("data/*.{csv,tsv}")
    '{csv,tsv} stands for itself. Give each path as an item of its own.'
    """
    found = _SCHEME.match(path.removeprefix("@"))
    if found and found[1] == "file":
        return "file:// is read as file:///PATH, with a path that begins with / and without a host. Write the path alone."
    if found and f"{found[1]}://" != files.GS:
        way = _FETCH.get(found[1].lower(), "Copy it to a disk or to a bucket")
        return f"{found[0]} is not read, only {files.GS} and local paths are. {way}, and name the copy."
    if variable := _VARIABLE.search(path):
        return f"{variable[0]} stands for itself: variables of the environment are not looked up. Write the path out, or begin it with ~."
    if braces := _BRACES.search(path):
        return f"{braces[0]} stands for itself. Give each path as an item of its own."
    return None


def expand_all(data: Mapping[str, Any]) -> dict[str, Any]:
    """Gives settings with all their paths written out, as `files.expand` does.

    Args:
      data: the settings as YAML gives them, right or wrong; it is not changed.

    Raises:
      ConfigError: a path is an address that is not read, or a directory that is to be made is named by a variable; names the setting.
    """

    def change(path: str, setting: str) -> str:
        written = files.expand(path)
        told = explain(written)
        if told and (_SCHEME.match(written.removeprefix("@")) or setting in _MADE) and not os.path.lexists(written):
            raise ConfigError(f"{setting}: {path}: {told}")
        return written

    changed = dict(data)
    for setting in SETTINGS:
        changed = _replace(changed, setting.split("."), lambda path, setting=setting: change(path, setting))  # type: ignore[misc]
    return changed


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

    Raises:
      ConfigError: it holds a NUL, which no path has.
    """
    if "\0" in path:
        raise ConfigError(f"{brief(path)} is no path: it holds a NUL")
    path = files.expand(path)
    if path.startswith("@"):
        return f"@{resolve(path[1:], folder)}"
    if not path or _SCHEME.match(path) or not folder or os.path.isabs(path):
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
