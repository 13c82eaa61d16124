"""Looks, once all text is read, whether each field that a source keeps is in any of its documents.

Tested in tests/pipelines/test_kept_fields.py.
"""

from __future__ import annotations

import itertools
import json

from tokenreel.config.build import JobConfig
from tokenreel.errors import BuildError
from tokenreel.planning.stage_table import StageTable
from tokenreel.sources import first_look
from tokenreel.staging.columns import StageInfo
from tokenreel.staging.stage_file import StageFile


def check(config: JobConfig, selections: StageTable) -> None:
    """Stops a build that would write a column without a value: the first look before it need not have read all of a source.

    Reads the kept fields of a source until each was found, which is a stage file as a rule.

    Args:
      config: the settings of the build.
      selections: all stage files, sorted as the text lies.

    Raises:
      BuildError: no document of a source has one of the fields.
    """
    problems = []
    for index, source in enumerate(config.sources):
        lacking = first_look.uncertain_fields(source)
        documents = 0
        for row in selections.of_source(index).tolist() if lacking else ():
            info = selections[row].info
            lacking -= _found(info, lacking)
            documents += info.documents
            if not lacking:
                break
        if lacking and documents:
            problems.append(f"{first_look.lacking_fields(source, index, lacking)} Looked at: {documents:,} documents.")
    if problems:
        raise BuildError("\n".join(problems))


def _found(info: StageInfo, wanted: set[str]) -> set[str]:
    """Finds which of some fields any document of a stage file has."""
    stage = StageFile(info)
    data = stage.read("metadata").tobytes()
    likely = {name for name in wanted if json.dumps(name).encode() in data}  # a value may say the same
    found: set[str] = set()
    offsets = stage.read("metadata_offset").tolist() if likely else []
    for start, end in itertools.pairwise(offsets):
        found |= likely & json.loads(data[start:end]).keys()
        if found == likely:
            break
    return found
