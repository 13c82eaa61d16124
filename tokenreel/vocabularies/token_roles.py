"""Which tokens of a `tokenizer.json` pad, begin, end and mask: told by the options, by the files beside it, or by their usual names.

They are added tokens. An ordinary piece that is spelled like one is text: Qwen's vocabulary has a piece `</s>`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

from tokenreel.errors import VocabularyError
from tokenreel.format import naming
from tokenreel.storage import files
from tokenreel.vocabularies.base import is_id

_USUAL = {
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|padding|>"),
    "bos": ("<s>", "<bos>", "[BOS]", "<|begin_of_text|>", "<|startoftext|>"),
    "eos": ("</s>", "<eos>", "[EOS]", "<|end_of_text|>", "<|endoftext|>"),
    "unk": ("<unk>", "[UNK]", "<|unk|>"),
    "mask": ("<mask>", "[MASK]", "<MASK>", "<|mask|>"),
    "cls": ("<cls>", "[CLS]", "<CLS>"),  # these two begin and end inputs, not documents
    "sep": ("<sep>", "[SEP]", "<SEP>"),
}
ROLES = tuple(_USUAL)
_LISTED = 8  # added tokens that a message names


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tokens:
    """What a `tokenizer.json` and the files beside it say of its tokens.

    Attributes:
      path: of the file, for errors.
      ids: of all tokens, by name.
      added: ids of the added tokens, by name.
      vocab_size: ids are below this.
      unk_id: what the model gives for what it does not know; None where it has nothing.
      beside: contents of the files beside it, by their names.
    """

    path: str
    ids: Mapping[str, int]
    added: Mapping[str, int]
    vocab_size: int
    unk_id: int | None
    beside: Mapping[str, bytes]


def find_roles(tokens: Tokens, given: Mapping[str, int | str | None]) -> dict[str, int | None]:
    """Finds the token of each of `ROLES`; None for what there is not.

    An option decides before what the model itself says of the unknown, that before the files beside, and those before usual names.

    Args:
      tokens: see there.
      given: ids or names of tokens, by role; None where nothing is given.

    Raises:
      VocabularyError: a given token is none of the tokenizer's, several fit, or the files beside name an ordinary piece.
    """
    told = _told(tokens)
    found: dict[str, int | None] = {}
    for role in ROLES:
        value = given.get(role)
        if value is not None:
            found[role] = _given(tokens, role, value)
        elif role == "unk" and tokens.unk_id is not None:
            found[role] = tokens.unk_id
        elif role in told:
            found[role] = _named(tokens, role, told)
        else:
            usual = {name: tokens.added[name] for name in _USUAL[role] if name in tokens.added}
            found[role] = _only(tokens, role, {f"{name!r} ({i})": i for name, i in usual.items()})
    return found


def read_beside(path: str) -> dict[str, bytes]:
    """Reads what is there of the files beside that name special tokens.

    Raises:
      VocabularyError: one is there and cannot be read.
    """
    found = {}
    for name in naming.BESIDE_TOKENIZER:
        other = files.join(os.path.dirname(path) or ".", name)
        try:
            found[name] = files.read_bytes(other)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise VocabularyError(f"{other}: cannot be read ({error.strerror or error}), and may name special tokens. Mend it.") from error
    return found


def check_stored(ids: Mapping[str, int | None], vocab_size: int) -> Mapping[str, int | None]:
    """Gives the special ids that the manifest of a dataset has, by role.

    Raises:
      VocabularyError: one is none of this vocabulary.
    """
    for role, value in ids.items():
        if value is not None and not is_id(value, vocab_size):
            raise VocabularyError(f"{role}_id is {value!r}, which the tokenizer does not have. Copy the dataset again.")
    return ids


def describe_roles(ids: Mapping[str, int | None], names: Mapping[int, str | None]) -> str:
    """Says for people which token has which role.

    >>> describe_roles({"pad": None, "bos": None, "eos": 2}, {2: "</s>"})
    "eos '</s>' (2); no pad, bos"
    """
    there = ", ".join(f"{role} {names[i]!r} ({i})" for role, i in ids.items() if i is not None)
    missing = ", ".join(role for role, i in ids.items() if i is None)
    return "; ".join(part for part in (there, missing and f"no {missing}") if part)


def _given(tokens: Tokens, role: str, value: int | str) -> int:
    """Reads an option.

    Raises:
      VocabularyError: it is no token, or the name of an ordinary piece.
    """
    option = f"vocabulary.options.{role}_id"
    found = tokens.ids.get(value) if isinstance(value, str) else value
    if not is_id(found, tokens.vocab_size):
        raise VocabularyError(
            f"{option}: the tokenizer has no token {value!r}. Give the name of an added token, or an id, a whole number below "
            f"{tokens.vocab_size}."
        )
    if isinstance(value, str) and value not in tokens.added and found != tokens.unk_id:
        raise VocabularyError(f"{option}: {_ordinary(tokens, value)} To take it all the same, give its id.")
    return found


def _ordinary(tokens: Tokens, name: str) -> str:
    """Says that a piece is no added token, and lists those."""
    listed = ", ".join(f"{added!r} ({i})" for added, i in sorted(tokens.added.items(), key=lambda each: each[1])[:_LISTED])
    more = ", ..." if len(tokens.added) > _LISTED else ""
    return f"{name!r} ({tokens.ids[name]}) is an ordinary piece, which texts may hold. Added tokens are {listed or 'none'}{more}."


def _told(tokens: Tokens) -> dict[str, dict[str, list[str]]]:
    """Reads the files beside: by role, the names that they tell and which files do; no name at all where they say that there is none.

    Raises:
      VocabularyError: one of them is no JSON object, or names a token by something else than text.
    """
    told: dict[str, dict[str, list[str]]] = {}
    for file, data in tokens.beside.items():
        try:
            content = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise VocabularyError(f"{tokens.path}: {file} beside it is not JSON ({error}). Mend it, or take it away.") from error
        if not isinstance(content, dict):
            raise VocabularyError(f"{tokens.path}: {file} beside it holds no JSON object. Mend it, or take it away.")
        for role in ROLES:
            if f"{role}_token" in content:
                name = _name(tokens, file, f"{role}_token", content[f"{role}_token"])
                found = told.setdefault(role, {})
                if name is not None:
                    found.setdefault(name, []).append(file)
    others = {name for role, names in told.items() if role != "unk" for name in names}
    if tokens.unk_id is None and set(told.get("unk", ())) & others:  # such as GPT-2's: a placeholder, since its model knows all bytes
        told["unk"] = {}
    return told


def _name(tokens: Tokens, file: str, field: str, value: Any) -> str | None:
    """Reads the name of a token, which may be an object that has it as its `content`.

    Raises:
      VocabularyError: it is neither.
    """
    name = value.get("content") if isinstance(value, dict) else value
    if name is not None and not isinstance(name, str):
        raise VocabularyError(f"{tokens.path}: {field} in {file} beside it is the name of a token, got {value!r}. Mend it.")
    return name


def _named(tokens: Tokens, role: str, told: Mapping[str, Mapping[str, list[str]]]) -> int | None:
    """Finds the token that the files beside name; None for one that the tokenizer does not have.

    Raises:
      VocabularyError: they name several, or an ordinary piece.
    """
    there = {name: by for name, by in told[role].items() if name in tokens.ids}
    found = _only(tokens, role, {f"{name!r} ({tokens.ids[name]}, {' and '.join(by)})": tokens.ids[name] for name, by in there.items()})
    for name, by in there.items():
        if name not in tokens.added:
            raise VocabularyError(
                f"{tokens.path}: {by[0]} beside it has {role}_token, but {_ordinary(tokens, name)} Set vocabulary.options.{role}_id."
            )
    return found


def _only(tokens: Tokens, role: str, candidates: Mapping[str, int]) -> int | None:
    """Gives the only candidate, None where there is none.

    Raises:
      VocabularyError: there are several.
    """
    if len(candidates) > 1:
        raise VocabularyError(
            f"{tokens.path}: several tokens may be its {role}: {', '.join(candidates)}. Set vocabulary.options.{role}_id to one of them."
        )
    return next(iter(candidates.values()), None)
