"""A `tokenizer.json` without some of its tokens, for texts that spell their names.

The library leaves names of special tokens in the text alone when it is asked to, but its model may still find one among its pieces: T5's
Unigram has `</s>` as a piece of the highest score, and a WordLevel model each of them as a word.

Tested in tests/tokenreel/vocabularies/test_huggingface.py.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection
from typing import Any


def mark_special(data: bytes, names: Collection[str]) -> bytes:
    """Makes added tokens of a `tokenizer.json` special ones, whatever the file says."""
    content = json.loads(data)
    for token in content["added_tokens"]:
        token["special"] = token.get("special", False) or token["content"] in names
    return json.dumps(content).encode()


def hide(data: bytes, names: Collection[str]) -> bytes:
    """Gives tokens of a `tokenizer.json` other names that no text can hold, as they are drawn anew each time; all tokens keep their ids.

    Texts in which none of them was found are encoded as before: a piece that is not chosen changes no choice.
    """
    content = json.loads(data)
    secret = secrets.token_hex(16)
    renamed = {name: f"\0{secret}{number}" for number, name in enumerate(sorted(names))}
    for token in content["added_tokens"]:
        token["content"] = renamed.get(token["content"], token["content"])
    model = content["model"]
    if isinstance(model["vocab"], list):  # of Unigram
        model["vocab"] = [[renamed.get(piece, piece), *score] for piece, *score in model["vocab"]]
    else:
        model["vocab"] = {renamed.get(piece, piece): i for piece, i in model["vocab"].items()}
    if "merges" in model:
        prefix = len(model.get("continuing_subword_prefix") or "")
        model["merges"] = [merge for merge in model["merges"] if not _parts(merge, prefix) & renamed.keys()]
    return json.dumps(content).encode()


def _parts(merge: Any, prefix: int) -> set[str]:
    """The pieces that a merge is made of, and what it makes."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return {first, second, first + second, first + second[prefix:]}
