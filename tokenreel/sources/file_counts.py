"""What a stage file gave of each file of text in it, and as much of that as fits the stage table.

Dead letters name lines from the beginning of their file, and a file that gave nothing else is told: both depend on stage files around the
one with the dead letter, which has files in common with it only at its ends. So the table tells of each stage file without dead letters
what lies at its ends, and only stage files with dead letters are opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tokenreel.sources.documents import Documents

_HEADER = ("files", "lines", "read", "dead_letters_by_file", "lost_bytes")  # the attributes of `FileCounts`, in its order
_LONGEST = 1024  # bytes of a value in the stage table, where each row has room for the longest of all


class FileCounts(NamedTuple):
    """What a stage file gave of a file of text.

    Attributes:
      name: of the file in its source.
      lines: that were read of it.
      documents: that could be read, whatever filters made of them.
      dead_letters: documents that could not be read, by reason.
      lost_bytes: about how many of its bytes on disk could not be read.
    """

    name: str
    lines: int
    documents: int
    dead_letters: Mapping[str, int] = {}
    lost_bytes: int = 0


def of_header(header: Mapping[str, Any]) -> list[FileCounts]:
    """Gives what the header of a stage file tells of each file, as the text lies."""
    return [FileCounts(*values) for values in zip(*(header[name] for name in _HEADER), strict=True)]


def of_documents(documents: Documents) -> list[FileCounts]:
    """Counts what was read of each file, whatever filters make of it."""
    dead_letters = [dict(sorted(found.items())) for found in documents.dead_letters]
    columns = (documents.files, documents.lines, documents.count_by_file(), dead_letters, map(round, documents.lost_bytes))
    return [FileCounts(*values) for values in zip(*columns, strict=True)]


def to_header(counts: Sequence[FileCounts]) -> dict[str, Any]:
    """Gives what a header tells, as `of_header` reads it."""
    columns = zip(*counts, strict=True) if counts else [()] * len(_HEADER)
    return dict(zip(_HEADER, map(list, columns), strict=True))


def outer(header: Mapping[str, Any]) -> str:
    """Writes down the ends of a stage file without dead letters: its first and its last file, and the same of those that gave documents.

    The latter tell whether members of an archive gave anything, whatever lies around them.

    Returns:
      JSON for `read`, of a size that does not depend on the number of files; "" where the header itself has to be read.

    >>> names = ["a", "b", "c", "d", "e", "f"]
    >>> header = {"files": names, "lines": [1, 2, 3, 4, 5, 6], "read": [0, 2, 3, 4, 0, 0]}
    >>> outer(header | {"dead_letters_by_file": [{}] * 6, "lost_bytes": [0] * 6})
    '[["a",1,0],["b",2,2],["d",4,4],["f",6,0]]'
    """
    found = of_header(header)
    if any(each.dead_letters or each.lost_bytes for each in found):
        return ""
    gave = [index for index, each in enumerate(found) if each.documents]
    ends = sorted({0, *gave[:1], *gave[-1:], len(found) - 1}) if found else []
    told = json.dumps([found[index][:3] for index in ends], ensure_ascii=True, separators=(",", ":"))
    return told if len(told) <= _LONGEST else ""


def read(told: str | bytes) -> Sequence[FileCounts]:
    """Gives what `outer` wrote down."""
    return [FileCounts(*values) for values in json.loads(told)]
