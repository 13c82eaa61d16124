"""Special tokens that stand in the text by name, such as `</s>`: found, cut out, and put back as their ids."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.format import token_spans
from tokenreel.vocabularies.base import Encoded

# Encodes the parts between special tokens; see `SpecialTokens.encode_block`.
EncodeParts = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]], Encoded]
_BETWEEN = 0xFF  # in no UTF-8, so no name lies across two documents


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """Names of special tokens and their ids; where several names begin at one place, the longest counts."""

    ids: Mapping[str, int]

    def __post_init__(self) -> None:
        names = sorted((name.encode() for name in self.ids), key=len, reverse=True)
        object.__setattr__(self, "_pattern", re.compile(b"|".join(map(re.escape, names))))
        object.__setattr__(self, "_bytes", {name.encode(): i for name, i in self.ids.items()})

    _pattern: re.Pattern[bytes] = dataclasses.field(init=False, repr=False, compare=False)
    _bytes: dict[bytes, int] = dataclasses.field(init=False, repr=False, compare=False)

    def encode_block(self, text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], encode_parts: EncodeParts) -> Encoded:
        """Encodes documents whose special tokens stand between parts of text.

        Args:
          text: [bytes] documents end to end.
          offsets: [n + 1] their bounds.
          encode_parts: encodes the text between: takes the parts end to end, their bounds, whether each begins a document, and the document
            it lies in; gives their ids end to end and the number of ids of each.

        Returns:
          ids and the [n] number of ids of each document.
        """
        documents = len(offsets) - 1
        separated, bounds = ragged.surround(text, offsets, None, _BETWEEN)
        found = [(match.start(), match.end(), self._bytes[match.group()]) for match in self._pattern.finditer(separated.tobytes())]
        start, stop, special = np.array(found, dtype=np.int64).reshape(-1, 3).T
        document = np.searchsorted(bounds, start, side="right") - 1  # [specials]
        start, stop = start - document, stop - document  # in `text`, which has nothing between documents

        # A document with k specials has k + 1 parts, perhaps empty: parts and specials take turns.
        number = np.arange(len(special))
        before = np.searchsorted(document, np.arange(documents + 1))  # [documents + 1] specials in earlier documents
        first = np.arange(documents) + before[:-1]  # each document's first part
        spans = np.zeros((documents + len(special), 2), dtype=np.int64)
        spans[first, 0] = offsets[:-1]
        spans[first + np.diff(before), 1] = offsets[1:]
        spans[document + number + 1, 0] = stop
        spans[document + number, 1] = start
        edges = np.append(spans.ravel(), len(text))
        parts_text, parts_offsets = ragged.take(text, edges, 2 * np.arange(len(spans)))
        owner = np.repeat(np.arange(documents), np.diff(before) + 1)
        begins = np.zeros(len(spans), dtype=bool)
        begins[first] = True
        ids, lengths = encode_parts(parts_text, parts_offsets, begins, owner)
        if not len(special):
            return ids, lengths

        pool = np.concatenate([ids, special.astype(np.int32)])
        pool_offsets = ragged.offsets_of(np.concatenate([lengths, np.ones(len(special), dtype=np.int64)]))
        order = np.zeros(len(spans) + len(special), dtype=np.int64)
        parts = np.arange(len(spans))
        order[2 * parts - owner] = parts
        order[2 * (document + number) - document + 1] = len(spans) + number
        out, out_offsets = ragged.take(pool, pool_offsets, order)
        return out, np.diff(out_offsets[np.append(2 * first - np.arange(documents), len(order))])

    def join_spans(
        self,
        tokens: npt.NDArray[np.int32],
        characters: npt.NDArray[np.int64],
        documents: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        spans: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Says where tokens lie in their documents, given where they lie in the parts.

        Args:
          tokens: what `encode_block` gave.
          characters: [parts] characters of each part between special tokens.
          documents: [parts] document that each lies in.
          lengths: [parts] number of ids of each.
          spans: packed spans (see `tokenreel.format.token_spans`) of the ids of all parts, in characters of the part.

        Returns:
          [tokens] packed spans in characters of the document; those of special tokens hold their names.
        """
        # Parts and specials take turns in a document.
        part = 2 * np.arange(len(documents)) - documents
        count = np.ones(2 * len(documents) - (int(documents[-1]) + 1 if len(documents) else 0), dtype=np.int64)
        count[part] = lengths
        at = ragged.offsets_of(count)
        special = np.ones(len(count), dtype=bool)
        special[part] = False
        sizes = np.zeros(len(count), dtype=np.int64)
        sizes[part] = characters
        named = {number: len(name) for name, number in self.ids.items()}
        sizes[special] = [named[token] for token in tokens[at[:-1][special]].tolist()]
        starts = ragged.offsets_of(sizes)[:-1]
        first = np.append(True, documents[1:] != documents[:-1])[: len(documents)]
        starts -= np.repeat(starts[part[first]], np.diff(np.append(part[first], len(count))))
        out = np.empty(len(tokens), dtype=np.int64)
        where = at[:-1][special]
        inside = np.ones(len(tokens), dtype=bool)
        inside[where] = False
        out[where] = token_spans.pack(starts[special], (starts + sizes)[special])
        out[inside] = token_spans.shift(spans, np.repeat(starts[part], lengths))
        return out
