"""The documents of a planning group, in their final order, and their layout.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_selection.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import keys, ragged
from tokenreel.config.build import PackingConfig
from tokenreel.layouts import modes, segment_pairs, whole_sentences
from tokenreel.layouts.table import Layout
from tokenreel.staging.stage_file import StageFile


@dataclasses.dataclass(frozen=True, kw_only=True)
class DocumentGroup:
    """Some documents of a split that are ordered and packed together.

    Attributes:
      split: the split that they belong to.
      index: the group's place in the split.
      low, high: in shuffled order the range of their places on the circle of keys, which has 2**64; in source order the range of the
        repeat's tokens in which they begin; sorted by a field the range of its values.
      source: the source of all documents, where sources are kept apart.
      repeat: the repeat of all documents, where repeats follow each other.
    """

    split: str
    index: int
    low: int
    high: int
    source: int | None = None
    repeat: int | None = None


@dataclasses.dataclass
class GroupDocuments:
    """The n documents of a group in their final order.

    Attributes:
      tokens: [num_tokens] ids of the stage files' dtype, documents end to end, bos and eos included.
      offsets: int64 [n + 1] bounds of the documents in `tokens`; where only lengths were read, `tokens` is empty.
      stage: int64 [n] the stage file of each document, counted in text order.
      row: int64 [n] place in that file.
      repeat: int64 [n] which repeat of the document it is, from 0.
      key: uint64 [n] hash of each document's name, and of the number of a repeat behind the first.
      sentences: int64 [num_sentences] tokens of each sentence, where documents were cut into sentences.
      sentences_per_document: int64 [n].
      added: tokens that an objective put into the documents.
      token_spans: int64 [num_tokens] where each token lies in the text, packed as in `format.token_spans`, if the stage files say so and
        tokens were read; else None.
    """

    tokens: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    stage: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    repeat: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]
    sentences: npt.NDArray[np.int64]
    sentences_per_document: npt.NDArray[np.int64]
    added: int
    token_spans: npt.NDArray[np.int64] | None = None


def lay_out_group(documents: GroupDocuments, packing: PackingConfig) -> Layout:
    """Lays the documents of a group out by the mode of the settings."""
    lengths = np.diff(documents.offsets)
    if packing.mode == "full_sentences":  # the one layout that is made of sentences instead of documents
        settings = {name: value for name, value in packing.settings().items() if value is not None}
        return whole_sentences.full_sentences(documents.sentences, documents.sentences_per_document, packing.seq_len, **settings)
    return modes.lay_out(lengths, mode=packing.mode, seq_len=packing.seq_len, **packing.settings())


def plan_pairs(documents: GroupDocuments, packing: PackingConfig, seed: int) -> segment_pairs.Pairs:
    """Makes the pairs of a group."""
    # The ids of the documents must differ. Documents of one name have the same key, so each adds how many of its name stand before it.
    _, inverse, counts = np.unique(documents.key, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    occurrence = np.empty(len(order), dtype=np.uint64)
    occurrence[order] = np.arange(len(order)) - np.repeat(ragged.offsets_of(counts)[:-1], counts)
    return segment_pairs.plan(
        documents.sentences,
        documents.sentences_per_document,
        documents.key + occurrence,
        packing.seq_len,
        seed=seed,
        **modes.pair_settings(packing.options),
    )


@dataclasses.dataclass
class StageRows:
    """The n documents that a group takes of one stage file, all of the same repeat.

    Attributes:
      stage: the stage file, counted in text order.
      repeat: of the documents.
      row: int64 [n] place of each document in the file.
      key: uint64 [n] hash of each document's name, and of the number of a repeat behind the first.
      lengths: int64 [n] tokens of each document, without bos and eos.
      tokens: [num_tokens] documents end to end; empty where only lengths were read.
      sentences: int64 [num_sentences] tokens of each sentence.
      sentences_per_document: int64 [n].
      token_spans: int64 [num_tokens] packed as in `format.token_spans`; empty where the file has none, or only lengths were read.
    """

    stage: int
    repeat: int
    row: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.int64]
    tokens: npt.NDArray[Any]
    sentences: npt.NDArray[np.int64]
    sentences_per_document: npt.NDArray[np.int64]
    token_spans: npt.NDArray[np.int64]

    @classmethod
    def read(
        cls,
        stage: StageFile,
        index: int,
        first: int,
        last: int,
        with_tokens: bool,
        picked: npt.NDArray[np.int64] | None = None,
        repeat: int = 0,
    ) -> StageRows:
        """Reads documents of a stage file.

        Args:
          stage: the file.
          index: its number, counted in text order.
          first: the first row to read.
          last: the row behind the last one.
          with_tokens: False reads lengths alone.
          picked: int64 [n] which of these rows are kept, counted from `first`, in the order wanted; None for all of them.
          repeat: which repeat the documents are.
        """
        offsets = stage.read("token_offset", first, last + 1)
        tokens = stage.read("tokens", int(offsets[0]), int(offsets[-1]) if with_tokens else int(offsets[0]))
        spans = np.zeros(0, dtype=np.int64)
        if stage.info.offsets and with_tokens:
            spans = stage.read("token_spans", int(offsets[0]), int(offsets[-1]))
        key, lengths, row = stage.read("key", first, last), np.diff(offsets), np.arange(first, last)
        sentences, per_document = np.zeros(0, dtype=np.int64), np.zeros(last - first, dtype=np.int64)
        if stage.info.sentences:
            bounds = stage.read("sentence_offset", first, last + 1)
            sentences = stage.read("sentence_length", int(bounds[0]), int(bounds[-1])).astype(np.int64)
            per_document = np.diff(bounds)
        # One range is read and then picked from: a request costs more than the documents between those that are wanted.
        if picked is not None:
            if with_tokens:
                tokens, _ = ragged.take(tokens, offsets - offsets[0], picked)
            if len(spans):
                spans, _ = ragged.take(spans, offsets - offsets[0], picked)
            sentences, _ = ragged.take(sentences, ragged.offsets_of(per_document), picked)
            key, lengths, row, per_document = key[picked], lengths[picked], row[picked], per_document[picked]
        if repeat:  # random choices are keyed by a document's name, so each repeat gets a name of its own
            key = keys.mix(key ^ np.uint64(keys.key("copy", repeat)))
        return cls(index, repeat, row, key, lengths, tokens, sentences, per_document, spans)
