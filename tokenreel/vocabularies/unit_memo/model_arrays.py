"""The pieces, scores and merges of a model as the arrays that the kernels take."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.ragged import Ints
from tokenreel.vocabularies.base import Encoded
from tokenreel.vocabularies.sentencepiece import model as sentencepiece_model
from tokenreel.vocabularies.sentencepiece.model import Model
from tokenreel.vocabularies.unit_memo.unit_table import Bytes, EncodedUnits, Entries

_UNKNOWN_PENALTY = np.float32(10)  # the library's kUnkPenalty, below the lowest score


class Unigram:
    """What a unigram model segments with, as arrays for `kernels.unigram`."""

    def __init__(self, model: Model) -> None:
        """Reads a model that `is_plain_unigram`."""
        types, scores = model.types, model.scores
        normal = types == sentencepiece_model.NORMAL
        byte_ids = _byte_ids(model)
        unknown_score = np.float32(model.scores[normal].min() - _UNKNOWN_PENALTY)
        self._token_scores = scores.copy()
        self._token_scores[byte_ids] = unknown_score  # that of the character, at its first byte
        self._token_scores[byte_ids[0x80:0xC0]] = 0
        self._model = (
            trie_of(model, normal),
            np.concatenate([np.array([-np.inf], dtype=np.float32), scores]),  # at 0, for bytes at which no piece ends
            np.int32(np.flatnonzero(types == sentencepiece_model.UNKNOWN)[0]),
            unknown_score,
            byte_ids,
        )

    def segment(self, text: Bytes, bounds: Ints) -> dict[str, npt.NDArray[Any]]:
        """Segments normalised texts, [bytes] uint8 and [n + 1] bounds; gives the attributes of `EncodedUnits` that follow from them."""
        from tokenreel.vocabularies.unit_memo.kernels import unigram

        found = unigram.segment(text, bounds, self._model)
        return dict(zip(("ids", "id_bounds", "scores", "certain"), found, strict=True))

    def in_doubt(self, entries: Entries, first: Ints, known: EncodedUnits, new: EncodedUnits) -> Ints:
        """Lists the documents in which rounding may decide; see `kernels.unigram.in_doubt`."""
        from tokenreel.vocabularies.unit_memo.kernels import unigram

        return np.flatnonzero(unigram.in_doubt(entries, first, known.scores, known.certain, new.scores, new.certain))

    def segment_again(self, documents: Ints, entries: Entries, first: Ints, known: EncodedUnits, new: EncodedUnits) -> Encoded:
        """Encodes documents in which rounding may decide; see `kernels.unigram.segment_again`."""
        from tokenreel.vocabularies.unit_memo.kernels import unigram

        units = [(u.ids, u.id_bounds, u.spelling, u.spelling_bounds, u.certain) for u in (known, new)]
        encoded: Encoded = unigram.segment_again(documents, entries, first, *units, self._model, self._token_scores)
        return encoded


class Merges:
    """What a BPE model merges with, as arrays for `kernels.bpe.merge`."""

    def __init__(self, model: Model, library: Any) -> None:
        """Reads a model that `is_plain_bpe`.

        Args:
          model: what it says.
          library: the `SentencePieceProcessor` of the model for text that is normalised already. It encodes the long units.
        """
        from tokenreel.vocabularies.unit_memo.kernels import bpe
        from tokenreel.vocabularies.unit_memo.kernels.trie import build_trie

        pieces = _pieces_of(model, model.types == sentencepiece_model.NORMAL)
        trie = build_trie(*pieces)
        self._library = library
        self._model = (
            trie,
            *bpe.build_pairs(*pieces, trie),
            model.scores,
            np.int32(np.flatnonzero(model.types == sentencepiece_model.UNKNOWN)[0]),
            _byte_ids(model),
        )

    def encode(self, text: Bytes, bounds: Ints) -> Encoded:
        """Encodes normalised texts, [bytes] uint8 and [n + 1] bounds; gives their ids end to end, int32, and [n + 1] bounds."""
        from tokenreel.vocabularies.unit_memo.kernels.bpe import merge
        from tokenreel.vocabularies.unit_memo.kernels.units import take_sequences

        ids, id_bounds, long = merge(text, bounds, self._model)
        which = np.flatnonzero(long)
        if len(which):  # their ids come behind all others, and are then taken in order
            other_ids, other_lengths = to_arrays(self._library.encode(split(text, bounds, which), num_threads=1))
            order = np.arange(len(long), dtype=np.int32)
            order[which] = len(long) + np.arange(len(which), dtype=np.int32)
            all_bounds = np.concatenate([id_bounds, id_bounds[-1] + np.cumsum(other_lengths)])
            ids, id_bounds = take_sequences(np.concatenate([ids, other_ids]), all_bounds, order)
        return ids, id_bounds


def _byte_ids(model: Model) -> npt.NDArray[np.int32]:
    """Lists the pieces of bytes: [256] int32, or empty without byte fallback."""
    ids = np.zeros(256 if model.byte_fallback else 0, dtype=np.int32)
    for i in np.flatnonzero(model.types == sentencepiece_model.BYTE).tolist() if model.byte_fallback else ():
        ids[int(model.pieces[i][1:-1], 16)] = i
    return ids


def split(text: Bytes, bounds: Ints, which: Ints) -> list[bytes]:
    """Cuts the units `which` ([k] indices) out of a text, [bytes] uint8 whose units have [n + 1] bounds."""
    view = memoryview(text.data)
    return [bytes(view[start:stop]) for start, stop in zip(bounds[which].tolist(), bounds[which + 1].tolist(), strict=True)]


def _pieces_of(model: Model, which: npt.NDArray[np.bool_]) -> tuple[Bytes, Ints, npt.NDArray[np.int32]]:
    """Sorts some pieces ([pieces] bool) by their bytes; gives [bytes] uint8 end to end, [k + 1] int64 bounds, and [k] int32 ids."""
    order = sorted(np.flatnonzero(which).tolist(), key=model.pieces.__getitem__)
    pieces, ids = [model.pieces[i] for i in order], np.array(order, dtype=np.int32)
    sizes = np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces))
    return np.frombuffer(b"".join(pieces), dtype=np.uint8), ragged.offsets_of(sizes), ids


def trie_of(model: Model, which: npt.NDArray[np.bool_]) -> Ints:
    """Builds a trie of some of the pieces ([pieces] bool): int64, as `kernels.trie.build_trie` gives it."""
    from tokenreel.vocabularies.unit_memo.kernels.trie import build_trie

    trie: Ints = build_trie(*_pieces_of(model, which))
    return trie


def to_arrays(encoded: list[list[int]]) -> Encoded:
    """Lays lists of ids end to end: the int32 ids, and the int64 length of each list."""
    lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    return np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.int32, count=int(lengths.sum())), lengths
