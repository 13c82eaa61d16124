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
    source = builder.source
    builder.enter(rows.file)
    for problem in rows.problems:
        builder.add_fault(problem.position, problem.reason, problem.message, problem.excerpt, problem.line, problem.fields)
    bad = _find_bad_rows(builder, rows)
    text, offsets = rows.text, rows.offsets
    for i, bad_document in sorted(bad.items()):
        excerpt = text[offsets[i] : min(offsets[i + 1], offsets[i] + 4 * EXCERPT)].tobytes()
        builder.add_fault(int(rows.positions[i]), bad_document.reason, bad_document.message, excerpt, int(rows.lines[i]))
    kept = np.delete(np.arange(len(rows)), list(bad))
    if bad:
        text, offsets = ragged.take(text, offsets, kept)
    places = kept.tolist()
    sort_values: list[int] = []
    if rows.sort_values is not None and source.order_field is not None:
        sort_values = [to_sort_value(rows.sort_values[i], source.order_field) for i in places]
    builder.add(
        text,
        np.diff(offsets),
        rows.positions[kept],
        ids=[] if rows.ids is None else [str(rows.ids[i]) for i in places],
        sort_values=sort_values,
        metadata=[] if rows.metadata is None else [to_json(rows.metadata[i]) for i in places],
    )
    builder.pass_lines(rows.total_lines)


def _find_bad_rows(builder: DocumentBuilder, rows: Rows) -> dict[int, BadDocument]:
    """Finds the rows that are no documents: by index, why. Of several reasons, length counts before UTF-8 and UTF-8 before fields."""
    source, bad = builder.source, dict[int, BadDocument]()
    text, offsets = rows.text, rows.offsets
    starts = offsets[:-1][offsets[:-1] < offsets[1:]]
    # Halves of a character at the end of one document and the start of the next would look whole together.
    if not is_utf8(text.data) or bool(((text[starts] & 0xC0) == 0x80).any()):
        for i, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
            problem = utf8_problem(text[start:end].tobytes())
            if problem:
                bad[i] = BadDocument("invalid_utf8", problem)
    for i in np.flatnonzero(np.diff(offsets) > source.max_document_bytes).tolist():
        bad[i] = BadDocument("oversized", oversized_message(source))
    for i in range(len(rows)) if rows.ids or rows.sort_values else ():
        try:
            if rows.ids and source.id_field is not None:
                read_document_id(rows.ids[i], source.id_field)
            if rows.sort_values and source.order_field is not None:
                to_sort_value(rows.sort_values[i], source.order_field)
        except BadDocument as reason:
            bad.setdefault(i, reason)
    return bad
