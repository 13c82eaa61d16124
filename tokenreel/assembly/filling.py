"""Copies tokens, and what is known of them, to the places that a layout gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import ragged
from tokenreel.config.build import PackingConfig
from tokenreel.format import schema, segments, token_spans
from tokenreel.layouts import filling as packings
from tokenreel.layouts import segment_pairs
from tokenreel.layouts.table import Layout
from tokenreel.planning.group_documents import GroupDocuments


def fill_pairs(documents: GroupDocuments, pairs: segment_pairs.Pairs, packing: PackingConfig, pad_id: int) -> dict[str, npt.NDArray[Any]]:
    """Writes pairs; see `segment_pairs.fill`."""
    assert isinstance(packing.separator_id, int)  # a recipe's packing, whose names are resolved
    begins = documents.offsets[:-1]
    ids = {"first_id": int(packing.options["first_id"]), "separator_id": packing.separator_id, "pad_id": pad_id}
    arrays = segment_pairs.fill(documents.tokens, begins, pairs, packing.seq_len, **ids)
    if documents.spans is not None:
        none = dict.fromkeys(ids, token_spans.NO_SPAN)
        arrays |= _unpack(segment_pairs.fill(documents.spans, begins, pairs, packing.seq_len, **none)["tokens"])
    return arrays


def _unpack(spans: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    begins, ends = token_spans.unpack(spans)
    return {schema.TOKEN_BEGINS: begins, schema.TOKEN_ENDS: ends}


def fill(
    tokens: npt.NDArray[Any],
    lengths: npt.NDArray[np.int64],
    table: Layout,
    packing: PackingConfig,
    *,
    pad_id: int,
    pads: bool,
    spans: npt.NDArray[np.int64] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Copies the tokens, and their spans if given, to where the layout says.

    Returns:
      `tokens` [examples, seq_len + overlap], `document_starts` of the same shape and, if it `pads`, `num_tokens` [examples]; with `spans`
      also `token_begins` and `token_ends`, int32 of the shape of `tokens`.
    """
    width = packing.seq_len + packing.overlap
    begins = ragged.offsets_of(lengths)[:-1]
    out, starts, counts = packings.fill(tokens, begins, table, width, pad_id)
    arrays: dict[str, npt.NDArray[Any]] = {schema.TOKENS: out, schema.DOCUMENT_STARTS: starts}
    if pads:
        arrays[schema.NUM_TOKENS] = counts.astype(np.int32)
    if spans is not None:
        arrays |= _unpack(packings.fill(spans, begins, table, width, token_spans.NO_SPAN)[0])
    return arrays


def is_real(arrays: dict[str, npt.NDArray[Any]], packing: PackingConfig) -> npt.NDArray[np.bool_] | None:
    """Marks the tokens that are no padding; None where all are."""
    if schema.NUM_TOKENS not in arrays:
        return None
    counts = arrays[schema.NUM_TOKENS]
    if schema.DOCUMENT_STARTS not in arrays:
        real: npt.NDArray[np.bool_] = np.arange(arrays[schema.TOKENS].shape[1]) < counts[:, None]
        return real
    ids = segments.segment_ids(arrays[schema.DOCUMENT_STARTS], counts, packing.align or 1)
    real = ids > 0
    return real


def repeats(table: Layout, packing: PackingConfig, first: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Marks the pieces whose first token stands in the example before as well.

    Args:
      table: the layout.
      packing: its settings.
      first: [num_examples] whether an example is the first of its stream.
    """
    if packing.overlap and packing.cuts_stream:
        opening = np.append(True, table.example[1:] != table.example[:-1])[: len(table)]
        return opening & ~first[table.example]
    if packing.overlap and packing.mode == "wrap_within_document":
        return table.start > 0
    return np.zeros(len(table), dtype=bool)
