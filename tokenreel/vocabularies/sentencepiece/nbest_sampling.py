"""Draws a document among the best segmentations that SentencePiece finds for it, with random bits that are given."""

from __future__ import annotations

import decimal
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys
from tokenreel.format import wire
from tokenreel.ragged import Ints


def sample_best(
    processor: Any, documents: Iterable[bytes], words: npt.NDArray[np.uint64], alpha: float, nbest_size: int
) -> tuple[npt.NDArray[np.int32], Ints]:
    """Draws each document among its best segmentations, with probabilities proportional to the model's to the power of alpha.

    The library finds them; in a document of some 100 kB or more it gives up, and the best one is taken.

    Args:
      processor: a `SentencePieceProcessor`.
      documents: [n] texts in UTF-8.
      words: uint64 [n] random words, one for each.
      alpha: 0 draws all candidates alike, 1 by the model's probabilities.
      nbest_size: most candidates of a document.

    Returns:
      int32 ids end to end, and int64 [n] the number of ids of each document.
    """
    drawn = [np.zeros(0, dtype=np.int32)]
    for document, word in zip(documents, words[:, None], strict=True):
        found = processor.nbest_encode(document.decode(), nbest_size=nbest_size, return_type="serialized_proto")
        # NBestSentencePieceText: nbests = 1; SentencePieceText: pieces = 2, score = 3; SentencePiece: id = 2.
        candidates = [list(_messages(data)) for _, data in _messages(found)]
        scores = [struct.unpack("<f", next((value for number, value in fields if number == 3), bytes(4)))[0] for fields in candidates]
        with decimal.localcontext(decimal.Context(prec=40)):  # its exp is rounded the same on every machine
            best = decimal.Decimal(max(scores))
            weights = [float((decimal.Decimal(alpha) * (decimal.Decimal(score) - best)).exp()) for score in scores]
        chosen = candidates[int(keys.pick(keys.words_at(word, 0), weights)[0])]
        pieces = (dict(wire.fields(data)) for number, data in chosen if number == 2)
        drawn.append(np.array([piece.get(2, 0) for piece in pieces], dtype=np.int32))
    return np.concatenate(drawn), np.fromiter(map(len, drawn[1:]), dtype=np.int64, count=len(words))


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the fields of a protobuf message that are messages or strings: number and bytes."""
    return ((number, value) for number, value in wire.fields(data) if isinstance(value, bytes))
