"""TFRecord files of `tf.train.Example`: a document's position is the byte at which its record begins in the decompressed file.

A record's length is all that tells where the next one begins, so nothing can be read behind a damaged length: the rest of the file is one
fault. A damaged payload costs its record alone. A file is never cut: such data sets come as many files.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tokenreel.config.corpus import SourceConfig
from tokenreel.format import example_codec, tfrecord
from tokenreel.sources import part_bounds
from tokenreel.sources.composed_text import MISSING, compose
from tokenreel.sources.inputs import InputFile
from tokenreel.sources.readers import columns
from tokenreel.sources.readers.rows import BROKEN_FILE, Collector, Rows
from tokenreel.sources.readers.unreadable import describe_break
from tokenreel.sources.values import BadDocument, encode_text

_LONGEST_RECORD = 1 << 28  # held in memory: other features lie beside the text
_EXCERPT = 1000


def read(chunks: Iterator[bytes | Exception], file: InputFile, source: SourceConfig, part_bytes: int) -> Iterator[Rows]:
    """Reads the records of a stream of bytes, which ends with an exception where they cannot be read to the end."""
    kept = Collector(file, source)
    framed = _Framed(chunks)
    position = handed_over = 0
    longest = max(_LONGEST_RECORD, 4 * source.max_document_bytes)
    while framed.fill(1):
        problem, payload, size = _record(framed, longest)
        if payload is None:
            reason, message = BROKEN_FILE, f"record at byte {position:,}: {problem}. Nothing behind it can be read; fetch the file again."
            if framed.broken is not None:
                reason, message = describe_break(framed.broken, f"in the record at byte {position:,}: {problem}")
            kept.fault(position, reason, message)
            kept.total_lines += 1
            break
        if size > longest:
            message = (
                f"record at byte {position:,}: {size:,} bytes, more than any of a document of max_document_mb = {source.max_document_mb:g}"
            )
            kept.fault(position, "oversized", message, payload, size=size)
        elif problem:
            kept.fault(position, "bad_crc", f"record at byte {position:,}: {problem}. Fetch the file again.", payload)
        else:
            add(kept, position, payload, source)
        kept.total_lines += 1
        position += tfrecord.HEADER_BYTES + size + tfrecord.FOOTER_BYTES
        if position - handed_over >= part_bytes or len(kept) >= part_bounds.MOST_DOCUMENTS:
            yield kept.take()
            handed_over = position
    else:
        if framed.broken is not None:
            kept.fault(position, *describe_break(framed.broken, f"after {position:,} bytes"))
            kept.total_lines += 1
    yield kept.take()


class _Framed:
    """Bytes of a stream, to be taken in any amounts."""

    def __init__(self, chunks: Iterator[bytes | Exception]) -> None:
        self._chunks = chunks
        self._buffer = bytearray()
        self._at = 0
        self.broken: Exception | None = None

    def fill(self, count: int) -> bool:
        """Reads on until so many bytes are there; False where the stream ends or breaks before."""
        if len(self._buffer) - self._at >= count:
            return True
        del self._buffer[: self._at]
        self._at = 0
        while len(self._buffer) < count:
            chunk = next(self._chunks, b"") if self.broken is None else b""
            if isinstance(chunk, Exception):
                self.broken = chunk
            elif not chunk:
                return False
            else:
                self._buffer += chunk
        return True

    def skip(self, count: int) -> bytes | None:
        """Passes over so many bytes and gives the first of them; None where there are fewer."""
        self.fill(_EXCERPT)
        beginning = bytes(self._buffer[self._at : self._at + _EXCERPT])
        while count and self.fill(1):
            passed = min(count, len(self._buffer) - self._at)
            self._at += passed
            count -= passed
        return None if count else beginning

    def take(self, count: int) -> bytes:
        """Takes so many bytes, which `fill` has found."""
        data = bytes(self._buffer[self._at : self._at + count])
        self._at += count
        return data


def _record(framed: _Framed, longest: int) -> tuple[str, bytes | None, int]:
    """Reads the next record: what is wrong with it, its payload, and the number of its bytes.

    The payload is None where nobody can tell where it ends.
    Of a payload over `longest` there is only the beginning: a few compressed bytes may claim to be terabytes.
    """
    if not framed.fill(tfrecord.HEADER_BYTES):
        return "the file ends inside its header", None, 0
    head = framed.take(tfrecord.HEADER_BYTES)
    length, crc = struct.unpack("<QI", head)
    if crc != tfrecord.masked_crc32c(head[:8]):
        return "its length does not match its CRC", None, 0
    if length > longest:
        beginning = framed.skip(length + tfrecord.FOOTER_BYTES)
        return ("", beginning, length) if beginning is not None else (f"the file ends inside its {length:,} bytes", None, 0)
    if not framed.fill(length + tfrecord.FOOTER_BYTES):
        return f"the file ends inside its {length:,} bytes", None, 0
    payload = framed.take(length)
    (crc,) = struct.unpack("<I", framed.take(tfrecord.FOOTER_BYTES))
    return "" if crc == tfrecord.masked_crc32c(payload) else "its bytes do not match their CRC", payload, length


def add(kept: Collector, position: int, payload: bytes, source: SourceConfig) -> None:
    """Adds the document of one record, or the reason why it has none."""
    try:
        features = example_codec.decode_example(payload, only=columns.wanted(source))
    except (ValueError, LookupError) as error:
        kept.fault(position, "no_example", f"the record is no tf.train.Example ({error})", payload)
        return
    metadata = {name: _plain(features[name]) for name in source.metadata_fields if name in features}
    fields = _single(features, source.id_field), _single(features, source.order_field), metadata
    if source.plain_text_field is None:
        try:
            composed = encode_text(compose(lambda name: _plain(features[name]) if name in features else MISSING, source))
        except BadDocument as bad:
            kept.fault(position, bad.reason, bad.message, payload, _names(payload))
        else:
            kept.add(position, composed, *fields)
        return
    text = features.get(source.text_field, np.zeros(0))
    if text.dtype != object and len(text):
        message = f"the feature {source.text_field!r} holds numbers ({text.dtype}), not bytes"
        kept.fault(position, "text_not_a_string", message, payload, _names(payload))
    elif len(text) != 1:
        names = _names(payload)
        listed = ", ".join(map(repr, names))[:300]
        found = f"holds {len(text)} values, not one" if len(text) else f"is missing or empty; features are {listed}"
        kept.fault(position, "text_not_a_string" if len(text) else "no_text", f"the feature {source.text_field!r} {found}", payload, names)
    else:
        kept.add(position, text[0], *fields)


def _names(payload: bytes) -> tuple[str, ...]:
    """Names the features of a record; none where one of them cannot be read."""
    try:
        return tuple(example_codec.decode_example(payload))
    except (ValueError, LookupError):
        return ()


def _single(features: Mapping[str, Any], name: str | None) -> Any:
    return None if name is None or name not in features else _plain(features[name])


def _plain(values: Any) -> Any:
    """One value by itself, several as a list; bytes as text."""
    found = [value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value for value in values.tolist()]
    return found[0] if len(found) == 1 else found
