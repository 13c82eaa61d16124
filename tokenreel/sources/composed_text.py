"""Text that is made of several values of a record: a list of strings, a template over fields, the messages of a chat.

Readers of all formats with fields hand over a function that finds a field, and get the text. What is no such value is a dead letter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.values import BadDocument, utf8_problem

MISSING: Any = object()  # what a record holds of a field that it lacks
_BETWEEN_MESSAGES = "\n\n"
_SPEAKERS = (("role", "content"), ("from", "value"))  # of OpenAI's and of ShareGPT's chats


def find(record: Mapping[str, Any], name: str) -> Any:
    """Finds a field of a record; `MISSING` where there is none.

    A key of that very name comes first. Otherwise `a.b` is the value `b` inside of `a`, where a key may have dots too.

    >>> find({"meta": {"url": "u"}}, "meta.url"), find({"meta.url": "v", "meta": {"url": "u"}}, "meta.url")
    ('u', 'v')
    """
    if name in record:
        return record[name]
    at = name.rfind(".")
    while at > 0:
        inner = record.get(name[:at])
        if isinstance(inner, Mapping):
            return find(inner, name[at + 1 :])
        at = name.rfind(".", 0, at)
    return MISSING


def compose(find_field: Callable[[str], Any], source: SourceConfig) -> str:
    """Makes the text of a record.

    Args:
      find_field: gives the value of a field, or `MISSING`.
      source: says what text is made of.

    Raises:
      BadDocument: a field is missing or null, or holds no text.
    """
    if source.messages_field is not None:
        return _chat(_present(find_field, source.messages_field), source.messages_field)
    if source.text is None:
        return _text_of(_present(find_field, source.text_field), source.text_field, source)
    return "".join(
        literal if name is None else _text_of(_present(find_field, name), name, source, numbers=True) for literal, name in source.template
    )


def _present(find_field: Callable[[str], Any], name: str) -> Any:
    value = find_field(name)
    if value is MISSING or value is None:
        raise BadDocument("no_text", f"no field {name!r}" if value is MISSING else f"the field {name!r} is null")
    return value


def _text_of(value: Any, name: str, source: SourceConfig, *, numbers: bool = False) -> str:
    """Turns a value into text: a string, the strings of a list, and a number where it is one of several values."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        problem = utf8_problem(value)
        if problem:
            raise BadDocument("invalid_utf8", problem)
        return value.decode()
    if isinstance(value, list) and source.joiner is not None and all(isinstance(part, str) for part in value):
        return source.joiner.join(value)
    if numbers and isinstance(value, (int, float)) and not isinstance(value, bool):
        return json.dumps(value)
    raise BadDocument("text_not_a_string", f"the field {name!r} holds a {type(value).__name__}, not a string{hint(value, source)}")


def hint(value: Any, source: SourceConfig) -> str:
    """Names the setting that reads a value which is no string, if there is one."""
    if not isinstance(value, list) or not value:
        return ""
    if all(isinstance(part, str) for part in value):
        return " (sources.joiner joins the strings of a list)" if source.joiner is None else ""
    chat = all(isinstance(part, Mapping) and any(set(keys) <= part.keys() for keys in _SPEAKERS) for part in value)
    return " (sources.messages_field renders a chat)" if chat else ""


def _chat(messages: Any, name: str) -> str:
    """Renders messages: who speaks, a colon, and what is said; a blank line between them.

    Raises:
      BadDocument: they are no list of messages of text.
    """
    if not isinstance(messages, list):
        raise BadDocument("bad_messages", f"the field {name!r} holds a {type(messages).__name__}, not a list of messages")
    rendered = []
    for number, message in enumerate(messages):
        where = f"message {number} of the field {name!r}"
        keys = next((keys for keys in _SPEAKERS if isinstance(message, Mapping) and set(keys) <= message.keys()), None)
        if keys is None:
            raise BadDocument("bad_messages", f"{where} is no object with role and content (or from and value)")
        speaker, said = message[keys[0]], _said(message[keys[1]])
        if not isinstance(speaker, str) or said is None:
            raise BadDocument("bad_messages", f"{where} holds no text in {keys[0]} or {keys[1]}")
        rendered.append(f"{speaker}: {said}")
    return _BETWEEN_MESSAGES.join(rendered)


def _said(content: Any) -> str | None:
    """Gives the text of a message's content, which may come in parts; None where it is anything else."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [part.get("text") if isinstance(part, Mapping) and part.get("type", "text") == "text" else part for part in content]
    texts = [part for part in parts if isinstance(part, str)]
    return "".join(texts) if len(texts) == len(parts) else None
