"""A small part of the demo's corpus: the documentation that Python carries."""

from __future__ import annotations

import functools
import itertools
import json
import pathlib
import sysconfig

from examples import demo_corpus
from tests.golden import make_inputs


@functools.cache
def documents(count: int = 250) -> list[dict[str, str]]:
    """The first documents, of which those of the language reference are long."""
    found = demo_corpus.documents(pathlib.Path(sysconfig.get_path("stdlib")))
    names = ("id", "module", "text")
    return [dict(zip(names, document, strict=True)) for document in itertools.islice(found, count) if len(document[2]) < 20_000]


def write(folder: pathlib.Path, *, pages: bool = False) -> None:
    """Writes the documents as JSON lines, or those that look like web pages: paragraphs in one line, as the rules of C4 want them."""
    folder.mkdir(parents=True)
    lines = make_inputs.pages(documents()) if pages else [json.dumps(document) for document in documents()]
    (folder / "docs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
