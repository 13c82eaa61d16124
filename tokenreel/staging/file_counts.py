"""What a stage file gave of each file of text in it, and as much of that as fits the stage table.

Dead letters name lines from the beginning of their file, and a file that gave nothing else is told: both depend on stage files around the
one with the dead letter, which has files in common with it only at its ends. So the table tells of each stage file without dead letters
what lies at its ends, and only stage files with dead letters are opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
    columns = (header[name] for name in ("files", "lines", "read", "dead_letters_by_file", "lost_bytes"))
    return [FileCounts(*values) for values in zip(*columns, strict=True)]


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
