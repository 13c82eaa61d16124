"""What stood in examples before the objective, put together again from records.

Tested in tests/tokenreel/inspection/test_objective_counts.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.inspection.objective_settings import CHARACTERS, MIXTURE, PREFIX_TEXT, SPANS, ObjectiveSettings
from tokenreel.inspection.record_checks import Records

_Bools = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Restored:
    """The tokens of n examples, in whatever order they are found.

    Attributes:
      tokens: [n, W] ids.
      real: bool [n, W] which of them are tokens; None for all.
      counts: int64 [n] how many.
      padded: bool [n] whether the example has padding.
    """

    tokens: npt.NDArray[Any]
    real: _Bools | None
    counts: npt.NDArray[np.int64]
    padded: _Bools


def restore(records: Records, settings: ObjectiveSettings | None) -> Restored | None:
    """Undoes the objective; None where that cannot be done, or not for certain."""
    arrays = records.arrays
    if settings is not None and settings.kind in (SPANS, MIXTURE):
        return _join(records, settings)
    if settings is not None and settings.kind == PREFIX_TEXT:
        halves = [_first(arrays[name], arrays[f"num_{name}"] - settings.eos) for name in ("inputs", "targets")]
        return _side_by_side([arrays["inputs"], arrays["targets"]], halves, settings.width)
    if not records.has_tokens or settings is None:
        return None
    tokens = arrays["targets"] if settings.kind == CHARACTERS else records.unmasked
    real = None if records.padding is None else ~records.padding
    counts = records.real_tokens
    return Restored(tokens=tokens, real=real, counts=counts, padded=counts < tokens.shape[1])


def _first(values: npt.NDArray[Any], counts: npt.NDArray[Any]) -> _Bools:
    """Marks the first int [n] values of each row of [n, W]."""
    marks: _Bools = np.arange(values.shape[1]) < np.asarray(counts, dtype=np.int64)[:, None]
    return marks


def _side_by_side(values: list[npt.NDArray[Any]], real: list[_Bools], width: int) -> Restored:
    marks = np.concatenate(real, axis=1)
    counts = np.count_nonzero(marks, axis=1).astype(np.int64)
    return Restored(tokens=np.concatenate(values, axis=1), real=marks, counts=counts, padded=counts < width)


def _join(records: Records, settings: ObjectiveSettings) -> Restored | None:
    """Leaves sentinels, mode token and eos out of inputs and targets; None where the text has ids of sentinels, too."""
    arrays = records.arrays
    real, marks = [], []
    for name, lead in (("inputs", settings.lead), ("targets", 0)):
        values = arrays[name].astype(np.int64)
        inside = _first(values, arrays[f"num_{name}"].astype(np.int64) - settings.eos)
        inside[:, :lead] = False
        mark = inside & (values >= settings.low) & (values <= settings.high)
        expected = settings.first + settings.step * (np.cumsum(mark, axis=1) - 1)
        if (mark & (values != expected)).any():
            return None
        real.append(inside & ~mark)
        marks.append(np.count_nonzero(mark, axis=1))
    if (marks[0] != marks[1]).any():
        return None
    return _side_by_side([arrays["inputs"], arrays["targets"]], real, settings.width)
