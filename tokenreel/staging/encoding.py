"""Encodes the documents of a block, whole or sentence by sentence.

Tested in tests/tokenreel/staging/test_stage_file.py.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.config.build import JobConfig
from tokenreel.config.corpus import SourceConfig
from tokenreel.curation import filters, hash_tables
from tokenreel.curation.cleaned import CODES, Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.curation.sentences import split as split_sentences
from tokenreel.format import token_spans
from tokenreel.format.token_spans import characters_per_document
from tokenreel.sources import fault_log
from tokenreel.sources.documents import Documents
from tokenreel.staging import labels
from tokenreel.staging.columns import Columns
from tokenreel.vocabularies.base import Vocabulary

_REFUSED_AT_ONCE = 1 << 16  # documents that a vocabulary says what is wrong with, before that is counted and most of it forgotten


def encode(
    cleaned: Cleaned,
    vocabulary: Vocabulary,
    rules: Rules,
    sentences: str | None = None,
    *,
    hashed: bool = False,
    with_offsets: bool = False,
    source: SourceConfig | None = None,
) -> tuple[Columns, Cleaned]:
    """Tokenizes the documents of a part, leaves out those that are too long or too short, and sorts the others by their keys.

    Args:
      cleaned: the documents, and which of them the rules that read text leave out. Documents that the vocabulary refuses become faults.
      vocabulary: turns text into tokens.
      rules: limits of documents in characters and in tokens.
      sentences: rule by which documents are cut into sentences, each tokenized by itself; None leaves them whole.
      hashed: whether to hash each text, so that documents of the same text are found.
      with_offsets: whether to find where each token lies in the text.
      source: settings of the documents' source, whose labels are looked at.

    Returns:
      The columns of a stage file, and the documents with the reasons of all that are left out.

    Raises:
      ConfigError: there is no such rule for sentences.
      VocabularyError: `with_offsets` is set, and the vocabulary does not know where its tokens lie.
    """
    documents, limits = cleaned.documents, rules.config
    characters = characters_per_document(documents.text, documents.offsets)
    blank = filters.find_blank(documents.text, documents.offsets)
    reasons = filters.judge_characters(cleaned.reasons, characters, blank, limits)
    kept = np.lexsort((documents.position, documents.file, documents.key))  # documents of one name tie: they stay as the text lies
    kept = kept[reasons[kept] == 0]
    wrong = {} if source is None else labels.find_problems(documents, kept, characters, source)
    text, offsets = ragged.take(documents.text, documents.offsets, kept)
    usable = _set_aside(documents, kept, offsets, text, vocabulary, wrong)
    if not usable.all():
        cleaned.modified[kept[~usable]] = False
        kept = kept[usable]
        text, offsets = ragged.take(documents.text, documents.offsets, kept)
    vocabulary = vocabulary.for_documents(documents.key[kept])
    if sentences is None:
        encoded = _encode_texts(text, offsets, vocabulary, with_offsets)
    else:
        encoded = _encode_sentences(text, offsets, vocabulary, sentences, with_offsets)
    reasons[kept[encoded.lengths < limits.min_tokens]] = CODES["too_few_tokens"]
    if limits.max_tokens is not None:
        reasons[kept[encoded.lengths > limits.max_tokens]] = CODES["too_many_tokens"]
    fitting = np.flatnonzero(reasons[kept] == 0)
    if len(fitting) < len(kept):
        encoded, kept = encoded.take(fitting), kept[fitting]
    columns = _to_columns(documents, kept, characters, encoded)
    if hashed:
        _add_hashes(columns, documents, kept)
    return columns, dataclasses.replace(cleaned, reasons=reasons)


def _set_aside(
    documents: Documents,
    kept: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    text: npt.NDArray[np.uint8],
    vocabulary: Vocabulary,
    wrong: Mapping[int, tuple[str, str]],
) -> npt.NDArray[np.bool_]:
    """Makes faults of the documents with wrong labels, and of those that the vocabulary refuses.

    Args:
      documents: of the part.
      kept: int64 [n] numbers of those to look at.
      offsets: int64 [n + 1] their bounds in
      text: uint8 [num_bytes].
      vocabulary: that is to encode them.
      wrong: by the number of a document, what is wrong with its labels.

    Returns:
      bool [n] which are left.
    """
    documents.set_aside(wrong)
    usable = ~np.isin(kept, list(wrong))
    for first in range(0, len(kept), _REFUSED_AT_ONCE):
        bounds = offsets[first : first + _REFUSED_AT_ONCE + 1]
        refused = vocabulary.refused(text[bounds[0] : bounds[-1]], bounds - bounds[0])
        documents.set_aside({int(kept[first + i]): problem for i, problem in refused.items() if usable[first + i]})
        usable[[first + i for i in refused]] = False
    return usable


def encode_part(cleaned: Cleaned, vocabulary: Vocabulary, rules: Rules, config: JobConfig, source: int) -> tuple[Cleaned, Columns]:
    """Filters and tokenizes the documents of a part of a source as a build wants them: what stays, and the columns of its stage file."""
    columns, cleaned = encode(
        filters.clean(cleaned, rules),
        vocabulary,
        rules,
        config.packing.sentences,
        hashed=config.duplicates.remove == "documents",
        with_offsets=config.vocabulary.offsets,
        source=config.sources[source],
    )
    return cleaned, columns


@dataclasses.dataclass(kw_only=True)
class _Encoded:
    """The tokens of n texts.

    Attributes:
      tokens: [num_tokens] int32 ids, texts end to end.
      lengths: [n] int64 tokens of each text.
      spans: [num_tokens] int64 packed places of the tokens in their texts, or None.
      sentence_lengths: [num_sentences] int64 tokens of each sentence, or None where texts are encoded whole.
      sentences: [n] int64 sentences of each text, or None.
    """

    tokens: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64] | None
    sentence_lengths: npt.NDArray[np.int64] | None = None
    sentences: npt.NDArray[np.int64] | None = None

    def take(self, indices: npt.NDArray[np.int64]) -> _Encoded:
        """Picks texts by their [k] int64 indices."""
        offsets = ragged.offsets_of(self.lengths)
        tokens, _ = ragged.take(self.tokens, offsets, indices)
        found = _Encoded(tokens=tokens, lengths=self.lengths[indices], spans=None)
        if self.spans is not None:
            found.spans, _ = ragged.take(self.spans, offsets, indices)
        if self.sentence_lengths is not None and self.sentences is not None:
            found.sentence_lengths, _ = ragged.take(self.sentence_lengths, ragged.offsets_of(self.sentences), indices)
            found.sentences = self.sentences[indices]
        return found


def _encode_texts(text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], vocabulary: Vocabulary, with_offsets: bool) -> _Encoded:
    """Tokenizes n texts: [num_bytes] uint8 end to end, with [n + 1] int64 bounds."""
    if not with_offsets:
        tokens, lengths = vocabulary.encode_block(text, offsets)
        return _Encoded(tokens=tokens, lengths=lengths, spans=None)
    tokens, lengths, begins, ends = vocabulary.encode_block_with_offsets(text, offsets)
    return _Encoded(tokens=tokens, lengths=lengths, spans=token_spans.pack(begins, ends))


def _encode_sentences(
    text: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], vocabulary: Vocabulary, rule: str, with_offsets: bool
) -> _Encoded:
    """Tokenizes n texts (as `_encode_texts` takes them) sentence by sentence. White space alone is no sentence."""
    found: list[bytes] = []
    first: list[int] = []  # the character of its document at which each sentence begins
    per_document = np.zeros(len(offsets) - 1, dtype=np.int64)
    data = text.tobytes()
    for i, (start, end) in enumerate(itertools.pairwise(offsets.tolist())):
        parts = split_sentences(data[start:end].decode(), rule)
        begins = itertools.accumulate(map(len, parts), initial=0)
        kept = [(part.encode(), begin) for part, begin in zip(parts, begins, strict=False) if part.strip()]
        per_document[i] = len(kept)
        found += [part for part, _ in kept]
        first += [begin for _, begin in kept]
    joined, bounds = _join(found)
    encoded = _encode_texts(joined, bounds, vocabulary.for_sentences(per_document), with_offsets)
    spans = encoded.spans
    if spans is not None:  # a sentence's tokens lie relative to its begin, a document's relative to its own
        spans = token_spans.shift(spans, np.repeat(np.array(first, dtype=np.int64), encoded.lengths))
    ends = ragged.offsets_of(encoded.lengths)[ragged.offsets_of(per_document)]
    return _Encoded(tokens=encoded.tokens, lengths=np.diff(ends), spans=spans, sentence_lengths=encoded.lengths, sentences=per_document)


def _to_columns(documents: Documents, kept: npt.NDArray[np.int64], characters: npt.NDArray[np.int64], encoded: _Encoded) -> Columns:
    """Gathers the columns of the documents that stay.

    Args:
      documents: m documents of the part.
      kept: [n] int64 indices of those that stay, in the order of their keys.
      characters: [m] int64 characters of each document.
      encoded: the tokens of the n that stay.
    """
    columns = Columns(
        key=documents.key[kept],
        token_offset=ragged.offsets_of(encoded.lengths),
        position=documents.position[kept],
        characters=characters[kept],
        bytes=np.diff(documents.offsets)[kept],
        file=documents.file[kept],
        tokens=encoded.tokens,
        faults=np.frombuffer(fault_log.to_lines(documents.faults), dtype=np.uint8),
        token_spans=encoded.spans,
    )
    if documents.sort_value is not None:
        columns.sort_value = documents.sort_value[kept]
    if encoded.sentences is not None:
        columns.sentence_length, columns.sentence_offset = encoded.sentence_lengths, ragged.offsets_of(encoded.sentences)
    if documents.ids is not None:
        columns.id, columns.id_offset = _join([documents.ids[i].encode() for i in kept])
    if documents.metadata is not None:
        columns.metadata, columns.metadata_offset = _join([documents.metadata[i].encode() for i in kept])
    return columns


def _add_hashes(columns: Columns, documents: Documents, kept: npt.NDArray[np.int64]) -> None:
    """Adds the table of the texts of the documents that stay, of which `kept` is the [n] int64 indices; rows number them in that order."""
    data, bounds = documents.text.tobytes(), documents.offsets
    hashes = hash_tables.hash_texts(data[bounds[i] : bounds[i + 1]] for i in kept.tolist())
    entries, columns.duplicate_row = hash_tables.tabulate(hashes, hash_tables.ranks(columns.key), np.arange(len(kept)))
    columns.hash = entries.ravel()


def _join(strings: Sequence[bytes]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Lays n strings end to end: [num_bytes] uint8, and their [n + 1] int64 bounds."""
    sizes = np.fromiter(map(len, strings), dtype=np.int64, count=len(strings))
    return np.frombuffer(b"".join(strings), dtype=np.uint8), ragged.offsets_of(sizes)
