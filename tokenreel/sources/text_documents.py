"""Documents out of text ranges: lines, paragraphs, whole files and lines of JSON.

Tested in tests/tokenreel/sources/test_documents.py and tests/tokenreel/sources/test_json_lines.py.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tokenreel.sources import encodings, json_lines
from tokenreel.sources.document_builder import DocumentBuilder
from tokenreel.sources.lines import BOM, MIXED_LINE_ENDS, NEWLINE, RETURN, LineCounter, TextRange, gather, line_bounds, oversized_message
from tokenreel.sources.values import EXCERPT, BadDocument, is_utf8


def add_text_range(builder: DocumentBuilder, text_range: TextRange) -> None:
    """Adds the documents of a text range, and a fault for each that cannot be read."""
    builder.enter(text_range.file, text_range.scale, text_range.unread_bytes)
    if text_range.fault:
        builder.add_fault(text_range.position, *text_range.fault, text_range.data, fields=text_range.fields, size=text_range.lost)
        builder.pass_lines(text_range.lines)
        return
    data, position = text_range.data, text_range.position
    if text_range.bounds is not None:
        builder.pass_lines(text_range.lines)
        _add_json(builder, data, *_leave_out_oversized(builder, data, *text_range.bounds, position), position)
        builder.pass_lines(data.count(b"\n"))
        return
    if position == 0 and data.startswith(BOM):
        data, position = data[len(BOM) :], len(BOM)
    buffer = np.frombuffer(data, dtype=np.uint8)
    starts, ends = line_bounds(buffer, builder.source.format)
    starts, ends = _leave_out_oversized(builder, data, starts, ends, position)
    if text_range.swapped:
        starts, ends = _leave_out_mixed(builder, buffer, starts, ends, position)
    if builder.source.format == "jsonl":
        _add_json(builder, data, starts, ends, position)
    else:
        sound = _check_utf8(builder, data, starts, ends, position)
        starts, ends = starts[sound], ends[sound]
        text = gather(buffer, starts, ends)
        if text_range.swapped:
            text[text == NEWLINE] = RETURN  # inside of paragraphs
        builder.add(text, ends - starts, starts + position)
    builder.pass_lines(int(np.count_nonzero(buffer == NEWLINE)) + bool(len(buffer) and buffer[-1] != NEWLINE))


# Below, `starts` and `ends` are the [n] int64 bounds of documents in `data`, which begins at byte `position` of its file.


def _leave_out_oversized(
    builder: DocumentBuilder, data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], position: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Makes faults of the documents that are too long; returns the bounds of the others."""
    long = ends - starts > builder.source.max_document_bytes
    counter = LineCounter(data)
    for start, end in zip(starts[long].tolist(), ends[long].tolist(), strict=True):
        excerpt = data[start : start + 4 * EXCERPT]
        message, line = oversized_message(builder.source), counter.count_to(start)
        builder.add_fault(start + position, "oversized", message, excerpt, line, size=end - start)
    return starts[~long], ends[~long]


def _leave_out_mixed(
    builder: DocumentBuilder, buffer: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], position: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Makes faults of the documents that hold a line feed where carriage returns end lines; returns the bounds of the others."""
    places = np.flatnonzero(buffer == RETURN)  # which stand for line feeds
    owners = np.searchsorted(starts, places, side="right") - 1
    inside = (owners >= 0) & (places <= ends[owners])
    mixed = np.zeros(len(starts), dtype=bool)
    mixed[owners[inside]] = True
    data = buffer.tobytes()
    counter = LineCounter(data)
    for start, end in zip(starts[mixed].tolist(), ends[mixed].tolist(), strict=True):
        builder.add_fault(start + position, *MIXED_LINE_ENDS, data[start:end], counter.count_to(start))
    return starts[~mixed], ends[~mixed]


def _check_utf8(
    builder: DocumentBuilder, data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], position: int
) -> npt.NDArray[np.bool_]:
    """Makes faults of the documents that are not UTF-8; returns [n] bool, true for the others."""
    sound = np.ones(len(starts), dtype=bool)
    if is_utf8(data):  # nearly always, and one call for all documents
        return sound
    counter = LineCounter(data)
    for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        problem = encodings.problem(data[start:end], builder.source.text_encoding)
        if problem:
            sound[i] = False
            builder.add_fault(start + position, "invalid_utf8", problem, data[start:end], counter.count_to(start))
    return sound


def _add_json(builder: DocumentBuilder, data: bytes, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], position: int) -> None:
    """Adds the documents of lines of JSON, and a fault for each line that is no record of the source."""
    documents: list[json_lines.JsonDocument] = []
    positions: list[int] = []
    counter = LineCounter(data)
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        line = data[start:end]
        try:
            documents.append(json_lines.read_document(line, builder.source))
        except BadDocument as bad:
            builder.add_fault(start + position, bad.reason, bad.message, line, counter.count_to(start), bad.fields)
            continue
        positions.append(start + position)
    builder.add(
        np.frombuffer(b"".join([document.text for document in documents]), dtype=np.uint8),
        np.array([len(document.text) for document in documents], dtype=np.int64),
        np.array(positions, dtype=np.int64),
        ids=[document.id for document in documents if document.id is not None],
        sort_values=[document.sort_value for document in documents if document.sort_value is not None],
        metadata=[document.metadata for document in documents if document.metadata is not None],
    )
