"""The documents of a block, and the faults of what could not be read.

A block is read into a few large arrays: all its text end to end, and one number a document for everything else. What cannot be read is
counted, and described by a `Fault` with its place and reason unless there are very many; the documents around it are kept.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tokenreel.sources.extents import Extent
from tokenreel.sources.fault_log import Fault, FaultLog
from tokenreel.sources.values import EXCERPT


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
      lines: lines read from each of `files`.
      dead_letters: for each of `files`, how many documents could not be read, by reason.
      lost_bytes: for each of `files`, about how many of the bytes that it takes on disk could not be read.
      log: the first of what could not be read.
      aside: how many documents of each of `files` were set aside, by its index.
      fields: the fields of records without text, in the order in which they were met: what to look for under another name.
      stored: of each of `files`, its bytes as they are stored, and the CRC32C that the bucket's listing told; None where it told none.
      extents: which of these bytes the block has read, as index into `files` and extent. Those of a file range stand in the part in which
        its reading ended.
      bound: documents of a part, where this part or one before it ended because of them; 0 where only text ended parts.
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
    lines: list[int]
    dead_letters: list[Counter[str]]
    lost_bytes: list[float]
    log: FaultLog
    fields: tuple[str, ...] = ()
    stored: list[tuple[int, int | None]] = dataclasses.field(default_factory=list)
    extents: list[tuple[int, Extent]] = dataclasses.field(default_factory=list)
    aside: Counter[int] = dataclasses.field(default_factory=Counter)
    bound: int = 0

    def __len__(self) -> int:
        return len(self.position)

    @property
    def faults(self) -> list[Fault]:
        """What could not be read: the first of each reason, in the order of the text."""
        return self.log.faults()

    @property
    def num_dead_letters(self) -> int:
        """The number of documents that could not be read."""
        return sum(sum(counts.values()) for counts in self.dead_letters)

    def count_by_file(self) -> list[int]:
        """Counts the documents that could be read of each of `files`."""
        counts = np.bincount(self.file, minlength=len(self.files)).tolist()
        return [count - self.aside[index] for index, count in enumerate(counts)]

    def set_aside(self, problems: Mapping[int, tuple[str, str]]) -> None:
        """Adds documents that turn out to be unusable to the dead letters. They stay in the arrays: the caller leaves them out.

        Args:
          problems: by the index of the document, one word for counting and what is wrong.
        """
        for i, (reason, message) in problems.items():
            file, position = int(self.file[i]), int(self.position[i])
            self.aside[file] += 1
            self.dead_letters[file][reason] += 1
            self.lost_bytes[file] += float(self.offsets[i + 1] - self.offsets[i])
            if self.log.wants(reason, file, position):
                data = self.text[self.offsets[i] : min(self.offsets[i + 1], self.offsets[i] + 4 * EXCERPT)].tobytes()
                excerpt = data.decode("utf-8", "ignore")[:EXCERPT]
                self.log.add(file, Fault(self.files[file], position, 0, reason, message, excerpt))
