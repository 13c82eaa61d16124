"""Collects documents and faults, file by file, into the arrays of `Documents`.

Tested in tests/tokenreel/sources/test_documents.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.documents import Documents
from tokenreel.sources.extents import Extent
from tokenreel.sources.fault_log import Fault, FaultLog
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.json_lines import to_json
from tokenreel.sources.values import EXCERPT, position_keys

MOST_FIELDS = 100  # of records without text: enough to find the right one, and no list that grows with the data


class DocumentBuilder:
    """Collects the documents of one part of a block.

    Whoever reads a file announces what was read together with `enter`, adds its documents and faults in any order, and closes it with
    `pass_lines`, because lines of faults are counted from there.
    """

    def __init__(self, source: SourceConfig) -> None:
        self.source = source
        self._files: list[str] = []
        self._stored: list[tuple[int, int | None]] = []
        self._extents: list[tuple[int, Extent]] = []
        self._lines: list[int] = []  # read from each file
        self._dead_letters: list[Counter[str]] = []
        self._lost_bytes: list[float] = []
        self._scale = 1.0
        self._texts: list[npt.NDArray[np.uint8]] = []
        self._lengths: list[npt.NDArray[np.int64]] = []
        self._file: list[npt.NDArray[np.int32]] = []
        self._position: list[npt.NDArray[np.int64]] = []
        self._key: list[npt.NDArray[np.uint64]] = []
        self._ids: list[str] = []
        self._metadata: list[str] = []
        self._sort_values: list[int] = []
        self._log = FaultLog(source.dead_letters_kept)
        self._fields: dict[str, None] = {}  # of records without text
        self._partitions: dict[str, str | None] = {}  # of the file at hand

    def enter(self, file: InputFile, scale: float = 1.0, unread_bytes: int = 0) -> None:
        """Says that what is added from now on is from this file.

        Args:
          file: the file.
          scale: how many bytes of the file, as it lies on disk, stand for one of those in which faults are measured.
          unread_bytes: so many of them are behind the place where it could not be read any more.
        """
        self._partitions = file.partitions(self.source.metadata_fields)
        if not self._files or self._files[-1] != file.name:
            self._files.append(file.name)
            self._stored.append((file.size, file.crc32c))
            self._lines.append(0)
            self._dead_letters.append(Counter())
            self._lost_bytes.append(0.0)
        self._scale = scale
        self._lost_bytes[-1] += unread_bytes

    def add_extents(self, found: Sequence[tuple[InputFile, Extent]]) -> None:
        """Adds extents of files, which are entered without documents where all of theirs are in an earlier part. To be called last."""
        places = {name: i for i, name in enumerate(self._files)}
        for file, extent in found:
            if file.name not in places:
                self.enter(file)
                places[file.name] = len(self._files) - 1
            self._extents.append((places[file.name], extent))

    def add(
        self,
        text: npt.NDArray[np.uint8],
        lengths: npt.NDArray[np.int64],
        positions: npt.NDArray[np.int64],
        *,
        ids: Sequence[str] = (),
        sort_values: Sequence[int] = (),
        metadata: Sequence[str] = (),
    ) -> None:
        """Adds n documents of the file at hand.

        Args:
          text: [num_bytes] valid UTF-8, documents end to end.
          lengths: [n] int64 bytes of each.
          positions: [n] int64 what names each in its file, as in `Documents.position`.
          ids: their names, where the source has an id field.
          sort_values: what they are sorted by, where the source has an order field.
          metadata: JSON of their kept fields, where the source keeps some.
        """
        self._texts.append(text)
        self._lengths.append(lengths)
        self._position.append(positions)
        self._file.append(np.full(len(lengths), len(self._files) - 1, dtype=np.int32))
        if self.source.id_field is None:
            self._key.append(position_keys(self.source.name, self._files[-1], positions))
        self._ids += ids
        self._sort_values += sort_values
        if self._partitions or (self.source.metadata_fields and not metadata):  # of text without fields, folders tell all there is
            kept = map(json.loads, metadata) if metadata else ({} for _ in lengths)
            metadata = [to_json({**fields, **self._partitions}) for fields in kept]
        self._metadata += metadata

    def add_fault(
        self, position: int, reason: str, message: str, data: bytes, line: int = 0, fields: Sequence[str] = (), size: int | None = None
    ) -> None:
        """Adds a document that could not be read.

        Args:
          position: what names it in its file, as in `Documents.position`.
          reason: one word for counting.
          message: what is wrong.
          data: the document, or its first bytes.
          line: lines between the first one that is read together and the document.
          fields: what its record has in place of text.
          size: how much of the (decompressed) file is lost with it: bytes, or rows of a table. By default the length of `data`.
        """
        self.count_faults(reason, 1, len(data) if size is None else size)
        file = len(self._files) - 1
        if self._log.wants(reason, file, position):
            excerpt = data[: 4 * EXCERPT].decode("utf-8", "replace")[:EXCERPT]
            self._log.add(file, Fault(self._files[-1], position, self._lines[-1] + line + 1, reason, message, excerpt))
        if fields and len(self._fields) < MOST_FIELDS:
            self._fields.update(dict.fromkeys(fields))

    def count_faults(self, reason: str, count: int, size: int) -> None:
        """Counts documents that could not be read and need no more words, which take `size` of the file as in `add_fault`."""
        self._dead_letters[-1][reason] += count
        self._lost_bytes[-1] += size * self._scale

    def pass_lines(self, count: int) -> None:
        """Ends what was read together, and counts its lines, behind which the file goes on."""
        self._lines[-1] += count

    def build(self) -> Documents:
        """Joins everything that was added."""
        source = self.source
        if source.id_field is not None:
            self._key = [np.array([keys.key("document", source.name, document_id) for document_id in self._ids], dtype=np.uint64)]
        return Documents(
            files=self._files,
            text=_concatenate(self._texts, np.uint8),
            offsets=ragged.offsets_of(_concatenate(self._lengths, np.int64)),
            file=_concatenate(self._file, np.int32),
            position=_concatenate(self._position, np.int64),
            key=_concatenate(self._key, np.uint64),
            ids=self._ids if source.id_field is not None else None,
            metadata=self._metadata if source.metadata_fields else None,
            sort_value=np.array(self._sort_values, dtype=np.uint64) if source.order_field is not None else None,
            lines=self._lines,
            dead_letters=self._dead_letters,
            lost_bytes=self._lost_bytes,
            log=self._log,
            fields=tuple(self._fields),
            stored=self._stored,
            extents=self._extents,
        )


def _concatenate(parts: Sequence[npt.NDArray[Any]], dtype: type) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)
