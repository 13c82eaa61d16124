"""From the packing settings to the functions that lay documents out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel import packing as packings
from tokenreel import ragged, schema
from tokenreel.config import PackingConfig
from tokenreel.errors import ConfigError
from tokenreel.packing import Segments

VERSION = "layouts-1"
WRAP = "wrap"
BEST_FIT = "best_fit"


def pads(packing: PackingConfig) -> bool:
    """Whether examples may hold padding."""
    return packing.mode != WRAP or packing.last_example == "pad"


def layout(lengths: npt.NDArray[np.int64], packing: PackingConfig) -> Segments:
    """Lays the documents of a group out by the mode of the settings."""
    if packing.mode == BEST_FIT:
        return packings.best_fit(lengths, packing.seq_len, packing.max_segments)
    raise ConfigError(f"packing.mode must be one of {WRAP}, {BEST_FIT}, got {packing.mode!r}")


def count_wrapped(tokens: int, packing: PackingConfig) -> int:
    """How many examples `wrap` makes of a stream of tokens."""
    return packings.wrapped_examples(tokens, packing.seq_len, packing.overlap, last_example=packing.last_example)


def wrap_range(
    lengths: npt.NDArray[np.int64], first_offset: int, first_example: int, num_examples: int, packing: PackingConfig
) -> Segments:
    """Lays some examples of the stream out; see `tokenreel.packing.wrap_range`."""
    return packings.wrap_range(lengths, first_offset, packing.seq_len, packing.overlap, first_example, num_examples)


def select(segments: Segments, examples: npt.NDArray[np.int64]) -> Segments:
    """Keeps some examples, in the order given, numbered from 0."""
    bounds = np.searchsorted(segments.example, np.arange(segments.num_examples + 1))
    counts = np.diff(bounds)[examples]
    picked = np.arange(int(counts.sum())) - np.repeat(ragged.offsets_of(counts)[:-1] - bounds[examples], counts)
    return Segments(
        example=np.repeat(np.arange(len(examples)), counts),
        document=segments.document[picked],
        start=segments.start[picked],
        length=segments.length[picked],
        num_examples=len(examples),
        align=segments.align,
    )


def fill(
    tokens: npt.NDArray[Any], lengths: npt.NDArray[np.int64], segments: Segments, packing: PackingConfig, pad_id: int
) -> dict[str, npt.NDArray[Any]]:
    """Copies the tokens to where the layout says.

    Returns:
      `tokens` [examples, seq_len + overlap], `document_starts` of the same shape and, where the layout pads, `num_tokens` [examples].
    """
    width = packing.seq_len + packing.overlap
    out, starts, counts = packings.fill(tokens, ragged.offsets_of(lengths)[:-1], segments, width, pad_id)
    arrays: dict[str, npt.NDArray[Any]] = {schema.TOKENS: out, schema.DOCUMENT_STARTS: starts}
    if pads(packing):
        arrays[schema.NUM_TOKENS] = counts.astype(np.int32)
    return arrays
