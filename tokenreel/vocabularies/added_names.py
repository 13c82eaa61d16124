"""Names of added tokens in texts, and the parts of documents that lie between them.

Tested in tests/tokenreel/vocabularies/test_fast_path.py.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies import kept_arrays
from tokenreel.vocabularies.pre_tokenizers.recognition import NotRecognised

_Bytes = npt.NDArray[np.uint8]
_Ids = npt.NDArray[np.int32]
_KINDS = "names", "normalized-names"  # those that are looked for in texts, and in normalised texts
_MOST_PROBES = 6  # each is compared with all of the text
TEXT, LIBRARY = -1, -2
"""What becomes of a name in place of an id, as in `kernels.added_tokens`: it stays text, or the library takes the whole document."""


def check_ids(content: Mapping[str, Any], library: Any) -> None:
    """Checks that the library tells of all added tokens of a file, by their ids.

    Args:
      content: of the `tokenizer.json`.
      library: the `Tokenizer` that it was loaded into.

    Raises:
      NotRecognised: two have one id, as it counts from the number of pieces on where ids of pieces have gaps.
    """
    told = {token.content for token in library.get_added_tokens_decoder().values()}
    lost = {token["content"] for token in content.get("added_tokens") or ()} - told - {""}
    if lost:
        raise NotRecognised(f"the added token {min(lost)!r} has the id of another")


def actions_of(library: Any, normalize: Callable[[str], str] | None) -> tuple[dict[str, int], dict[str, int]]:
    """Says what becomes of the names of added tokens that are looked for in the text, and in the normalised text.

    Args:
      library: a `Tokenizer`.
      normalize: its normaliser, or None where texts stay as they are.

    Returns:
      An id, `TEXT` or `LIBRARY` for each name in the text, and likewise for those in the normalised text.
    """
    found: tuple[dict[str, int], dict[str, int]] = {}, {}
    for i, token in library.get_added_tokens_decoder().items():
        action = int(i)
        if token.special and library.encode_special_tokens:
            action = TEXT
        elif token.lstrip or token.rstrip or token.single_word:
            action = LIBRARY
        name = normalize(token.content) if token.normalized and normalize else token.content
        found[token.normalized][name] = action  # the name may be empty, which the library then finds everywhere
    return found


def same_names(library: Any) -> tuple[str, str] | None:
    """Finds two added tokens of a `Tokenizer` whose names are the same in normalised texts: the library finds either, by chance.

    That is nothing to mind of two that are text.
    """
    if library.normalizer is None:
        return None
    found: dict[str, tuple[str, bool]] = {}
    for token in library.get_added_tokens_decoder().values():
        if token.normalized:
            is_text = bool(token.special and library.encode_special_tokens)
            name = library.normalizer.normalize_str(token.content)
            other, other_is_text = found.setdefault(name, (token.content, is_text))
            if other != token.content and name and not (is_text and other_is_text):
                return other, token.content
    return None


def lay_out(actions: Sequence[Mapping[str, int]]) -> dict[str, npt.NDArray[Any]]:
    """Gives the arrays of `load`, for what `actions_of` gave."""
    found: dict[str, npt.NDArray[Any]] = {}
    for kind, each in zip(_KINDS, actions, strict=True):
        if any(action != TEXT for action in each.values()):  # else there is nothing to look for
            found |= kept_arrays.named(kind, _lay_out(each))
    return found


def load(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[Names | None, Names | None]:
    """Makes what looks for names in texts and in normalised texts, or None where there are none, of arrays that hold those of `lay_out`."""
    raw, normalized = (Names(found) if (found := kept_arrays.part(kind, arrays)) else None for kind in _KINDS)
    return raw, normalized


def _lay_out(actions: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
    names = sorted(name.encode() for name in actions)
    return {
        "names": np.frombuffer(b"".join(names), dtype=np.uint8),
        "bounds": ragged.offsets_of(np.fromiter(map(len, names), dtype=np.int64, count=len(names))),
        "actions": np.fromiter((actions[name.decode()] for name in names), dtype=np.int32, count=len(names)),
    }


def probes(names: Collection[bytes]) -> _Bytes:
    r"""Lists what names begin with, as `kernels.added_tokens.cut_at_tokens` takes it: their first two bytes, or the first, or nothing.

    >>> probes([b"<|a|>", b"<|b|>", b"</c>"]).tobytes()
    b'</<|'
    >>> probes([b"<%d>" % i for i in range(10)]).tobytes()
    b'<\x00'
    """
    for size in (2, 1):
        found = {name[:size].ljust(2, b"\0") for name in names}
        if len(found) <= _MOST_PROBES:
            return np.frombuffer(b"".join(sorted(found)), dtype=np.uint8)
    return np.zeros(0, dtype=np.uint8)


class Names:
    """The names of added tokens that one look at a text searches for."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Builds the trie of names; see `lay_out`."""
        from tokenreel.vocabularies.unit_memo.kernels.trie import build_trie

        names, bounds, self._actions = (arrays[name] for name in ("names", "bounds", "actions"))
        self._trie = build_trie(names, bounds, np.arange(len(bounds) - 1, dtype=np.int32))
        self._begins = np.zeros(256, dtype=np.uint8)
        self._begins[names[bounds[:-1]]] = 1
        self._probes = probes([names[begin:end].tobytes() for begin, end in itertools.pairwise(bounds.tolist())])

    def cut(self, text: _Bytes, bounds: Ints, tokens: _Ids) -> tuple[Ints, _Ids, Ints, npt.NDArray[np.bool_]]:
        """Cuts texts at the names; see `kernels.added_tokens.cut_at_tokens`."""
        from tokenreel.vocabularies.unit_memo.kernels.added_tokens import cut_at_tokens

        found: tuple[Ints, _Ids, Ints, npt.NDArray[np.bool_]] = cut_at_tokens(
            text, bounds, tokens, self._trie, self._begins, self._probes, self._actions
        )
        return found


