"""Tries a tokenizer on files: what it is, what it makes of a sample, and how fast it is there beside its library."""

import argparse
import json
from typing import Any

from tokenreel.errors import ConfigError
from tokenreel.inspection import tokenizer_trial
from tokenreel.inspection.terminal import reader_may_leave, wants_color
from tokenreel.vocabularies.loading import load_vocabulary, open_vocabulary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command line."""
    parser.add_argument("model", metavar="MODEL", help="tokenizer.json, vocab.json, vocab.txt, .tiktoken, tekken.json or SentencePiece")
    parser.add_argument("files", nargs="+", metavar="FILE", help="text, a document each, or .jsonl with the field text; local or gs://")
    parser.add_argument("--kind", help="vocabulary.kind; by default told by the name: .model, .tiktoken, tekken*.json, else huggingface")
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of vocabulary.options; may be repeated")
    parser.add_argument("--megabytes", type=float, default=4, help="most of each file (4)")
    parser.add_argument("--color", choices=["auto", "always", "never"], default="auto", help="auto: on a terminal, unless NO_COLOR is set")


def run(arguments: argparse.Namespace) -> int:
    """Prints what a tokenizer does.

    Returns:
      0, or 1 if a document has other ids than the library gives it.

    Raises:
      TokenreelError: the tokenizer or a file cannot be read.
    """
    kind = arguments.kind or _kind(arguments.model)
    options = dict(map(_option, arguments.option))
    vocabulary = open_vocabulary(kind, arguments.model, options)
    library = None
    if kind in ("sentencepiece", "huggingface", "tiktoken"):
        library = load_vocabulary(kind, arguments.model, **(options | {"memo_bytes": 0}))
    blocks = {path: tokenizer_trial.read(path, int(arguments.megabytes * 1e6)) for path in arguments.files}
    with reader_may_leave():
        tokenizer_trial.describe(arguments.model, kind, vocabulary)
        tokenizer_trial.show(vocabulary, next(iter(blocks.values())), wants_color(arguments.color))
        return tokenizer_trial.race(vocabulary, library, blocks)


def _kind(path: str) -> str:
    """Tells the kind of a tokenizer by its file's name."""
    name = path.rsplit("/", 1)[-1]
    if name.endswith(".model"):
        return "sentencepiece"
    return "tiktoken" if name.endswith(".tiktoken") or (name.startswith("tekken") and name.endswith(".json")) else "huggingface"


def _option(given: str) -> tuple[str, Any]:
    """Reads `NAME=VALUE`, the value as JSON, or else as the text that it is."""
    name, sign, value = given.partition("=")
    if not sign:
        raise ConfigError(f"--option {given}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
