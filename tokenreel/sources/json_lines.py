"""Reads documents from lines of JSON, and writes the fields that are kept beside them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import re
from collections.abc import Mapping
from typing import Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources import encodings
from tokenreel.sources.composed_text import MISSING, compose, find, hint
from tokenreel.sources.values import EXCERPT, BadDocument, encode_text, read_document_id, to_sort_value

# Levels of JSON. Python reads and writes about a thousand, less what is on its stack, and that differs from runner to runner.
_NESTING = 200
_EXACT = float(1 << 63)  # whole numbers from here on are floats to the quick parser, unless they fit 64 bits
_BRACKET_OR_STRING = re.compile(r'[\[\]{}]|"(?:[^"\\]++|\\.)*+"?', flags=re.DOTALL)


@dataclasses.dataclass(slots=True)
class JsonDocument:
    """What a source takes of a line of JSON.

    Attributes:
      text: the document in UTF-8.
      id: its name; None where the source has no id field.
      sort_value: what it is sorted by; None where the source has no order field.
      metadata: JSON of the kept fields; None where the source keeps none.
    """

    text: bytes
    id: str | None
    sort_value: int | None
    metadata: str | None


@functools.cache
def _parser() -> Any:
    """Gives the quick parser: an import costs a while even where it was made, and lines are many."""
    import orjson

    return orjson


def read_document(line: bytes, source: SourceConfig) -> JsonDocument:
    """Reads the document of one line.

    Raises:
      BadDocument: the line is no JSON object, or a field that the source names is missing or of the wrong type.
    """
    orjson = _parser()
    try:
        record = orjson.loads(line)  # several times as fast as Python's parser, which has a look only at what this one refuses or rounds
        exact = not source.other_fields or not _is_rounded(record, source.other_fields)
    except orjson.JSONDecodeError:
        exact = False
    if not exact:
        record = _lenient_json(line, source.text_encoding)
    text, document_id = _read_fields(record, source)
    encoded = encode_text(text)
    metadata = sort_value = None
    if source.metadata_fields:
        found = {name: record[name] if name in record else find(record, name) for name in source.metadata_fields}
        kept = {name: value for name, value in found.items() if value is not MISSING}
        metadata = to_json(kept if exact else _with_text(kept))
    if source.order_field is not None:
        sort_value = to_sort_value(_value(record, source.order_field), source.order_field)
    return JsonDocument(encoded, document_id, sort_value, metadata)


def to_json(fields: Mapping[str, Any]) -> str:
    """Writes kept fields as JSON; what JSON does not know (bytes, times inside of lists) becomes text.

    Raises:
      BadDocument: a value is nested too deep to be read again everywhere.
    """
    with contextlib.suppress(RecursionError):
        text = json.dumps(fields, sort_keys=True, ensure_ascii=True, default=_as_text)
        if not _is_deep(text):
            return text
    raise BadDocument("bad_metadata", f"a field of {', '.join(map(repr, fields))} is nested more than {_NESTING} levels deep")


def _lenient_json(line: bytes, encoding: str) -> Any:
    """Parses what the strict parser refuses: bad UTF-8 gets its own reason, and NaN, which Python writes, is accepted.

    Raises:
      BadDocument: the line is no UTF-8, no JSON, or nested too deep.
    """
    problem = encodings.problem(line, encoding)
    if problem:
        raise BadDocument("invalid_utf8", problem)
    text = line.decode().removeprefix("\ufeff")  # of bytes the parser would guess the encoding, and take some for UTF-16
    if _is_deep(text):
        raise BadDocument("invalid_json", f"nested more than {_NESTING} levels deep")
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadDocument("invalid_json", str(error)) from None


def _is_rounded(record: Any, names: tuple[str, ...]) -> bool:
    """Tells whether one of some fields holds a number so large that the quick parser may have made a float of a whole number."""
    if not isinstance(record, dict):
        return False
    left = [record[name] if name in record else find(record, name) for name in names]
    while left:  # no recursion: how deep values may be nested is for `to_json` to say
        value = left.pop()
        if isinstance(value, float) and not -_EXACT < value < _EXACT:
            return True
        if isinstance(value, (dict, list)):
            left.extend(value.values() if isinstance(value, dict) else value)
    return False


def _with_text(value: Any) -> Any:
    """Turns whole numbers beyond 64 bits, which most programs would round, into text."""
    if isinstance(value, int):
        return value if -_EXACT <= value < 2 * _EXACT else str(value)
    if isinstance(value, dict):
        return {name: _with_text(inner) for name, inner in value.items()}
    return [_with_text(inner) for inner in value] if isinstance(value, list) else value


def _read_fields(record: Any, source: SourceConfig) -> tuple[str, str | None]:
    """Takes the text and the name of a document out of a record.

    Raises:
      BadDocument: the record is no object, or one of both is missing or no string.
    """
    if not isinstance(record, dict):
        raise BadDocument(
            "not_an_object", f"the line holds a JSON {type(record).__name__}, not an object with a field {source.text_fields[0]!r}"
        )
    text = record.get(source.plain_text_field)
    if not isinstance(text, str):
        text = _find_text(record, source)
    if source.id_field is None:
        return text, None
    return text, read_document_id(_value(record, source.id_field), source.id_field)


def _find_text(record: dict[str, Any], source: SourceConfig) -> str:
    """Finds the text of a record where it is no key of the record itself, or made of several values."""
    name = source.plain_text_field
    if name is None:
        try:
            return compose(lambda field: find(record, field), source)
        except BadDocument as bad:
            raise BadDocument(bad.reason, f"{bad.message}; {_fields(record)}"[: 2 * EXCERPT], record) from None
    text = find(record, name)
    if text is MISSING:
        raise BadDocument("no_text", f"no field {name!r}; {_fields(record)}"[: 2 * EXCERPT], record)
    if not isinstance(text, str):
        message = f"the field {name!r} holds a {type(text).__name__}, not a string{hint(text, source)}"
        raise BadDocument("text_not_a_string", message, record)
    return text


def _fields(record: Mapping[str, Any]) -> str:
    return f"the fields are {', '.join(map(repr, record))}"


def _value(record: Mapping[str, Any], name: str) -> Any:
    value = record.get(name)
    if value is None and "." in name:
        value = find(record, name)
    return None if value is MISSING else value


def _is_deep(text: str) -> bool:
    """Tells whether the brackets of a JSON text lie more than `_NESTING` deep in each other."""
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
