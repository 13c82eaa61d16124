"""Finds where the tokens of a SentencePiece model lie in the original text.

The library says it token by token, as Python objects. The same follows for whole blocks from the ids, however they were found: pieces end
to end are the normalised text, and the normaliser tells from which byte of the original each of its bytes was made.

Tested in tests/tokenreel/format/test_token_spans.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.format import token_spans
from tokenreel.ragged import Ints

_PORTION_BYTES = 1 << 20  # text handled at once: the normaliser's answer is a list of Python integers


def piece_sizes(processor: Any, *, words: bool) -> Ints:
    """Counts the bytes of normalised text that each id stands for: [vocab_size], 0 where the id does not tell.

    Unknown characters do not, nor do bytes in models of `words`: the last byte of a word has the span of all of it.
    """
    byte = 0 if words else 1
    sizes = [0 if processor.is_unknown(i) else byte if processor.is_byte(i) else -1 for i in range(processor.vocab_size())]
    return np.array(
        [size if size >= 0 else len(processor.id_to_piece(i).encode()) for i, size in enumerate(sizes)],
        dtype=np.int64,
    )


def locate(
    processor: Any, sizes: Ints, text: npt.NDArray[np.uint8], offsets: Ints, tokens: npt.NDArray[np.int32], lengths: Ints
) -> tuple[npt.NDArray[np.int32], Ints, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Finds the spans of tokens.

    Documents whose pieces do not add up to their normalised text, those with unknown characters, are encoded again by the library, which
    tells their spans one by one.

    Args:
      processor: the `SentencePieceProcessor`.
      sizes: [vocab_size] from `piece_sizes`.
      text: [bytes] uint8, valid UTF-8, documents end to end.
      offsets: [n + 1] int64 their bounds.
      tokens: [tokens] int32 ids of all documents.
      lengths: [n] int64 tokens of each.

    Returns:
      tokens and lengths, and [tokens] int32 begin and end of each in characters of its document.
    """
    spans = np.empty(len(tokens), dtype=np.int64)
    bounds = ragged.offsets_of(lengths)
    unexplained: list[int] = []
    for start, stop in ragged.portions(offsets, _PORTION_BYTES):
        part, at = text[offsets[start] : offsets[stop]], offsets[start : stop + 1] - offsets[start]
        ids = tokens[bounds[start] : bounds[stop]]
        spans[bounds[start] : bounds[stop]], explained = _locate(processor, part, at, sizes[ids], lengths[start:stop])
        unexplained += (np.flatnonzero(~explained) + start).tolist()
    if unexplained:
        tokens, lengths, spans = ask(processor, text, offsets, tokens, lengths, spans, unexplained)
    return tokens, lengths, *token_spans.unpack(spans)


def _locate(processor: Any, text: npt.NDArray[np.uint8], offsets: Ints, sizes: Ints, lengths: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Finds the packed spans of the tokens of some documents from the bytes of each; [n] bool tells for which documents they are right."""
    data = text.tobytes()
    origins = []  # of each document, [normalised bytes + 1] the byte of the original that each was made from
    for begin, end in itertools.pairwise(offsets.tolist()):
        _, origin = processor.normalize(data[begin:end], with_offsets=True)
        origins.append(np.array(origin or [0], dtype=np.int64))
    normalized = np.fromiter(map(len, origins), dtype=np.int64, count=len(origins)) - 1
    bounds = ragged.offsets_of(lengths)
    ends = np.append(0, np.cumsum(sizes))
    unknown = np.append(0, np.cumsum(sizes == 0))
    explained = (ends[bounds[1:]] - ends[bounds[:-1]] == normalized) & (unknown[bounds[1:]] == unknown[bounds[:-1]])
    # The places of tokens in the normalised texts laid end to end, each with one entry behind its last byte.
    shift = np.repeat(ragged.offsets_of(normalized + 1)[:-1] - ends[bounds[:-1]], lengths)
    origin = np.concatenate(origins) + np.repeat(offsets[:-1], normalized + 1)
    counts = token_spans.count_characters(text)
    last = len(origin) - 1
    begin, end = (counts[origin[np.minimum(at + shift, last)]] for at in (ends[:-1], ends[1:]))
    first = np.repeat(counts[offsets[:-1]], lengths)
    return token_spans.pack(begin - first, end - first), explained


def ask(
    processor: Any,
    text: npt.NDArray[np.uint8],
    offsets: Ints,
    tokens: npt.NDArray[np.int32],
    lengths: Ints,
    spans: Ints,
    documents: Sequence[int],
) -> tuple[npt.NDArray[np.int32], Ints, Ints]:
    """Replaces ids and spans of some documents by what the library says."""
    found_ids, found_spans, found_lengths = [tokens], [spans], [lengths]
    for document in documents:
        data = text[offsets[document] : offsets[document + 1]].tobytes().decode()
        told = processor.encode(data, return_type="offset_mapping")
        ids = np.array(told["ids"], dtype=np.int32)
        pairs = np.array(told["offsets"], dtype=np.int64).reshape(-1, 2)
        found_ids.append(ids)
        found_spans.append(token_spans.pack(pairs[:, 0], pairs[:, 1]))
        found_lengths.append(np.array([len(ids)]))
    order = np.arange(len(lengths), dtype=np.int64)
    order[list(documents)] = len(lengths) + np.arange(len(documents))
    bounds = ragged.offsets_of(np.concatenate(found_lengths))
    tokens, _ = ragged.take(np.concatenate(found_ids), bounds, order)
    spans, new = ragged.take(np.concatenate(found_spans), bounds, order)
    return tokens, np.diff(new), spans
