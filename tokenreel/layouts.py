"""From the packing settings to examples: the layouts of `tokenreel.packing` as a build uses them.

`wrap` cuts one stream of tokens through all groups of documents; every other mode lays each group out by itself.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import packing as packings
from tokenreel import ragged, schema, segments
from tokenreel.config import PackingConfig
from tokenreel.packing import Segments

VERSION = packings.VERSION
WRAP = "wrap"


def layout(lengths: npt.NDArray[np.int64], packing: PackingConfig) -> Segments:
    """Lays the documents of a group out by the mode of the settings."""
    return packings.lay_out(lengths, mode=packing.mode, seq_len=packing.seq_len, **packing.settings())


def select(table: Segments, examples: npt.NDArray[np.int64]) -> Segments:
    """Keeps some examples, in the order given, numbered from 0."""
    bounds = np.searchsorted(table.example, np.arange(table.num_examples + 1))
    counts = np.diff(bounds)[examples]
    picked = np.arange(int(counts.sum())) - np.repeat(ragged.offsets_of(counts)[:-1] - bounds[examples], counts)
    return dataclasses.replace(
        table,
        example=np.repeat(np.arange(len(examples)), counts),
        document=table.document[picked],
        start=table.start[picked],
        length=table.length[picked],
        num_examples=len(examples),
    )


def fill(
    tokens: npt.NDArray[Any], lengths: npt.NDArray[np.int64], table: Segments, packing: PackingConfig, *, pad_id: int, pads: bool
) -> dict[str, npt.NDArray[Any]]:
    """Copies the tokens to where the layout says.

    Returns:
      `tokens` [examples, seq_len + overlap], `document_starts` of the same shape and, if it `pads`, `num_tokens` [examples].
    """
    width = packing.seq_len + packing.overlap
    out, starts, counts = packings.fill(tokens, ragged.offsets_of(lengths)[:-1], table, width, pad_id)
    arrays: dict[str, npt.NDArray[Any]] = {schema.TOKENS: out, schema.DOCUMENT_STARTS: starts}
    if pads:
        arrays[schema.NUM_TOKENS] = counts.astype(np.int32)
    return arrays


def is_real(arrays: dict[str, npt.NDArray[Any]], packing: PackingConfig) -> npt.NDArray[np.bool_] | None:
    """Marks the tokens that are no padding; None where all are."""
    if schema.NUM_TOKENS not in arrays:
        return None
    ids = segments.segment_ids(arrays[schema.DOCUMENT_STARTS], arrays[schema.NUM_TOKENS], packing.align or 1)
    real: npt.NDArray[np.bool_] = ids > 0
    return real


def repeats(table: Segments, packing: PackingConfig, first: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Marks the pieces whose first token stands in the example before as well.

    Args:
      table: the layout.
      packing: its settings.
      first: [num_examples] whether an example is the first of its stream.
    """
    if not packing.overlap:
        return np.zeros(len(table), dtype=bool)
    if packing.mode == WRAP:
        opening = np.append(True, table.example[1:] != table.example[:-1])[: len(table)]
        return opening & ~first[table.example]
    return table.start > 0