@dataclasses.dataclass(frozen=True)
class Parts:
    """Parts of documents, on their way through the steps.

    Attributes:
      text, bounds: [bytes] uint8 and [n + 1] int64.
      tokens: [n] int32 the id that a part is, or -1; empty where none is one.
      first: [documents + 1] int64 the first part of each document.
      left: [documents] bool which the library encodes.
    """

    text: _Bytes
    bounds: Ints
    tokens: _Ids
    first: Ints
    left: npt.NDArray[np.bool_]

    @property
    def are_text(self) -> npt.NDArray[np.bool_]:
        """Tells which parts are no tokens."""
        return self.tokens < 0 if len(self.tokens) else np.ones(len(self.bounds) - 1, dtype=bool)

    def cut(self, names: Names | None) -> Parts:
        """Cuts further, at names."""
        if names is None:
            return self
        bounds, tokens, first, left = names.cut(self.text, self.bounds, self.tokens)
        holders = np.searchsorted(self.first, np.flatnonzero(left), side="right") - 1
        left_over = self.left.copy()
        left_over[holders] = True
        return Parts(self.text, bounds, tokens, first[self.first], left_over)

    def without_left(self) -> Parts:
        """Leaves the parts of documents out that the library encodes: such documents have none."""
        if not self.left.any():
            return self
        counts = np.diff(self.first)
        kept = np.repeat(~self.left, counts)
        text, bounds = ragged.take(self.text, self.bounds, np.flatnonzero(kept))
        tokens = self.tokens[kept] if len(self.tokens) else self.tokens
        return Parts(text, bounds, tokens, ragged.offsets_of(np.where(self.left, 0, counts)), self.left)

    def replace(self, which: Ints, texts: list[bytes]) -> Parts:
        """Gives some parts other texts."""
        added = np.frombuffer(b"".join(texts), dtype=np.uint8)
        lengths = np.diff(self.bounds)
        order = np.arange(len(lengths), dtype=np.int64)
        order[which] = len(lengths) + np.arange(len(texts))
        sizes = np.concatenate([lengths, np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))])
        text, bounds = ragged.take(np.concatenate([self.text[: self.bounds[-1]], added]), ragged.offsets_of(sizes), order)
        return dataclasses.replace(self, text=text, bounds=bounds)
