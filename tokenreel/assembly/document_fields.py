"""The fields that were kept of documents (`sources.metadata_fields`), read from their stage files.

Tested in tests/pipelines/test_kept_fields.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.planning.stage_table import StageTable
from tokenreel.staging.stage_file import StageFile


def read(stages: StageTable, stage: npt.NDArray[np.int64], row: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Reads what was kept of n documents.

    Args:
      stages: the files that the documents were read from.
      stage: int64 [n] the file of each.
      row: int64 [n] its place there.

    Returns:
      for each the values by their names; {} where its source keeps nothing.
    """
    found: list[dict[str, Any]] = [{} for _ in range(len(stage))]
    for index, places in by_stage(stage):
        info = stages[index].info
        if info.metadata_bytes:
            low, high = int(row[places].min()), int(row[places].max()) + 1
            offsets, data = strings(StageFile(info), "metadata", low, high)
            text = data.tobytes()
            for place, at in zip(places.tolist(), (row[places] - low).tolist(), strict=True):
                found[place] = json.loads(text[offsets[at] : offsets[at + 1]])
    return found


def by_stage(stage: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yields each stage file of int64 [n] documents, and the int64 places of its documents among them."""
    order = np.argsort(stage, kind="stable")
    bounds = np.flatnonzero(np.diff(stage[order])) + 1
    for places in np.split(order, bounds):
        if len(places):
            yield int(stage[places[0]]), places


def strings(stage: StageFile, name: str, low: int, high: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Reads the texts of a column of the rows [low, high): int64 [high - low + 1] offsets, and uint8 bytes of UTF-8."""
    offsets = stage.read(f"{name}_offset", low, high + 1).astype(np.int64)
    return offsets - offsets[0], stage.read(name, int(offsets[0]), int(offsets[-1]))
