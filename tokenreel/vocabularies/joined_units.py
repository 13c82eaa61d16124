"""Encodes units by the `tokenizers` library, many in one call: a call for a text takes as long as thirty bytes of it.

Tested in tests/tokenreel/vocabularies/test_unseen_texts.py and test_word_path.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tokenreel import ragged
from tokenreel.vocabularies.unit_memo.word_memo import Tokens

_SEPARATOR = "\U0010fffe\U0010ffff"  # the name of an added token: no characters, so that hardly any text holds it
_CHARACTERS = 1 << 15  # of a call


class JoinedUnits:
    """The library with a model. One caller at a time.

    Attributes:
      library: a `Tokenizer`, whose normaliser and pre-tokenizer the caller sets.
    """

    def __init__(self, model: Any) -> None:
        """Makes a tokenizer of a model of the library, with an added token that is put between units.

        The library normalises and cuts what lies between two added tokens as a text by itself.
        """
        import tokenizers

        self.library = tokenizers.Tokenizer(model)
        self.library.add_tokens([tokenizers.AddedToken(_SEPARATOR, normalized=False)])
        self._separator = self.library.token_to_id(_SEPARATOR)
        self._joins = model.id_to_token(self._separator) is None  # else ids of pieces have gaps, and the added token one of theirs

    def encode(self, units: list[str], *, spans: bool, joins: bool) -> Tokens:
        """Encodes units.

        Args:
          units: texts.
          spans: whether to find the characters of each token; else they are zeros.
          joins: whether several may be in a call, which is the case if no step looks at where in a text a unit stands.
        """
        encode = self.library.encode_batch if spans else self.library.encode_batch_fast
        found = []
        for part in _portions(units) if joins and self._joins else [units]:
            joined = _SEPARATOR.join(part)
            if len(part) > 1 and joins and self._joins and joined.count(_SEPARATOR) == len(part) - 1:
                found.append(self._take_apart(encode([joined], add_special_tokens=False)[0], part, spans=spans))
            else:
                found.append(_lay(encode(part, add_special_tokens=False), spans=spans))
        ids, begins, ends = (np.concatenate(column) for column in zip(*(each[:3] for each in found), strict=True))
        return Tokens(ids, begins, ends, ragged.offsets_of(np.concatenate([np.diff(each.bounds) for each in found])))

    def _take_apart(self, encoding: Any, units: list[str], *, spans: bool) -> Tokens:
        """Finds the tokens of each of several units in their encoding."""
        ids = np.array(encoding.ids, dtype=np.int32)
        between = np.flatnonzero(ids == self._separator)
        counts = np.diff(between, prepend=-1, append=len(ids)) - 1
        kept = ids != self._separator
        ids = ids[kept]
        begins = ends = np.zeros_like(ids)
        if spans:
            sizes = np.fromiter(map(len, units), dtype=np.int32, count=len(units)) + np.int32(len(_SEPARATOR))
            places = np.array(encoding.offsets, dtype=np.int32).reshape(-1, 2)[kept] - np.repeat(np.cumsum(sizes) - sizes, counts)[:, None]
            begins, ends = (np.ascontiguousarray(each, dtype=np.int32) for each in places.T)
        return Tokens(ids, begins, ends, ragged.offsets_of(counts))


def _portions(units: list[str]) -> Iterator[list[str]]:
    """Cuts a list of units into lists of so many characters that one call takes."""
    ends = np.cumsum(np.fromiter(map(len, units), dtype=np.int64, count=len(units)))
    cuts = np.flatnonzero(np.diff(ends // _CHARACTERS)) + 1
    for begin, end in itertools.pairwise([0, *cuts.tolist(), len(units)]):
        yield units[begin:end]


def _lay(encodings: list[Any], *, spans: bool) -> Tokens:
    """Lays encodings end to end."""
    bounds = ragged.offsets_of(np.fromiter((len(each.ids) for each in encodings), dtype=np.int64, count=len(encodings)))
    count, flat = int(bounds[-1]), itertools.chain.from_iterable
    ids = np.fromiter(flat(each.ids for each in encodings), dtype=np.int32, count=count)
    if not spans:
        return Tokens(ids, np.zeros_like(ids), np.zeros_like(ids), bounds)
    ends = np.fromiter(flat(flat(each.offsets for each in encodings)), dtype=np.int32, count=2 * count)
    return Tokens(ids, ends[::2], ends[1::2], bounds)
