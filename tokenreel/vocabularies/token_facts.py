"""What a `tokenizer.json` says of its tokens: their names, which are special, which pad, begin and end. Kept on this machine.

The library has to read all of the file before it can be asked, which takes half a second for 128,000 pieces, and as long again to be asked
about each of them. A build of a few documents needs it for nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.errors import VocabularyError
from tokenreel.storage.column_file import Columns
from tokenreel.vocabularies import added_names, kept_arrays
from tokenreel.vocabularies.kept_arrays import Built
from tokenreel.vocabularies.token_roles import Tokens, check_stored, find_roles

_MOST_IDS = 1 << 24  # arrays of a value for each id are made
_SMALL_BYTES = 1 << 18  # files that the library reads in 10 ms, which are not worth one of ours
_NONE: frozenset[str] = frozenset()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """What a dataset's manifest says of the tokenizer that made it.

    Attributes:
      ids: its special ids, by role.
      older: built before `huggingface.VERSION`: the model might give special tokens for their names even where these were text.
    """

    ids: Mapping[str, int | None]
    older: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What decides the facts.

    Attributes:
      path: of the file, for errors.
      data: its content.
      beside: contents of the files beside it.
      special_tokens: whether names of special tokens in the text become these tokens.
      given: the option of each role.
      stored: what the manifest of a dataset says; then no special id is looked for.
    """

    path: str
    data: bytes
    beside: Mapping[str, bytes]
    special_tokens: bool
    given: Mapping[str, int | str | None]
    stored: Stored | None

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hashes all but the path, and the library's version."""
        import tokenizers

        told = None if self.stored is None else (sorted(self.stored.ids.items()), self.stored.older)
        options = repr((sorted(self.given.items()), told, self.special_tokens, tokenizers.__version__))  # in which 1, 1.0 and True differ
        beside = (part for name, data in sorted(self.beside.items()) for part in (name, data))
        return keys.digest("token facts", self.data, options, *beside)


class TokenFacts:
    """What the library says of the tokens of a file.

    Attributes:
      vocab_size: ids are below this.
      roles: the special id of each of `token_roles.ROLES`, None where there is none.
      added: ids of the added tokens, and whether they are special.
      marked: names of added tokens that are special here, whatever the file says.
      hidden: names of tokens that no text may give, though the model may.
      never: [vocab_size] bool their ids; None where texts may give all.
      word_starts: [vocab_size] bool tokens that begin a word; None where tokens do not tell.
      fingerprint: hash of what decides the ids of texts.
    """

    def __init__(self, columns: Columns) -> None:
        """Takes what `_ask` gave."""
        self._names, self._bounds, self._named = (columns.arrays[name] for name in ("names", "bounds", "named"))
        about = columns.about
        self.vocab_size: int = len(self._named)
        self.roles: dict[str, int | None] = about["roles"]
        self.added: dict[int, bool] = dict(about["added"])
        self.marked, self.hidden = frozenset[str](about["marked"]), frozenset[str](about["hidden"])
        self.never: npt.NDArray[np.bool_] | None = None
        if about["never"] is not None:
            self.never = np.zeros(self.vocab_size, dtype=bool)
            self.never[about["never"]] = True
        starts = columns.arrays["word_starts"]
        self.word_starts: npt.NDArray[np.bool_] | None = starts.copy() if len(starts) else None
        self.fingerprint: str = about["fingerprint"]

    def piece(self, token: int) -> str | None:
        """Writes a token as the file does; None for ids that it leaves out."""
        if not 0 <= token < self.vocab_size or not self._named[token]:
            return None
        return self._names[self._bounds[token] : self._bounds[token + 1]].tobytes().decode()


def look_up(question: Question, load: Callable[[frozenset[str]], Any]) -> TokenFacts:
    """Finds the facts, which are kept for the next time where the file is large.

    Args:
      question: see there.
      load: gives the library's `Tokenizer` of the file, in which added tokens of these names are special.

    Raises:
      VocabularyError: it is no tokenizer, or has no such token, or several that fit. Nothing of that is kept.
    """

    def ask() -> Built:
        return _ask(question, load)

    if len(question.data) < _SMALL_BYTES:
        return TokenFacts(kept_arrays.not_kept(ask))
    return TokenFacts(kept_arrays.get("tokens", question.fingerprint, ask))


def _ask(question: Question, load: Callable[[frozenset[str]], Any]) -> Built:
    """Asks the library for all that `TokenFacts` tells.

    Raises:
      VocabularyError: see `look_up`.
    """
    library = load(_NONE)
    tokens = library.get_vocab(with_added_tokens=True)
    if not tokens:
        raise VocabularyError(f"{question.path}: the tokenizer has no token. Give the tokenizer.json of one that was trained.")
    vocab_size = _count_ids(question.path, tokens)
    names = _names(library, vocab_size)
    added = {name: i for i in _added(library) if (name := names[i]) is not None}
    content = json.loads(question.data)
    unk_id, roles = _unknown(content, tokens), {}
    if question.stored is None:
        known = Tokens(path=question.path, ids=tokens, added=added, vocab_size=vocab_size, unk_id=unk_id, beside=question.beside)
        roles = find_roles(known, question.given)
        _check(question.path, library, tokens, added, roles)
    else:
        roles = dict(check_stored(question.stored.ids, vocab_size))
    about: dict[str, Any] = {"roles": roles, "marked": [], "hidden": [], "never": None}
    version: tuple[str, ...] = ()
    if not question.special_tokens and not (question.stored is not None and question.stored.older):
        special, chosen = _added(library), set(roles.values())
        # No text gives the id of an added token which is special, or which the vocabulary uses as such.
        control = [name for name, i in added.items() if i != unk_id and (special[i] or i in chosen)]
        about["marked"] = sorted(name for name in control if not special[added[name]])
        about["hidden"] = sorted(name for name in control if len(name) > 1)  # a text may hold a character that only this one encodes
        about["never"] = [added[name] for name in about["hidden"]]
        version = "text", *about["marked"]
    if about["marked"]:
        library = load(frozenset(about["marked"]))
        names = _names(library, vocab_size)
    about["added"] = list(_added(library).items())
    about["fingerprint"] = keys.digest("huggingface", question.data, int(question.special_tokens), *version)
    return _lay_out(names) | {"word_starts": _word_starts(content, names, about["added"])}, about


