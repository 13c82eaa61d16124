"""What could not be read of a part of a block: the first of each reason, in memory that does not grow with the text."""

from __future__ import annotations

import bisect
import dataclasses
import json
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Fault:
    """A document that could not be read.

    Attributes:
      file: its name in the source.
      position: byte in the (decompressed) file at which the document begins; of Parquet and Arrow files the number of its row, from 0.
      line: line in the file, counted from 1, relative to the first line of the part of the file that was read together; 0 is not known.
      reason: one word for counting.
      message: what is wrong.
      excerpt: the first characters of the document, at most `values.EXCERPT`.
    """

    file: str
    position: int
    line: int
    reason: str
    message: str
    excerpt: str


def to_lines(faults: Sequence[Fault]) -> bytes:
    """Writes faults down, each a line of JSON."""
    return "".join(json.dumps(dataclasses.asdict(fault), ensure_ascii=True) + "\n" for fault in faults).encode()


def from_lines(data: bytes) -> list[Fault]:
    """Reads what `to_lines` wrote."""
    return [Fault(**json.loads(line)) for line in data.splitlines()]


class FaultLog:
    """Keeps the first faults of each reason, by file and position, in whatever order they are added.

    >>> log = FaultLog(most=2)
    >>> for position in (9, 4, 7):
    ...     log.add(0, Fault("a.jsonl", position, 0, "no_text", "", ""))
    >>> [fault.position for fault in log.faults()], log.wants("no_text", 0, 8), log.wants("no_id", 0, 8)
    ([4, 7], False, True)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._added = 0
        self._kept: dict[str, list[tuple[int, int, int, Fault]]] = {}  # by reason: file, position, order of coming, fault; ascending

    def wants(self, reason: str, file: int, position: int) -> bool:
        """Tells whether a fault would be kept, so that what is only counted need not be described."""
        kept = self._kept.get(reason)
        return kept is None or len(kept) < self._most or (file, position) < kept[-1][:2]

    def add(self, file: int, fault: Fault) -> None:
        """Adds a fault, and forgets the last one of its reason where there are too many; `file` is the place of its file in the part."""
        self._added += 1
        kept = self._kept.setdefault(fault.reason, [])
        bisect.insort(kept, (file, fault.position, self._added, fault))
        del kept[self._most :]

    def faults(self) -> list[Fault]:
        """Gives what is kept, in the order of files and positions."""
        return [fault for *_, fault in sorted(entry for kept in self._kept.values() for entry in kept)]
