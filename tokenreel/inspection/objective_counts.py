"""Counts again what an objective counted: selected tokens, actions, spans, targets. From records alone, apart from `objectives/`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.inspection.objective_settings import (
    CHARACTERS,
    MASKED,
    MIXTURE,
    NEXT,
    PREFIX,
    PREFIX_TEXT,
    SPANS,
    TYPOS,
    ObjectiveSettings,
)
from tokenreel.inspection.record_checks import Records
from tokenreel.inspection.restored import Restored

_EDITS = ("swap", "drop", "insert", "neighbour", "case")  # the order of the feature `edits`
_RUN_BINS, _SPAN_BINS = 64, 129  # the last holds all that is longer
Counts = dict[str, Any]


def count(records: Records, settings: ObjectiveSettings, restored: Restored) -> Counts:
    """Counts what the objective did to some records: numbers, lists of numbers, and mappings of numbers, by name.

    A count that depends on something which is not known, such as the mask's id, is left out.
    """
    lengths = records.lengths if records.has_tokens else restored.counts
    counts: Counts = {"examples": len(records), "tokens": int(lengths.sum())}
    if settings.kind == MASKED:
        counts |= _masked(records, settings, lengths)
    elif settings.kind == CHARACTERS:
        hidden = records.tokens != records.arrays["targets"]
        counts |= {"selected": _number(hidden), "selected_by_position": hidden.sum(axis=0).tolist(), "run_lengths": _run_lengths(hidden)}
    elif settings.kind in (SPANS, MIXTURE):
        counts |= _spans(records, settings)
    elif settings.kind == PREFIX:
        counts["prefix_tokens"] = _number(records.arrays["prefix_mask"])
    elif settings.kind == PREFIX_TEXT:
        counts["prefix_tokens"] = int(records.arrays["num_inputs"].sum()) - settings.eos * len(records)
    elif settings.kind == NEXT:
        counts["targets_by_step"] = np.count_nonzero(records.arrays["target_weights"], axis=(0, 1)).tolist()
    elif settings.kind == TYPOS:
        edits = records.arrays["edits"].astype(np.int64).sum(axis=0).tolist()
        counts |= {"edits": dict(zip(_EDITS, edits, strict=True)), "input_tokens": int(records.arrays["num_inputs"].sum())}
    return counts


def add(first: Any, second: Any) -> Any:
    """Adds the counts of two parts of a dataset: numbers, lists and mappings of them."""
    if isinstance(first, Mapping):
        return {name: add(value, second[name]) for name, value in first.items()}
    if isinstance(first, list):
        return [one + other for one, other in zip(first, second, strict=True)]
    return first + second


def _number(marks: npt.NDArray[Any]) -> int:
    return int(np.count_nonzero(marks))


def _run_lengths(marks: npt.NDArray[np.bool_]) -> list[int]:
    """Counts the runs of neighbours among bool [n, L] by their lengths, int [64]."""
    edges = np.diff(np.pad(marks.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    lengths = np.nonzero(edges < 0)[1] - np.nonzero(edges > 0)[1]
    return _histogram(lengths, _RUN_BINS)


def _histogram(values: npt.NDArray[np.integer], bins: int) -> list[int]:
    counts: list[int] = np.bincount(np.clip(values, 0, bins - 1), minlength=bins).tolist()
    return counts


def _masked(records: Records, settings: ObjectiveSettings, lengths: npt.NDArray[np.int64]) -> Counts:
    arrays, width = records.arrays, records.tokens.shape[1]
    row, slot = np.nonzero(arrays["mask_weights"])
    at = np.clip(arrays["mask_positions"][row, slot].astype(np.int64), 0, width - 1)
    old, new = arrays["mask_ids"][row, slot], records.tokens[row, at]
    marks = np.zeros(records.tokens.shape, dtype=bool)
    marks[row, at] = True
    counts: Counts = {
        "selected": len(at),
        "unchanged": _number(new == old),
        "selected_by_position": np.bincount(at, minlength=width).tolist(),
        "examples_by_position": (lengths[:, None] > np.arange(width)).sum(axis=0).tolist(),
        "run_lengths": _run_lengths(marks),
    }
    if settings.mask_id is not None:
        masked = new == settings.mask_id
        counts |= {"masked": _number(masked), "random": _number(~masked & (new != old))}
    return counts


def _spans(records: Records, settings: ObjectiveSettings) -> Counts:
    arrays = records.arrays
    targets = arrays["targets"].astype(np.int64)
    ends = arrays["num_targets"].astype(np.int64) - settings.eos
    marks = (targets >= settings.low) & (targets <= settings.high) & (np.arange(targets.shape[1]) < ends[:, None])
    row, at = np.nonzero(marks)
    # A span reaches from behind its sentinel to the next one, the last of an example to the end.
    stop = np.append(at[1:], 0)
    last = np.append(row[1:] != row[:-1], True)[: len(row)]
    stop[last] = ends[row[last]]
    counts: Counts = {
        "noise_tokens": int(ends.sum()) - len(at),
        "spans": len(at),
        "input_tokens": int(arrays["num_inputs"].sum()),
        "target_tokens": int(arrays["num_targets"].sum()),
        "cropped_tokens": 0,  # what is not in the records was not written
        "span_lengths": _histogram(stop - at - 1, _SPAN_BINS),
    }
    if settings.kind == MIXTURE:
        counts["denoisers"] = np.bincount(arrays["denoiser"], minlength=settings.denoisers).tolist()
    return counts
