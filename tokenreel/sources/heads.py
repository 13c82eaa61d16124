"""Looks at the first bytes of all files before a job starts: what the format cannot be is refused at once, odd names are told.

Workers look again, at every file that they open. A look costs a request for each object, so that of a bucket's objects only the first
`OBJECTS` of a source are looked at here.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator, Sequence

from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources import folders, kinds, opening
from tokenreel.sources.inputs import InputFile
from tokenreel.storage import files
from tokenreel.wording import plural

OBJECTS = 1000  # of a source, looked at before the start
_NAMED = 3  # files that a message names
_AT_ONCE = 16  # requests, or reads of a disk that may be far away
_BATCH = 1024  # files whose heads are held at once
_TOGETHER = 32  # local files that one thread reads before it hands them over, which costs more than reading one


def check(source: SourceConfig, listed: Sequence[InputFile]) -> list[str]:
    """Looks at the files of a source.

    Returns:
      What is odd and no error, each a line: files that are read as something else than their names say.

    Raises:
      SourceError: some files are nothing that the source's format can be, or cannot be read. Names the first, and says how many there are.
    """
    refused: list[str] = []
    odd: list[str] = []
    local = [file for file in listed if not files.is_remote(file.path)]
    remote = [file for file in listed if files.is_remote(file.path)]
    for file, head in _heads([*local, *remote[:OBJECTS]]):
        try:
            contents = opening.unpack(iter([head]), file, source)
        except SourceError as error:
            refused.append(str(error))
            continue
        said, found = kinds.named(file.name), opening.compression_of(head, file.name)
        if said != found:
            odd.append(f"{file.path} is {found.title if found else 'not compressed'}")
        elif contents.kind is not None and folders.named_otherwise(file.name, source):
            odd.append(f"{file.path} is {contents.kind.title}")
    if refused:
        more = f"\n  Refused for its first bytes too: {plural(len(refused) - 1, 'other file')} of the source." if len(refused) > 1 else ""
        raise SourceError(refused[0] + more)
    if not odd:
        return []
    more = f", and {len(odd) - _NAMED:,} more" if len(odd) > _NAMED else ""
    return [f"source {source.name!r}: read as what the first bytes say, not the names: {', '.join(odd[:_NAMED])}{more}."]


def _heads(wanted: Sequence[InputFile]) -> Iterator[tuple[InputFile, bytes]]:
    """Reads the first bytes of files, several at a time, in their order."""
    if len(wanted) < _AT_ONCE:
        yield from ((file, opening.read_head(file)) for file in wanted)
        return
    with concurrent.futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(wanted), _BATCH):
            batch = wanted[start : start + _BATCH]
            size = 1 if files.is_remote(batch[0].path) else _TOGETHER
            parts = [batch[first : first + size] for first in range(0, len(batch), size)]
            for part, found in zip(parts, pool.map(_read_heads, parts), strict=True):
                yield from zip(part, found, strict=True)


def _read_heads(part: Sequence[InputFile]) -> list[bytes]:
    return [opening.read_head(file) for file in part]
