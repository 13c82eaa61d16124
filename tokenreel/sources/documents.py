"""The documents of a block, and the faults of what could not be read.

A block is read into a few large arrays: all its text end to end, and one number a document for everything else. What cannot be read becomes
a `Fault` with its place and reason, and the documents around it are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tokenreel.sources.extents import Extent
from tokenreel.sources.values import EXCERPT


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


@dataclasses.dataclass
class Documents:
    """The documents of a block or of a part of one.

    Attributes:
      files: names of the files they came from.
      text: [num_bytes] uint8, valid UTF-8, documents end to end.
      offsets: [n + 1] int64 bounds of the documents in `text`.
      file: [n] int32 index into `files`.
      position: [n] int64 byte in the (decompressed) file at which each begins, or the number of its row.
      key: [n] uint64 hash of (source, name of the document).
      ids: the names that an id field gave, or None where the name is `path#position`.
      metadata: JSON of the kept fields of each document, or None.
      sort_value: [n] uint64 that sort as the values of the order field do, or None.
      faults: what could not be read.
      lines: lines read from each of `files`.
      fields: the fields of records without text, in the order in which they were met: what to look for under another name.
      stored: of each of `files`, its bytes as they are stored, and the CRC32C that the bucket's listing told; None where it told none.
      extents: which of these bytes the block has read, as index into `files` and extent. Those of a file range stand in the part in which
        its reading ended.
    """

    files: list[str]
    text: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    file: npt.NDArray[np.int32]
    position: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]
    ids: list[str] | None
    metadata: list[str] | None
    sort_value: npt.NDArray[np.uint64] | None
    faults: list[Fault]
    lines: list[int]
    fields: tuple[str, ...] = ()
    stored: list[tuple[int, int | None]] = dataclasses.field(default_factory=list)
    extents: list[tuple[int, Extent]] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.position)

    def set_aside(self, problems: Mapping[int, tuple[str, str]]) -> None:
        """Adds documents that turn out to be unusable to the faults. They stay in the arrays: the caller leaves them out.

        Args:
          problems: by the index of the document, one word for counting and what is wrong.
        """
        for i, (reason, message) in problems.items():
            data = self.text[self.offsets[i] : min(self.offsets[i + 1], self.offsets[i] + 4 * EXCERPT)].tobytes()
            excerpt = data.decode("utf-8", "ignore")[:EXCERPT]
            self.faults.append(Fault(self.files[self.file[i]], int(self.position[i]), 0, reason, message, excerpt))
        self.faults.sort(key=lambda fault: (self.files.index(fault.file), fault.position))
