"""Documents out of rows, whatever the format of the file: what is left to check is the same for all.

Tested in tests/tokenreel/sources/readers/test_delimited.py and tests/tokenreel/sources/readers/test_parquet.py.
"""

from __future__ import annotations

import itertools

import numpy as np

from tokenreel import ragged
from tokenreel.sources.document_builder import DocumentBuilder
from tokenreel.sources.json_lines import to_json
from tokenreel.sources.lines import oversized_message
from tokenreel.sources.readers.rows import Rows
from tokenreel.sources.values import EXCERPT, BadDocument, is_utf8, read_document_id, to_sort_value, utf8_problem


def add_rows(builder: DocumentBuilder, rows: Rows) -> None:
    """Adds the documents of some rows, and a fault for each that cannot be used."""
    builder.enter(rows.file, rows.scale, rows.unread_bytes)
    for problem in rows.problems:
        builder.add_fault(
            problem.position, problem.reason, problem.message, problem.excerpt, problem.line, problem.fields, size=problem.size
        )
    for reason, (count, size) in rows.more.items():
        builder.count_faults(reason, count, size)
    bad = _Bad(builder, rows)
    bad.find_text()
    ids, sort_values, metadata = bad.read_fields()
    text, offsets = rows.text, rows.offsets
    kept = np.flatnonzero(bad.sound)
    if len(kept) < len(rows):
        text, offsets = ragged.take(text, offsets, kept)
    builder.add(text, np.diff(offsets), rows.positions[kept], ids=ids, sort_values=sort_values, metadata=metadata)
    builder.pass_lines(rows.total_lines)


class _Bad:
    """Finds the rows that are no documents, and makes a fault of each.

    Attributes:
      sound: [n] bool, true for rows that are documents as far as was looked.
    """

    def __init__(self, builder: DocumentBuilder, rows: Rows) -> None:
        self._builder, self._rows = builder, rows
        self.sound = np.ones(len(rows), dtype=bool)

    def _set_aside(self, i: int, reason: str, message: str) -> None:
        self.sound[i] = False
        rows = self._rows
        start, end = rows.offsets[i : i + 2].tolist()
        excerpt = rows.text[start : min(end, start + 4 * EXCERPT)].tobytes()
        size = 1 if self._builder.source.format in ("parquet", "arrow") else end - start
        self._builder.add_fault(int(rows.positions[i]), reason, message, excerpt, int(rows.lines[i]), size=size)

    def find_text(self) -> None:
        """Finds the rows whose text is too long or no UTF-8."""
        source, text, offsets = self._builder.source, self._rows.text, self._rows.offsets
        for i in np.flatnonzero(np.diff(offsets) > source.max_document_bytes).tolist():
            self._set_aside(i, "oversized", oversized_message(source))
        starts = offsets[:-1][offsets[:-1] < offsets[1:]]
        # Halves of a character at the end of one document and the start of the next would look whole together.
        if not is_utf8(text.data) or bool(((text[starts] & 0xC0) == 0x80).any()):
            for i, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
                problem = utf8_problem(text[start:end].tobytes()) if self.sound[i] else None
                if problem:
                    self._set_aside(i, "invalid_utf8", problem)

    def read_fields(self) -> tuple[list[str], list[int], list[str]]:
        """Reads the names, sort values and kept fields of the sound rows, as far as the source has such fields."""
        source, rows = self._builder.source, self._rows
        ids: list[str] = []
        sort_values: list[int] = []
        metadata: list[str] = []
        for i in np.flatnonzero(self.sound).tolist() if rows.ids or rows.sort_values or rows.metadata else ():
            try:
                own_id = read_document_id(rows.ids[i], source.id_field) if rows.ids and source.id_field is not None else None
                sort_value = None
                if rows.sort_values and source.order_field is not None:
                    sort_value = to_sort_value(rows.sort_values[i], source.order_field)
                fields = to_json(rows.metadata[i]) if rows.metadata else None
            except BadDocument as bad:
                self._set_aside(i, bad.reason, bad.message)
                continue
            if own_id is not None:
                ids.append(own_id)
            if sort_value is not None:
                sort_values.append(sort_value)
            if fields is not None:
                metadata.append(fields)
        return ids, sort_values, metadata
