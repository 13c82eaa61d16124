"""Which documents of a stage file a build leaves out because of their scores.

Tested in tests/pipelines/test_scores.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tokenreel.config.build import JobConfig
from tokenreel.curation import scores
from tokenreel.curation.hash_tables import read_rows, write_rows
from tokenreel.errors import BuildError
from tokenreel.planning.selection import StageSelection, count_splits
from tokenreel.staging.stage_file import StageFile

_UNIT = "documents"


def judge(config: JobConfig, contents: Sequence[str], selection: StageSelection, directory: str) -> StageSelection:
    """Counts again what is taken of a stage file, without the documents whose scores the settings do not want.

    Args:
      config: the settings of the build.
      contents: digests of the tables of each source, as `scores.digests` gives them.
      selection: the stage file, and which of its documents are duplicates; of these no score is asked.
      directory: where the file with the rows that are left out lies.

    Raises:
      BuildError: a document has no score, and `missing` is `error`; names it.
    """
    source = config.sources[selection.info.source]
    settings = config.filters_of(selection.info.source).scores
    if settings is None or not selection.info.documents:
        return selection
    stage = StageFile(selection.info)
    found = scores.load(settings, source.name, source.id_field, contents[selection.info.source])
    outside, missing = found.judge(stage.read("key"), settings)
    duplicates = read_rows(selection.removed) if selection.removed is not None else np.zeros(0, dtype=np.int64)
    outside[duplicates] = missing[duplicates] = False
    if settings.missing == "error" and missing.any():
        row = int(np.flatnonzero(missing)[0])
        raise BuildError(f"{scores.without_score(source.name, _name(stage, row), int(missing.sum()))}.")
    if settings.missing == "keep":
        missing[:] = False
    rows = np.union1d(duplicates, np.flatnonzero(outside | missing))
    if len(rows) == len(duplicates):
        return selection
    counted = count_splits(selection.info, config, write_rows(directory, _UNIT, rows))
    return dataclasses.replace(counted, duplicates=len(duplicates), low_score=int(outside.sum()), no_score=int(missing.sum()))


def _name(stage: StageFile, row: int) -> str:
    """Gives the name of a document, as the provenance tables have it."""
    if not stage.info.id_bytes:
        return stage.names(row, row + 1)[0]
    begin, end = stage.read("id_offset", row, row + 2).tolist()
    return bytes(stage.read("id", begin, end)).decode()
