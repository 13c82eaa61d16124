"""Encodes the documents of a block, whole or sentence by sentence."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.curation import hash_tables
from tokenreel.curation.cleaned import CODES, Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.curation.sentences import split as split_sentences
from tokenreel.format import token_spans
from tokenreel.format.token_spans import characters_per_document


def encode(
    cleaned: Cleaned,
    vocabulary: Any,
    rules: Rules,
    sentences: str | None = None,
    *,
    hashed: bool = False,
    with_offsets: bool = False,
) -> tuple[dict[str, npt.NDArray[Any]], Cleaned]:
    """Filters by length, and tokenizes the documents of a part.

    Args:
      cleaned: [n] documents, and which of them the rules that read text leave out.
      vocabulary: a `Vocabulary`.
      rules: what to leave out.
      sentences: rule by which documents are cut into sentences, each tokenized by itself; None leaves them whole.
      hashed: whether to add the hashes that tell documents of the same text.
      with_offsets: also find where each token lies in the text.

    Returns:
      arrays as in `StageInfo`, by the order of keys, and the documents with the reasons of those left out. What the vocabulary refuses
      joins the faults of the documents.
    """
    documents, limits = cleaned.documents, rules.config
    characters = characters_per_document(documents.text, documents.offsets)
    reasons = np.where((cleaned.reasons == 0) & (characters == 0), CODES["empty"], cleaned.reasons)
    reasons[(reasons == 0) & (characters < limits.min_characters)] = CODES["too_few_characters"]
    if limits.max_characters is not None:
        reasons[(reasons == 0) & (characters > limits.max_characters)] = CODES["too_many_characters"]
    order = np.lexsort((documents.position, documents.file, documents.key))  # ties: two documents of one name keep their order
    order = order[reasons[order] == 0]
    text, offsets = ragged.take(documents.text, documents.offsets, order)
    if refused := vocabulary.refused(text, offsets):
        documents.set_aside({int(order[i]): problem for i, problem in refused.items()})
        cleaned.modified[order[list(refused)]] = False
        order = np.delete(order, list(refused))
        text, offsets = ragged.take(documents.text, documents.offsets, order)
    vocabulary = vocabulary.for_documents(documents.key[order])
    per_document = sentence_lengths = np.zeros(0, dtype=np.int64)
    if sentences is None:
        tokens, lengths, spans = _encode_block(text, offsets, vocabulary, with_offsets)
    else:
        tokens, lengths, spans, sentence_lengths, per_document = _encode_sentences(text, offsets, vocabulary, sentences, with_offsets)
    reasons[order[lengths < limits.min_tokens]] = CODES["too_few_tokens"]
    if limits.max_tokens is not None:
        reasons[order[lengths > limits.max_tokens]] = CODES["too_many_tokens"]
    kept = reasons[order] == 0
    token_offsets = ragged.offsets_of(lengths)
    if not kept.all():
        if spans is not None:
            spans, _ = ragged.take(spans, token_offsets, np.flatnonzero(kept))
        tokens, token_offsets = ragged.take(tokens, token_offsets, np.flatnonzero(kept))
        if sentences is not None:
            sentence_lengths, new = ragged.take(sentence_lengths, ragged.offsets_of(per_document), np.flatnonzero(kept))
            per_document = np.diff(new)
        order = order[kept]
    arrays: dict[str, npt.NDArray[Any]] = {
        "key": documents.key[order],
        "token_offset": token_offsets,
        "position": documents.position[order],
        "characters": characters[order],
        "bytes": np.diff(documents.offsets)[order],
        "file": documents.file[order],
        "tokens": tokens,
    }
    if documents.sort_value is not None:
        arrays["sort_value"] = documents.sort_value[order]
    if spans is not None:
        arrays["token_spans"] = spans
    if sentences is not None:
        arrays |= {"sentence_length": sentence_lengths, "sentence_offset": ragged.offsets_of(per_document)}
    for name, strings in (("id", documents.ids), ("metadata", documents.metadata)):
        if strings is not None:
            encoded = [strings[i].encode() for i in order]
            arrays[name] = np.frombuffer(b"".join(encoded), dtype=np.uint8)
            arrays[f"{name}_offset"] = ragged.offsets_of(np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded)))
    if hashed:
        data, bounds = documents.text.tobytes(), documents.offsets
        hashes = hash_tables.hash_texts(data[bounds[i] : bounds[i + 1]] for i in order.tolist())
        entries, arrays["repeat"] = hash_tables.tabulate(hashes, hash_tables.ranks(arrays["key"]), np.arange(len(order)))
        arrays["hash"] = entries.ravel()
    return arrays, dataclasses.replace(cleaned, reasons=reasons)


def _encode_block(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], vocabulary: Any, with_offsets: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64] | None]:
    """Tokenizes texts: tokens, tokens of each, and the packed span of each token if asked."""
    if not with_offsets:
        return *vocabulary.encode_block(text, offsets), None
    tokens, lengths, begins, ends = vocabulary.encode_block_with_offsets(text, offsets)
    return tokens, lengths, token_spans.pack(begins, ends)


def _encode_sentences(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], vocabulary: Any, rule: str, with_offsets: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64] | None, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Tokenizes sentence by sentence: tokens, tokens of each document, spans, tokens of each sentence, and sentences of each document."""
    found: list[bytes] = []
    first: list[int] = []  # character of the document at which each sentence begins
    per_document = np.zeros(len(offsets) - 1, dtype=np.int64)
    data = text.tobytes()
    for i, (start, end) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        parts = split_sentences(data[start:end].decode(), rule)
        begins = itertools.accumulate(map(len, parts), initial=0)
        kept = [(part.encode(), begin) for part, begin in zip(parts, begins, strict=False) if part.strip()]
        per_document[i] = len(kept)
        found += [part for part, _ in kept]
        first += [begin for _, begin in kept]
    sizes = np.fromiter(map(len, found), dtype=np.int64, count=len(found))
    joined = np.frombuffer(b"".join(found), dtype=np.uint8)
    tokens, lengths, spans = _encode_block(joined, ragged.offsets_of(sizes), vocabulary.for_sentences(per_document), with_offsets)
    if spans is not None:
        spans = token_spans.shift(spans, np.repeat(np.array(first, dtype=np.int64), lengths))
    ends = np.append(0, np.cumsum(lengths))[ragged.offsets_of(per_document)]
    return tokens, np.diff(ends), spans, lengths, per_document
