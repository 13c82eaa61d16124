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
      split: their split.
      index: the group's place in the split.
      low, high: in shuffled order the range of their places on the circle of keys, which has 2**64; in source order the range of the
        copy's tokens in which they begin; sorted by a field the range of its values.
      source: whose documents they are, where sources are kept apart.
      copy: of the documents, where copies are taken one after the other.
    """

    split: str
    index: int
    low: int
    high: int
    source: int | None = None
    copy: int | None = None


@dataclasses.dataclass
class GroupDocuments:
    """The documents of a group in their final order.

    Attributes:
      tokens: end to end, bos and eos included.
      offsets: [n + 1] int64 bounds of the documents in `tokens`; where only lengths were read, `tokens` is empty.
      stage: [n] int64 index of the stage file of each.
      row: [n] int64 place in that file.
      copy: [n] int64 which copy of the document it is, from 0.
      key: [n] uint64 hash of each document's name, and of the number of the copy behind the first.
      sentences: [sentences] int64 tokens of each sentence, where documents were cut into sentences.
      sentences_per_document: [n] int64.
      added: tokens that an objective put into the documents.
      spans: where each token lies in the text, packed as in `alignment`, if the stage files say so and tokens were read; else None.
    """

    tokens: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]
    stage: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    copy: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]
    sentences: npt.NDArray[np.int64]
    sentences_per_document: npt.NDArray[np.int64]
    added: int
    spans: npt.NDArray[np.int64] | None = None


def lay_out_group(documents: GroupDocuments, packing: PackingConfig) -> Layout:
    """Lays the documents of a group out by the mode of the settings."""
    lengths = np.diff(documents.offsets)
    if packing.mode == "full_sentences":
        settings = {name: value for name, value in packing.settings().items() if value is not None}
        return whole_sentences.full_sentences(documents.sentences, documents.sentences_per_document, packing.seq_len, **settings)
    return modes.lay_out(lengths, mode=packing.mode, seq_len=packing.seq_len, **packing.settings())


def plan_pairs(documents: GroupDocuments, packing: PackingConfig, seed: int) -> segment_pairs.Pairs:
    """Makes the pairs of a group. Documents of one name are told apart by which comes first."""
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
class Range:
    """Some documents of one stage file, all of the same copy, and where they lie in it."""

    stage: int
    copy: int
    row: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.int64]
    tokens: npt.NDArray[Any]
    sentences: npt.NDArray[np.int64]
    sentences_per_document: npt.NDArray[np.int64]
    spans: npt.NDArray[np.int64]

    @classmethod
    def read(
        cls,
        stage: StageFile,
        index: int,
        first: int,
        last: int,
        with_tokens: bool,
        picked: npt.NDArray[np.int64] | None = None,
        copy: int = 0,
    ) -> Range:
        """Reads the documents [first, last), or those of them that are picked, in the order given.

        Random choices are keyed by a document's name, so each copy of it gets a name of its own.
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
        if picked is not None:
            if with_tokens:
                tokens, _ = ragged.take(tokens, offsets - offsets[0], picked)
            if len(spans):
                spans, _ = ragged.take(spans, offsets - offsets[0], picked)
            sentences, _ = ragged.take(sentences, ragged.offsets_of(per_document), picked)
            key, lengths, row, per_document = key[picked], lengths[picked], row[picked], per_document[picked]
        if copy:
            key = keys.mix(key ^ np.uint64(keys.key("copy", copy)))
        return cls(index, copy, row, key, lengths, tokens, sentences, per_document, spans)
