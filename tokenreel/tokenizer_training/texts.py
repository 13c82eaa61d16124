"""Reads the documents that a tokenizer may see: those that a build of the same settings would train on.

Tested in tests/pipelines/test_train_tokenizer.py.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.config.corpus import CorpusSettings
from tokenreel.config.splits import TRAIN, split_ranges
from tokenreel.curation import filters
from tokenreel.curation.cleaned import REASONS, Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.format import token_spans
from tokenreel.sources import file_counts
from tokenreel.sources.fault_log import Fault
from tokenreel.sources.file_counts import FileCounts
from tokenreel.sources.inputs import Block
from tokenreel.sources.reading import read_documents


@dataclasses.dataclass
class Texts:
    """The documents of a part of a block that may be sampled.

    Attributes:
      text: [num_bytes] uint8, documents end to end, as the filters left them.
      offsets: [n + 1] int64 bounds of the documents in `text`.
      key: [n] uint64 hashes of the documents' names.
      faults: the first of what could not be read.
      dead_letters: number of documents that could not be read, by reason.
      left_out: number of documents that filters or held-out splits left out, by reason.
      lost_bytes: about how many bytes on disk could not be read.
      files: what was read of each file.
    """

    text: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    key: npt.NDArray[np.uint64]
    faults: list[Fault]
    dead_letters: Counter[str]
    left_out: dict[str, int]
    lost_bytes: int = 0
    files: Sequence[FileCounts] = ()


def read_texts(block: Block, config: CorpusSettings, rules: Rules, part_bytes: int) -> Iterator[Texts]:
    """Reads a block in parts, without the documents that filters leave out and those of held-out splits.

    Args:
      block: the block to read.
      config: the sources, filters and splits.
      rules: the filters of the block's source.
      part_bytes: text to hold at once.
    """
    low, high = split_ranges(config, block.source)[TRAIN]
    for documents in read_documents(block, config.sources[block.source], part_bytes):
        cleaned = filters.clean(Cleaned.of(documents), rules)
        documents = cleaned.documents
        characters = token_spans.characters_per_document(documents.text, documents.offsets)
        blank = filters.find_blank(documents.text, documents.offsets)
        reasons = filters.judge_characters(cleaned.reasons, characters, blank, rules.config)
        held_out = (reasons == 0) & ((documents.key < low) | (documents.key > high - 1))
        left_out = Counter(REASONS[code] for code in reasons[reasons > 0].tolist())
        left_out["held_out_split"] = int(held_out.sum())
        text, offsets, key = documents.text, documents.offsets, documents.key
        kept = np.flatnonzero((reasons == 0) & ~held_out)
        if len(kept) < len(key):
            text, offsets = ragged.take(text, offsets, kept)
            key = key[kept]
        yield Texts(
            text=text,
            offsets=offsets,
            key=key,
            faults=documents.faults,
            dead_letters=sum(documents.dead_letters, Counter()),
            left_out={reason: count for reason, count in left_out.items() if count},
            lost_bytes=round(sum(documents.lost_bytes)),
            files=file_counts.of_documents(documents),
        )
