"""Rows, which readers of all formats with fields hand over: records of a file with their places, and what could not be read.

Tested in tests/tokenreel/sources/readers/test_delimited.py and tests/tokenreel/sources/readers/test_parquet.py.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.inputs import InputFile

# One fault for all that is lost behind it: these words tell that the file is damaged, not the document.
BROKEN_FILE = "broken_file"
BROKEN_ARCHIVE = "broken_archive"


@dataclasses.dataclass(frozen=True)
class Problem:
    """A record that could not be read.

    Attributes:
      position: names the record, as in `Rows.positions`.
      line: lines of the file before the record, as in `Rows.lines`.
      reason: one word for counting.
      message: what is wrong.
      excerpt: the first bytes of the record.
      fields: of a record without text, those that it has.
      size: how much of the (decompressed) file is lost with it: bytes, or rows of a table.
    """

    position: int
    line: int
    reason: str
    message: str
    excerpt: bytes = b""
    fields: tuple[str, ...] = ()
    size: int = 1


@dataclasses.dataclass
class Rows:
    """Some consecutive records of a file.

    Attributes:
      file: the file that holds them.
      positions: [n] int64 what names each: byte in the decompressed file, or number of the row, as the format has it.
      lines: [n] int64 lines (or records, where a format has no lines) of the file between the first one here and each record.
      text: [num_bytes] uint8, documents end to end; not yet known to be UTF-8.
      offsets: [n + 1] int64 bounds of the documents in `text`.
      ids: value of the id field of each, or None where the source has no id field.
      sort_values: value of the order field of each, or None.
      metadata: kept fields of each, or None.
      problems: records without a place in the arrays; of each reason the first.
      total_lines: lines (or records) read here.
      more: by reason, how many other records have no place in the arrays, and how much of the file is lost with them.
      scale: how many bytes of the file on disk stand for one of its text, or for one row of a table.
      unread_bytes: bytes of the file on disk behind the place where it could not be read any more.
    """

    file: InputFile
    positions: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]
    text: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    ids: Sequence[Any] | None
    sort_values: Sequence[Any] | None
    metadata: Sequence[Mapping[str, Any]] | None
    problems: list[Problem]
    total_lines: int
    more: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    scale: float = 1.0
    unread_bytes: int = 0

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def size(self) -> int:
        """Bytes of text."""
        return len(self.text)


def damaged(file: InputFile, position: int, message: str, total_lines: int = 0, unread_bytes: int = 0) -> Rows:
    """Makes rows without records that say why a file, or its rest, could not be read: so many rows, or bytes on disk."""
    return Rows(
        file=file,
        positions=np.zeros(0, dtype=np.int64),
        lines=np.zeros(0, dtype=np.int64),
        text=np.zeros(0, dtype=np.uint8),
        offsets=np.zeros(1, dtype=np.int64),
        ids=[],
        sort_values=[],
        metadata=[],
        problems=[Problem(position, 0, BROKEN_FILE, message, size=total_lines)],
        total_lines=total_lines,
        unread_bytes=unread_bytes,
    )


class Collector:
    """Gathers records one by one, for formats that are read so."""

    def __init__(self, file: InputFile, source: SourceConfig) -> None:
        self.file = file
        self._most_problems = source.dead_letters_kept
        self._kept = source.id_field is not None, source.order_field is not None, bool(source.metadata_fields)
        self._begin()

    def __len__(self) -> int:
        return len(self._texts) + len(self._problems)

    def _begin(self) -> None:
        self.size = 0
        self.total_lines = 0
        self._problems: list[Problem] = []
        self._counts: Counter[str] = Counter()  # of problems, by reason
        self._more: dict[str, tuple[int, int]] = {}
        self._texts: list[bytes] = []
        self._positions: list[int] = []
        self._lines: list[int] = []
        self._ids: list[Any] = []
        self._sort_values: list[Any] = []
        self._metadata: list[Mapping[str, Any]] = []

    def add(self, position: int, text: bytes, document_id: Any, sort_value: Any, metadata: Mapping[str, Any]) -> None:
        """Adds the record that begins on the next line; `total_lines` is the caller's to count up."""
        self._texts.append(text)
        self._positions.append(position)
        self._lines.append(self.total_lines)
        self._ids.append(document_id)
        self._sort_values.append(sort_value)
        self._metadata.append(metadata)
        self.size += len(text)

    def fault(
        self, position: int, reason: str, message: str, excerpt: bytes = b"", fields: tuple[str, ...] = (), size: int | None = None
    ) -> None:
        """Adds a record that could not be read, and is `size` bytes long: those of `excerpt` if it is not said."""
        size = len(excerpt) if size is None else size
        self._counts[reason] += 1
        if self._counts[reason] <= self._most_problems:
            self._problems.append(Problem(position, self.total_lines, reason, message, excerpt[:1000], fields, size))
        else:
            count, sizes = self._more.get(reason, (0, 0))
            self._more[reason] = count + 1, sizes + size

    def take(self) -> Rows:
        """Hands over what was gathered and begins anew."""
        offsets = np.zeros(len(self._texts) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, self._texts), dtype=np.int64, count=len(self._texts)), out=offsets[1:])
        ids, sort_values, metadata = self._kept
        rows = Rows(
            file=self.file,
            positions=np.array(self._positions, dtype=np.int64),
            lines=np.array(self._lines, dtype=np.int64),
            text=np.frombuffer(b"".join(self._texts), dtype=np.uint8),
            offsets=offsets,
            ids=self._ids if ids else None,
            sort_values=self._sort_values if sort_values else None,
            metadata=self._metadata if metadata else None,
            problems=self._problems,
            total_lines=self.total_lines,
            more=self._more,
        )
        self._begin()
        return rows
