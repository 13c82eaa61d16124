"""Writes what could not be read, and stops a build that could read too little.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_sources.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenreel.config.build import JobConfig
from tokenreel.format import naming
from tokenreel.format.manifest import FileInfo, file_info
from tokenreel.planning.selection import StageSelection
from tokenreel.sources.documents import Fault
from tokenreel.staging import stage_file
from tokenreel.storage import files


def too_many_dead_letters(config: JobConfig, selections: Sequence[StageSelection], dead: int, read: int) -> str:
    """Says what could not be read, with the first few places: the message of an error.

    Args:
      config: the settings of the build.
      selections: all stage files, sorted as the text lies.
      dead: documents that could not be read.
      read: documents in all.
    """
    reasons: Counter[str] = Counter()
    samples: list[str] = []
    for source, name, line, fault in _dead_letters(selections):
        reasons[fault.reason] += 1
        if len(samples) < 3:
            place = f"byte {fault.position:,}" if line is None else f"line {line:,}"
            samples.append(f"{config.sources[source].name}: {name} {place}: {fault.message}")
    counts = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
    return (
        f"{dead:,} of {read:,} documents could not be read ({counts}), more than execution.max_dead_letter_fraction = "
        f"{config.execution.max_dead_letter_fraction:g} allows. All of them are in {files.join(config.output, naming.DEAD_LETTERS)}. "
        "The first:\n  " + "\n  ".join(samples)
    )


def _dead_letters(selections: Sequence[StageSelection]) -> Iterable[tuple[int, str, int | None, Fault]]:
    """Yields every dead letter in the order of the text: source, file, line in the file if it is known, fault."""
    lines: dict[tuple[int, str], int] = {}  # of each file, in the blocks so far: a fault counts lines from the beginning of its block
    for selection in selections if any(selection.info.dead_letters for selection in selections) else ():
        info = selection.info
        header = stage_file.StageFile(info).header()
        for fault in stage_file.read_faults(info):
            line = lines.get((info.source, fault.file), 0) + fault.line if fault.line else None
            yield info.source, fault.file, line, fault
        for name, count in zip(header["files"], header["lines"], strict=True):
            lines[info.source, name] = lines.get((info.source, name), 0) + count


def write_dead_letters(config: JobConfig, selections: Sequence[StageSelection]) -> FileInfo | None:
    """Writes the dead letters of all blocks into one file, in the order of sources, files and places; None where there are none."""
    if not any(selection.info.dead_letters for selection in selections):
        return None
    with files.write_atomic(files.join(config.output, naming.DEAD_LETTERS)) as file:
        for source, name, line, fault in _dead_letters(selections):
            letter = {
                "source": config.sources[source].name,
                "file": name,
                "line": line,
                "position": fault.position,
                "reason": fault.reason,
                "message": fault.message,
                "excerpt": fault.excerpt,
            }
            file.write(json.dumps(letter, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
    return file_info(config.output, naming.DEAD_LETTERS)