def _lay_out(names: list[str | None]) -> dict[str, npt.NDArray[Any]]:
    data = [(name or "").encode() for name in names]
    return {
        "names": np.frombuffer(b"".join(data), dtype=np.uint8),
        "bounds": ragged.offsets_of(np.fromiter(map(len, data), dtype=np.int64, count=len(data))),
        "named": np.array([name is not None for name in names]),
    }


def _names(library: Any, vocab_size: int) -> list[str | None]:
    """Writes all ids as the file does. The library gives added tokens the names that normalised texts have, where it looks for them."""
    added = {int(i): token.content for i, token in library.get_added_tokens_decoder().items()}
    return [added.get(i) or library.id_to_token(i) for i in range(vocab_size)]


def _added(library: Any) -> dict[int, bool]:
    return {int(i): bool(token.special) for i, token in library.get_added_tokens_decoder().items()}


def _check(path: str, library: Any, tokens: Mapping[str, int], added: Mapping[str, int], roles: Mapping[str, int | None]) -> None:
    """Checks that texts do not give the ids of special tokens, and that they give the same ids each time.

    The library numbers added tokens from the number of pieces on, whatever the file says, and where ids of pieces have gaps they are taken.

    Raises:
      VocabularyError: a piece has the id of a special token, or names of two added tokens are the same in normalised texts.
    """
    if (both := added_names.same_names(library)) is not None:
        raise VocabularyError(
            f"{path}: the added tokens {both[0]!r} and {both[1]!r} are the same in normalised texts, and it is chance which of "
            "them the library finds there. Take one of them away, or set its `normalized` to false."
        )
    if len(set(tokens.values())) == len(tokens):
        return
    special = _added(library)
    control = {i: name for name, i in added.items() if special[i] or i in roles.values()}
    for piece, i in library.get_vocab(with_added_tokens=False).items():
        if piece != control.get(i, piece):
            raise VocabularyError(
                f"{path}: the library gives the special token {control[i]!r} the id {i}, which the piece {piece!r} has: it "
                "counts from the number of pieces on, and the ids of pieces have gaps. Give pieces ids without gaps, or special tokens "
                "a piece each."
            )


def _unknown(tokenizer: dict[str, Any], tokens: Mapping[str, int]) -> int | None:
    """Finds the id that the model of a `tokenizer.json` itself gives for what it does not know, whatever it is called."""
    model = tokenizer.get("model") or {}
    if model.get("type") == "Unigram" and model.get("unk_id") is not None:
        return int(model["unk_id"])
    name = model.get("unk_token")
    return None if name is None else tokens.get(name)


def _word_starts(tokenizer: dict[str, Any], names: list[str | None], added: list[tuple[int, bool]]) -> npt.NDArray[np.bool_]:
    """Tells which tokens begin a word, by "▁" or "Ġ" at their front or no "##"; an empty array where tokens do not tell."""
    prefix, begins_word = _word_prefix(tokenizer)
    others = {i for i, _ in added}
    begins = [name is not None and i not in others and name.startswith(prefix) == begins_word for i, name in enumerate(names)]
    return np.array(begins if prefix and any(begins) else [], dtype=bool)


def _word_prefix(tokenizer: dict[str, Any]) -> tuple[str, bool]:
    """Finds what tells the beginnings of words in a `tokenizer.json`: a prefix of tokens, and whether it marks them or the other tokens."""
    model = tokenizer.get("model") or {}
    if model.get("type") == "WordPiece":
        return model.get("continuing_subword_prefix") or "", False
    steps: list[Any] = []
    for name in ("pre_tokenizer", "decoder"):
        step = tokenizer.get(name) or {}
        steps += [step, *step.get("pretokenizers", []), *step.get("decoders", [])]
    kinds = {step.get("type") for step in steps}
    return ("Ġ" if "ByteLevel" in kinds else "▁"), True


def _count_ids(path: str, tokens: Mapping[str, int]) -> int:
    """Counts the ids up to the highest, which may have gaps.

    Raises:
      VocabularyError: an id is so high that arrays of all of them would not fit into memory.
    """
    highest = max(tokens.values())
    if highest >= _MOST_IDS:
        raise VocabularyError(f"{path}: the tokenizer has {len(tokens):,} tokens and gives one the id {highest:,}. Use lower ids.")
    return highest + 1
