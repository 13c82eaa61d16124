"""What could not be read of each source, and whether a job may go on without it.

Tested in tests/pipelines/test_lost_text.py.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from tokenreel.config.corpus import ExecutionConfig
from tokenreel.errors import BuildError
from tokenreel.wording import first_of, plural

SHOWN = 3  # places of faults and names of files in a message
_MESSAGE = 200  # characters of what is wrong with a document
_SOURCES = 4  # in a message, which fits a screen


@dataclasses.dataclass
class SourceLoss:
    """What could not be read of a source.

    Attributes:
      name: of the source.
      files: how many it has.
      bytes: what they take on disk.
      documents: documents that could be read, whatever filters made of them.
      dead_letters: documents that could not be read, by reason.
      lost_bytes: about how many of the bytes on disk could not be read.
      empty_files: how many files gave dead letters alone.
      empty: some of them, with their reasons.
      first: places and messages of the first dead letters.
    """

    name: str
    files: int
    bytes: int
    documents: int = 0
    dead_letters: Counter[str] = dataclasses.field(default_factory=Counter)
    lost_bytes: float = 0
    empty_files: int = 0
    empty: list[str] = dataclasses.field(default_factory=list)
    first: list[str] = dataclasses.field(default_factory=list)

    def add_first(self, places: Iterable[str]) -> None:
        """Adds places and messages of dead letters, if there is still room."""
        self.first = [*self.first, *(f"{self.name}: {place}" for place in places)][:SHOWN]

    def add_empty(self, files: Sequence[tuple[str, Mapping[str, int]]], count: int) -> None:
        """Adds `count` files that gave dead letters alone, some of them with their reasons."""
        self.empty_files += count
        self.empty = [*self.empty, *(f"{name} ({counts(reasons)})" for name, reasons in files)][:SHOWN]

    def problem(self, size: str = "") -> str:
        """Says how many documents could not be read."""
        dead = self.dead_letters.total()
        return f"{dead:,} of {plural(dead + self.documents, 'document')} could not be read ({counts(self.dead_letters)}{size})"

    def too_much(self, fraction: float) -> str:
        """Says how much could not be read, where that is more than this part of the documents, or of the bytes on disk; "" otherwise."""
        dead = self.dead_letters.total()
        if dead > fraction * (dead + self.documents):
            return self.problem()
        if min(self.bytes, self.lost_bytes) > fraction * self.bytes:
            return self.problem(f", about {min(1.0, self.lost_bytes / self.bytes):.2%} of the {self.bytes:,} bytes")
        return ""


def start(inputs: Mapping[str, Any]) -> list[SourceLoss]:
    """Begins to count for each source of `inputs`, which tells files and bytes as `curation.inputs.list_inputs` does."""
    return [SourceLoss(name, found["files"], found["bytes"]) for name, found in inputs.items()]


def is_refused(reasons: Mapping[str, int]) -> bool:
    """Tells of a member of an archive that was refused, as its own dead letter says: the archive may hold others."""
    return set(reasons) == {"refused_member"}


def archives_of(name: str) -> Iterator[str]:
    """Gives the names of the archives, one inside the other, that a file of this name may be a member of."""
    while "#" in name:
        name = name.rpartition("#")[0]
        yield name


def counts(reasons: Mapping[str, int]) -> str:
    """Writes how often each reason occurs, the most frequent first."""
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(reasons).most_common())


def shorten(message: str) -> str:
    """Cuts what is wrong with a document to a line that several fit on a screen."""
    return message if len(message) <= _MESSAGE else f"{message[:_MESSAGE]}..."


def check_fraction(losses: Sequence[SourceLoss], execution: ExecutionConfig, where: str = "") -> None:
    """Stops a job that could read too little of a source.

    Args:
      losses: what could not be read of each source.
      execution: how much may be lost.
      where: says where the dead letters are, for messages.

    Raises:
      BuildError: says what could not be read, and the first places.
    """
    too_many = []
    limit = f"more than execution.max_dead_letter_fraction = {execution.max_dead_letter_fraction:g} allows"
    for loss in losses:
        if problem := loss.too_much(execution.max_dead_letter_fraction):
            of = f"source {loss.name!r}: " if len(losses) > 1 else ""
            too_many.append(f"{of}{problem}, {limit}.{where} The first:" + "".join(f"\n  {place}" for place in loss.first))
    if too_many:
        raise BuildError("\n".join(_few(too_many)))


def check_empty(losses: Sequence[SourceLoss], execution: ExecutionConfig, note: Callable[[str], object], where: str = "") -> None:
    """Stops a job of which a source gave no document, or a file dead letters alone.

    A file that is empty, or whose documents are all left out by filters, is no such file.

    Args:
      losses: what could not be read of each source.
      execution: whether that is allowed.
      note: told what is lost and allowed.
      where: says where the dead letters are, for messages.

    Raises:
      BuildError: names the sources and files.
    """
    empty = []
    for loss in losses:
        if not loss.documents:
            lost = f": {loss.problem()}" if loss.dead_letters else f": {plural(loss.files, 'file')} without a record"
            empty.append(f"source {loss.name!r} gave no document{lost}")
        elif loss.empty_files:
            of = f"{loss.empty_files:,} of {plural(loss.files, 'file')} of source {loss.name!r}"
            empty.append(f"{of} gave nothing: {first_of(loss.empty, SHOWN, loss.empty_files)}")
    if empty and not execution.allow_empty_files:
        advice = f"Mend what they hold or leave them out; execution.allow_empty_files: true goes on without them.{where}"
        raise BuildError("\n  ".join([*_few(empty), advice]))
    for line in empty:
        note(f"{line}; execution.allow_empty_files allows it")


def _few(problems: Sequence[str]) -> list[str]:
    rest = len(problems) - _SOURCES
    return [*problems[:_SOURCES], f"and {rest:,} more sources"] if rest > 0 else list(problems)
