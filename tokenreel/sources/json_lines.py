"""Reads documents from lines of JSON."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.values import EXCERPT, BadDocument, read_document_id, utf8_problem

# Levels of JSON. Python reads and writes about a thousand, less what is on its stack, and that differs from runner to runner.
_NESTING = 200

_BRACKET_OR_STRING = re.compile(r'[\[\]{}]|"(?:[^"\\]++|\\.)*+"?', flags=re.DOTALL)


def lenient_json(line: bytes) -> Any:
    """What the strict parser refuses: bad UTF-8 gets its own reason, and NaN, which Python writes, is accepted."""
    problem = utf8_problem(line)
    if problem:
        raise BadDocument("invalid_utf8", problem)
    text = line.decode("utf-8-sig")  # of bytes the parser would guess the encoding, and take some for UTF-16
    if _is_deep(text):
        raise BadDocument("invalid_json", f"nested more than {_NESTING} levels deep")
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadDocument("invalid_json", str(error)) from None


def read_fields(record: Any, source: SourceConfig) -> tuple[str, str | None]:
    """Takes text and document id out of a record.

    Raises:
      BadDocument: one is missing, or no string.
    """
    if not isinstance(record, dict):
        raise BadDocument(
            "not_an_object", f"the line holds a JSON {type(record).__name__}, not an object with a field {source.text_field!r}"
        )
    if source.text_field not in record:
        raise BadDocument("no_text", f"no field {source.text_field!r}; the fields are {', '.join(map(repr, record))}"[: 2 * EXCERPT])
    text = record[source.text_field]
    if not isinstance(text, str):
        raise BadDocument("text_not_a_string", f"the field {source.text_field!r} holds a {type(text).__name__}, not a string")
    if source.id_field is None:
        return text, None
    return text, read_document_id(record.get(source.id_field), source.id_field)


def parse_json(fields: Mapping[str, Any]) -> str:
    """Kept fields as JSON; what JSON does not know (bytes, times inside of lists) as text."""
    with contextlib.suppress(RecursionError):
        text = json.dumps(fields, sort_keys=True, ensure_ascii=True, default=_as_text)
        if not _is_deep(text):
            return text
    raise BadDocument("bad_metadata", f"a field of {', '.join(map(repr, fields))} is nested more than {_NESTING} levels deep")


def _is_deep(text: str) -> bool:
    """Whether the brackets of a JSON text lie more than `_NESTING` deep in each other."""
    if text.count("[") + text.count("{") <= _NESTING:
        return False
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(text):
        depth += (match[0] in "[{") - (match[0] in "]}")
        if depth > _NESTING:
            return True
    return False


def _as_text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
