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
    """Writes pairs as `segment_pairs.fill` does, and where their tokens lie in the text, if the documents tell."""
    assert isinstance(packing.separator_id, int)  # a recipe's packing, whose names are resolved
    begins = documents.offsets[:-1]
    ids = {"first_id": int(packing.options["first_id"]), "separator_id": packing.separator_id, "pad_id": pad_id}
    arrays = segment_pairs.fill(documents.tokens, begins, pairs, packing.seq_len, **ids)
    if documents.token_spans is not None:
        none = dict.fromkeys(ids, token_spans.NO_SPAN)
        arrays |= _unpack(segment_pairs.fill(documents.token_spans, begins, pairs, packing.seq_len, **none)["tokens"])
    return arrays


def _unpack(spans: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    begins, ends = token_spans.unpack(spans)
    return {schema.TOKEN_BEGINS: begins, schema.TOKEN_ENDS: ends}


def fill(
    tokens: npt.NDArray[Any],
    lengths: npt.NDArray[np.int64],
    layout: Layout,
    packing: PackingConfig,
    *,
    pad_id: int,
    pads: bool,
    spans: npt.NDArray[np.int64] | None = None,
) -> dict[str, npt.NDArray[Any]]:
    """Copies the tokens, and their spans if given, to where the layout says.

    Args:
      tokens: [num_tokens] ids of any integer dtype, documents end to end.
      lengths: int64 [num_documents] tokens of each document.
      layout: which segment stands where.
      packing: the settings of the layout.
      pad_id: fills the rest.
      pads: whether examples may hold padding: then the number of real tokens is stored.
      spans: int64 [num_tokens] where each token lies in the text, packed as in `token_spans`.

    Returns:
      `tokens` [examples, seq_len + overlap], `document_starts` of the same shape and, if it `pads`, `num_tokens` [examples]; with `spans`
      also `token_begins` and `token_ends`, int32 of the shape of `tokens`.
    """
    width = packing.seq_len + packing.overlap
    begins = ragged.offsets_of(lengths)[:-1]
    out, starts, counts = packings.fill(tokens, begins, layout, width, pad_id)
    arrays: dict[str, npt.NDArray[Any]] = {schema.TOKENS: out, schema.DOCUMENT_STARTS: starts}
    if pads:
        arrays[schema.NUM_TOKENS] = counts.astype(np.int32)
    if spans is not None:
        arrays |= _unpack(packings.fill(spans, begins, layout, width, token_spans.NO_SPAN)[0])
    return arrays


def is_real(arrays: dict[str, npt.NDArray[Any]], packing: PackingConfig) -> npt.NDArray[np.bool_] | None:
    """Marks the tokens that are no padding: bool [examples, seq_len + overlap]; None where all are."""
    if schema.NUM_TOKENS not in arrays:
        return None
    counts = arrays[schema.NUM_TOKENS]
    if schema.DOCUMENT_STARTS not in arrays:
        real: npt.NDArray[np.bool_] = np.arange(arrays[schema.TOKENS].shape[1]) < counts[:, None]
        return real
    ids = segments.segment_ids(arrays[schema.DOCUMENT_STARTS], counts, packing.align or 1)
    real = ids > 0
    return real


def opens_in_overlap(layout: Layout, packing: PackingConfig, first: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Marks the segments whose first token stands in the example before as well.

    Args:
      layout: S segments.
      packing: the settings of the layout.
      first: bool [num_examples] whether an example is the first of its stream.

    Returns:
      bool [S].
    """
    if packing.overlap and packing.cuts_stream:
        opening = np.append(True, layout.example[1:] != layout.example[:-1])[: len(layout)]
        return opening & ~first[layout.example]
    if packing.overlap and packing.mode == "wrap_within_document":
        return layout.start > 0
    return np.zeros(len(layout), dtype=bool)
