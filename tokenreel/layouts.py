"""From the packing settings to examples: the layouts of `tokenreel.packing` as a build uses them.

`wrap` cuts one stream of tokens through all groups of documents; every other mode lays each group out by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tokenreel import alignment, ragged, schema, segment_pairs, segments
from tokenreel import packing as packings
from tokenreel.errors import ConfigError
from tokenreel.packing import Segments

if TYPE_CHECKING:
    from tokenreel.config import PackingConfig
    from tokenreel.groups import GroupDocuments

VERSION = packings.VERSION
PAIRS = "segment_pairs"
_PAIR_SETTINGS = ("first_id", "task", "short_rate")


def check(packing: PackingConfig) -> None:
    """Refuses settings that a mode does not have, or that are impossible.

    Raises:
      ConfigError: names the setting and what would work.
    """
    if packing.mode != PAIRS:
        if packing.mode not in packings.MODES:
            raise ConfigError(f"packing.mode must be one of {', '.join([*packings.MODES, PAIRS])}, got {packing.mode!r}")
        packings.check(mode=packing.mode, seq_len=packing.seq_len, **packing.settings())
        return
    for name, value in packing.settings().items():
        if name not in _PAIR_SETTINGS and value is not None:
            raise ConfigError(f"packing.{name} is not a setting of mode {packing.mode}, which has {', '.join(_PAIR_SETTINGS)}")
    if packing.separator_id is None or "first_id" not in packing.options:
        raise ConfigError("packing.mode segment_pairs needs packing.separator_id ([SEP]) and packing.options.first_id ([CLS])")
    segment_pairs.plan([], [], [], packing.seq_len, seed=0, **_pair_settings(packing))


def _pair_settings(packing: PackingConfig) -> dict[str, Any]:
    return {name: packing.options[name] for name in ("task", "short_rate") if name in packing.options}


def layout(documents: GroupDocuments, packing: PackingConfig) -> Segments:
    """Lays the documents of a group out by the mode of the settings."""
    lengths = np.diff(documents.offsets)
    if packing.mode == "full_sentences":
        settings = {name: value for name, value in packing.settings().items() if value is not None}
        return packings.full_sentences(documents.sentences, documents.sentences_per_document, packing.seq_len, **settings)
    return packings.lay_out(lengths, mode=packing.mode, seq_len=packing.seq_len, **packing.settings())


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
        **_pair_settings(packing),
    )


def fill_pairs(documents: GroupDocuments, pairs: segment_pairs.Pairs, packing: PackingConfig, pad_id: int) -> dict[str, npt.NDArray[Any]]:
    """Writes pairs; see `segment_pairs.fill`."""
    assert isinstance(packing.separator_id, int)  # a recipe's packing, whose names are resolved
    begins = documents.offsets[:-1]
    ids = {"first_id": int(packing.options["first_id"]), "separator_id": packing.separator_id, "pad_id": pad_id}
    arrays = segment_pairs.fill(documents.tokens, begins, pairs, packing.seq_len, **ids)
    if documents.spans is not None:
        none = dict.fromkeys(ids, alignment.NO_SPAN)
        arrays |= _unpack(segment_pairs.fill(documents.spans, begins, pairs, packing.seq_len, **none)["tokens"])
    return arrays


def _unpack(spans: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    begins, ends = alignment.unpack(spans)
    return {schema.TOKEN_BEGINS: begins, schema.TOKEN_ENDS: ends}


def fill(
    tokens: npt.NDArray[Any],
    lengths: npt.NDArray[np.int64],
    table: Segments,
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
        arrays |= _unpack(packings.fill(spans, begins, table, width, alignment.NO_SPAN)[0])
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


def repeats(table: Segments, packing: PackingConfig, first: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
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
