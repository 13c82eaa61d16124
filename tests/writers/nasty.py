"""Texts that formats get wrong, and how a writer's files are described. Standard library alone: old versions of writers import it too."""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from tests.nasty_texts import NASTY

TEXTS = [
    *NASTY,
    'backslash and quote \\" then more',
    'quote and comma ", then "more"',
    "nul\0inside",
    "NULL",
    "nan",
    "NA",
    "null",
    "true",
    "1234",
    "1e5",
    "# no comment",
    '{"text": "JSON, inside"}',
    "emoji \U0001f600 \U0001f469\u200d\U0001f469\u200d\U0001f467",
    "combining e\u0301, composed \u00e9",
    "\u05e9\u05dc\u05d5\u05dd, \u0645\u0631\u062d\u0628\u0627",
    "control \x01\x0b\x0c\x1c\x1f\x7f " + "and long " * 5000,
]
IDS = [f"row-{number}" for number in range(len(TEXTS))]


class Case(NamedTuple):
    """A file of a writer.

    Attributes:
      name: of the file, or of the folder, in the writer's folder.
      format: of the source that reads it.
      settings: of the source, beside its id_field.
      own: what the writer's own reader gives, texts by id; None where that is what was written.
    """

    name: str
    format: str
    settings: dict[str, Any]
    own: dict[str, str] | None = None


def own(ids: Iterable[Any], texts: Iterable[Any]) -> dict[str, str] | None:
    """Gives what a writer's reader returned where it is not what was written; nulls aside."""
    found = {str(key): str(text) for key, text in zip(ids, texts, strict=True) if text is not None and text == text}
    return None if found == dict(zip(IDS, TEXTS, strict=True)) else found


def main(write: Callable[[pathlib.Path], Iterable[Case]]) -> None:
    """Writes all files of a writer into the folder that the command line names, and `cases.json`."""
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True)
    cases = [case._asdict() for case in write(folder)]
    (folder / "cases.json").write_text(json.dumps(cases))
