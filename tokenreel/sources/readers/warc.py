"""WARC and WET files: a document's position is the byte at which its record begins in the decompressed file.

Documents are the records of text: `conversion`, as in the WET files of Common Crawl, and `resource` of a type `text/...`. Answers of
servers hold pages, which are no text yet, and are refused one by one; requests and what crawlers say of themselves are no documents.
`warcio` reads the headers. Walking from record to record is done here: `warcio` passes over a wrong length with a line on the terminal, and
holds however long a header is.

Tested in tests/tokenreel/sources/test_archives.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources import part_bounds
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.pulled import Pulled
from tokenreel.sources.readers.rows import BROKEN_FILE, Collector, Rows
from tokenreel.sources.readers.unreadable import describe_break

FIELDS = {
    "url": "WARC-Target-URI",
    "date": "WARC-Date",
    "language": "WARC-Identified-Content-Language",
    "record_id": "WARC-Record-ID",
}

_MOST_HEADER = 1 << 16  # bytes of what stands before a record's text
_EXCERPT = 1000
_NO_DOCUMENTS = frozenset(("warcinfo", "request", "metadata", "revisit"))  # what a crawler says of itself


def read(chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig, part_bytes: int) -> Iterator[Rows]:
    """Reads the records of a stream of bytes, which ends with an exception where they cannot be read to the end."""
    stream, kept = Pulled(chunks), Collector(file, source)
    handed_over = 0
    while stream.peek(1):
        begin = stream.position
        problem = _record(stream, kept, source)
        kept.total_lines += 1
        if problem:
            reason, message = BROKEN_FILE, f"record at byte {begin:,}: {problem}. Nothing behind it can be read; fetch the file again."
            if stream.broken is not None:
                reason, message = describe_break(stream.broken, f"in the record at byte {begin:,}")
            kept.fault(begin, reason, message)
            break
        if stream.position - handed_over >= part_bytes or len(kept) >= part_bounds.MOST_DOCUMENTS:
            yield kept.take()
            handed_over = stream.position
    else:
        if stream.broken is not None:
            kept.fault(stream.position, *describe_break(stream.broken, f"after {stream.position:,} bytes"))
            kept.total_lines += 1
    yield kept.take()


class _Header:
    """The header of a record as the file that `warcio` reads: it ends at a blank line, and is no longer than headers are."""

    def __init__(self, stream: Pulled) -> None:
        self._stream = stream
        self._left = _MOST_HEADER

    def readline(self) -> bytes:
        line = self._stream.readline(self._left)
        self._left -= len(line)
        if not line.endswith(b"\n"):
            raise ValueError("its header does not end" if self._left else f"its header takes more than {_MOST_HEADER:,} bytes")
        return line


def _record(stream: Pulled, kept: Collector, source: SourceConfig) -> str:
    """Reads one record; says what is wrong where nobody can tell where it ends."""
    from warcio.exceptions import ArchiveLoadFailed
    from warcio.recordloader import ArcWarcRecordLoader
    from warcio.statusandheaders import StatusAndHeadersParser, StatusAndHeadersParserException

    begin = stream.position
    parser = StatusAndHeadersParser(ArcWarcRecordLoader.WARC_TYPES)
    try:
        headers = parser.parse(_Header(stream))
    except StatusAndHeadersParserException:
        return "it does not begin as a record of WARC does"
    except (ArchiveLoadFailed, ValueError, EOFError) as error:
        return str(error)
    told = headers.get_header("Content-Length", "")
    if not (told.isascii() and told.isdigit() and len(told) < 19):
        return f"its Content-Length is {told[:40]!r}, no number of bytes"
    length = int(told)
    most = source.max_document_bytes
    payload = stream.read(min(length, most))
    if length > most:
        for data in stream.pass_on(length - most):
            if isinstance(data, Exception):
                return f"the file ends inside its {length:,} bytes"
    elif len(payload) < length:
        return f"the file ends inside its {length:,} bytes"
    if stream.read(4) != b"\r\n\r\n":
        return f"it does not end after the {length:,} bytes that it claims"
    _add(kept, begin, payload, length, headers, source)
    return ""


def _add(kept: Collector, begin: int, payload: bytes, length: int, headers: Any, source: SourceConfig) -> None:
    """Adds the document of a record, or the reason why it has none."""
    kind = headers.get_header("WARC-Type", "")
    content = headers.get_header("Content-Type", "").partition(";")[0].strip().lower()
    if kind in _NO_DOCUMENTS:
        return
    if (kind == "conversion" and content in ("", "text/plain")) or (kind == "resource" and content.startswith("text/")):
        if length > source.max_document_bytes:
            message = f"{length:,} bytes, more than max_document_mb = {source.max_document_mb:g} of the source allows"
            kept.fault(begin, "oversized", message, payload[:_EXCERPT])
            return
        metadata = {name: value for name in source.metadata_fields if (value := _field(headers, name)) is not None}
        sort_value = _field(headers, source.order_field)
        kept.add(begin, payload, _field(headers, source.id_field), sort_value, metadata)
        return
    what = f"of the type {kind or 'unknown'!r} that holds {content or 'bytes'}"
    kept.fault(begin, "not_text", f"a record {what}, which is no text. Extract the text first, or take WET files.", payload[:_EXCERPT])


def _field(headers: Any, name: str | None) -> str | None:
    """Gives what the header says under one of our names or its own; None where it says nothing."""
    if name is None:
        return None
    value = headers.get_header(FIELDS.get(name, name))
    if value is not None and name == "url":
        value = value.removeprefix("<").removesuffix(">")  # as Wget writes it
    return value or None
