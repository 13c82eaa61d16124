"""Writes what could not be read, and stops a build that could read too little.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_sources.py.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from tokenreel.config.build import JobConfig
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.format.manifest import FileInfo, file_info
from tokenreel.planning.stage_table import StageTable
from tokenreel.sources.documents import Fault
from tokenreel.staging import stage_file
from tokenreel.storage import files
from tokenreel.wording import plural

_FILES = 12  # named in a message, which fits a screen
_MESSAGE = 200  # characters of what is wrong with a document


def check(config: JobConfig, selections: StageTable) -> None:
    """Writes the dead letters, and stops a build that could read too little, or of whose text nothing is left.

    Called when all text is tokenized and nothing is planned yet: what was lost is then the first thing that a user reads.

    Args:
      config: the settings of the build.
      selections: all stage files, sorted as the text lies.

    Raises:
      BuildError: too many documents could not be read, or none is left; says which file gave what.
    """
    write_dead_letters(config, selections)
    kept, dead = (int(selections.numbers(name).sum()) for name in ("documents", "dead_letters"))
    filtered = selections.summed("filtered")
    read = kept + sum(filtered.values()) + dead
    if not kept:
        raise BuildError(_nothing_left(config, selections, dead, filtered))
    if dead / read > config.execution.max_dead_letter_fraction:
        raise BuildError(too_many_dead_letters(config, selections, dead, read))


def _nothing_left(config: JobConfig, selections: StageTable, dead: int, filtered: Mapping[str, int]) -> str:
    """Says of each file what became of its documents, in one screen: the message of an error."""
    lines: Counter[tuple[int, str]] = Counter()
    for selection in selections:
        header = stage_file.StageFile(selection.info).header()
        for name, count in zip(header["files"], header["lines"], strict=True):
            lines[selection.info.source, name] += count
    reasons: dict[tuple[int, str], Counter[str]] = {}
    first: dict[tuple[int, str], str] = {}
    for source, name, line, fault in _dead_letters(selections):
        reasons.setdefault((source, name), Counter())[fault.reason] += 1
        first.setdefault((source, name), f"{_place(line, fault)}: {fault.message[:_MESSAGE]}")
    told = [f"filters left out {sum(filtered.values()):,} ({_counts(filtered)})"] if filtered else []
    told += [f"{dead:,} could not be read; all of them are in {files.join(config.output, naming.DEAD_LETTERS)}"] if dead else []
    rows = []
    for (source, name), count in lines.items():
        what = f"{plural(count, 'line')}; nothing that could not be read" if count else "empty"
        if lost := reasons.get((source, name)):
            what = f"{plural(count, 'line')}; {_counts(lost)}, the first at {first[source, name]}"
        rows.append(f"{config.sources[source].name}: {name}: {what}")
    # Files that gave the most are told first; of a corpus of thousands the others are like them.
    rows = [row for _, row in sorted(zip(lines.values(), rows, strict=True), key=lambda pair: -pair[0])]
    more = [f"and {plural(len(rows) - _FILES, 'more file')}"] if len(rows) > _FILES else []
    summary = "; ".join(told) or "the files hold no record"
    return "\n  ".join([f"no document is left to make examples of: {summary}. What the files gave:", *rows[:_FILES], *more])


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in Counter(reasons).most_common())


def _place(line: int | None, fault: Fault) -> str:
    return f"byte {fault.position:,}" if line is None else f"line {line:,}"


def too_many_dead_letters(config: JobConfig, selections: StageTable, dead: int, read: int) -> str:
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
            samples.append(f"{config.sources[source].name}: {name} {_place(line, fault)}: {fault.message}")
    return (
        f"{dead:,} of {read:,} documents could not be read ({_counts(reasons)}), more than execution.max_dead_letter_fraction = "
        f"{config.execution.max_dead_letter_fraction:g} allows. All of them are in {files.join(config.output, naming.DEAD_LETTERS)}. "
        "The first:\n  " + "\n  ".join(samples)
    )


def _dead_letters(selections: StageTable) -> Iterable[tuple[int, str, int | None, Fault]]:
    """Yields every dead letter in the order of the text: source, file, line in the file if it is known, fault."""
    lines: dict[tuple[int, str], int] = {}  # of each file, in the blocks so far: a fault counts lines from the beginning of its block
    for selection in selections if selections.numbers("dead_letters").any() else ():
        info = selection.info
        header = stage_file.StageFile(info).header()
        for fault in stage_file.read_faults(info):
            line = lines.get((info.source, fault.file), 0) + fault.line if fault.line else None
            yield info.source, fault.file, line, fault
        for name, count in zip(header["files"], header["lines"], strict=True):
            lines[info.source, name] = lines.get((info.source, name), 0) + count


def write_dead_letters(config: JobConfig, selections: StageTable) -> FileInfo | None:
    """Writes the dead letters of all blocks into one file, in the order of sources, files and places; None where there are none."""
    if not selections.numbers("dead_letters").any():
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
