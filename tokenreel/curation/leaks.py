"""Finds text that two sources share, which a held-out split of one would find again in the training text of the other.

A document is known by its source, its file and its place, so the same file in two sources gives documents of two names, whose splits are
drawn apart.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from tokenreel import keys
from tokenreel.config.build import JobConfig
from tokenreel.config.corpus import CorpusSettings
from tokenreel.errors import SourceError
from tokenreel.sources.inputs import InputFile
from tokenreel.storage import files

_PIECES, _PIECE_BYTES = 16, 1 << 16  # of a local file, evenly spread: what is compared of large files
_REMOTE_BYTES = 1 << 18  # of an object, in one request
_MOST_OBJECTS = 1000  # that are compared


@dataclasses.dataclass
class Shared:
    """What two sources share.

    Attributes:
      count: how many files or ids.
      example: one of them, for people.
    """

    count: int = 0
    example: str = ""


def check_files(config: CorpusSettings, found: Sequence[Sequence[InputFile]], note: Callable[[str], object]) -> None:
    """Looks for files that two sources share: the same file, or one of equal content.

    Args:
      config: the sources and their splits.
      found: the files of each source.
      note: told of what is shared and no error.

    Raises:
      SourceError: sources share files, and what one holds out the other would train on.
    """
    shared: dict[tuple[int, int], Shared] = {}
    for files_alike in _alike(found):
        owners = sorted({source: file for source, file in reversed(files_alike)}.items())
        for (one, mine), (other, theirs) in itertools.combinations(owners, 2):
            pair = shared.setdefault((one, other), Shared())
            pair.count += 1
            pair.example = pair.example or f"{mine.path} and {theirs.path}"
    report(config, shared, "file", note)


def report(config: CorpusSettings, shared: dict[tuple[int, int], Shared], what: str, note: Callable[[str], object]) -> None:
    """Tells of what sources share, by the indices of each two.

    Args:
      config: the sources and their splits.
      shared: what each two share.
      what: "file", or "id" of documents that are taken: what `duplicates.remove` takes out is none of them.
      note: told of what is shared and no error.

    Raises:
      SourceError: it leaks, and `execution.allow_leaks` is not set.
    """
    leaks = []
    removing = isinstance(config, JobConfig) and config.duplicates.remove == "documents"
    for (one, other), pair in sorted(shared.items()):
        names = f"{config.sources[one].name!r} and {config.sources[other].name!r}"
        some = f"{pair.count:,} {what} is" if pair.count == 1 else f"{pair.count:,} {what}s are"
        line = f"{some} in both sources {names}, such as {pair.example}"
        # Of equal files one copy of each document stays; documents of one id that are both taken differ in their text.
        if not (removing and what == "file") and (leak := _leak(config, one, other)):
            leaks.append(f"{line}: {leak}")
        else:
            note(line)
    if leaks and not config.execution.allow_leaks:
        remedy = "Take them out of one source" if removing else "Take them out of one source, or set duplicates.remove: documents"
        numbered = ", as where each source numbers its own documents" if what == "id" else ""
        advice = f"{remedy}; execution.allow_leaks: true goes on with them{numbered}."
        raise SourceError("\n  ".join([*leaks[:4], advice]))
    for line in leaks:
        note(line)


def _leak(config: CorpusSettings, one: int, other: int) -> str:
    """Says what is wrong with a document that two sources have; "" where all its copies are in one split."""
    held_out = {**config.splits_of(one), **config.splits_of(other)}
    alone = config.splits_of(one) == config.splits_of(other) and list(held_out.values()) == [1]
    if not held_out or alone:
        return ""
    return f"what {' and '.join(held_out)} should hold out may be trained on"


def _alike(found: Sequence[Sequence[InputFile]]) -> Iterator[list[tuple[int, InputFile]]]:
    """Yields files of several sources that are the same, or hold the same, each with the index of its source."""
    sizes = Counter(size for listed in found for size in {file.size for file in listed if file.size})
    alike: dict[tuple[int, str], list[tuple[int, InputFile]]] = {}
    objects = 0
    for source, listed in enumerate(found):
        for file in listed:
            if sizes[file.size] > 1:  # in several sources
                objects += files.is_remote(file.path)
                if objects <= _MOST_OBJECTS or not files.is_remote(file.path):
                    alike.setdefault((file.size, _digest(file)), []).append((source, file))
    for files_alike in alike.values():
        if len({source for source, _ in files_alike}) > 1:
            yield files_alike


def _digest(file: InputFile) -> str:
    """Hashes what tells a file from others of its size: all of a small one, and some of a large one."""
    if files.is_remote(file.path):
        return keys.digest(files.read_bytes(file.path, 0, _REMOTE_BYTES, file.generation))
    real = os.path.realpath(file.path)
    try:
        if file.size <= _PIECES * _PIECE_BYTES:
            return keys.digest(files.read_bytes(real))
        starts = [(file.size - _PIECE_BYTES) * piece // (_PIECES - 1) for piece in range(_PIECES)]
        return keys.digest(*(files.read_bytes(real, start, _PIECE_BYTES) for start in starts))
    except OSError as error:
        raise SourceError(f"{file.path}: {error.strerror or error}. Check its permissions, or leave it out of the source.") from error
