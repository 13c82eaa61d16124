"""The token cache: says which stage files people keep (`execution.stage`), which of them a config would find, and which may go.

A stage file is named by a hash of everything that its content depends on (`identity.fingerprint`). A build looks for that name, so tokens
of another input, filter or vocabulary are never found; they are only left over. What nobody can see is a local file whose bytes were
changed without the system's clock moving or beneath the file system (a disk image that is edited, a clock that is set back).

Tested in tests/pipelines/test_token_cache.py.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import enum
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenreel.config.build import JobConfig
from tokenreel.curation.filters import load_rules
from tokenreel.errors import ConfigError
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.inputs import Block, FileRange
from tokenreel.staging import identity, stage_file
from tokenreel.storage import files
from tokenreel.storage.files import ABANDONED_SECONDS
from tokenreel.vocabularies.loading import open_vocabulary
from tokenreel.vocabularies.sampled import sampled

_NAME = re.compile(r"^(?P<block>[0-9a-f]{32})-(?P<part>\d{5,})\.stage$")
THREADS = 32  # requests to a bucket at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """A file that a build left in a stage directory.

    Attributes:
      path: where it lies.
      name: its path in the directory.
      bytes: its size.
      used: seconds since 1970 when it was last written or, to the day, used.
      state: whether a build can use it.
      block: the name of its block, "" for a temporary file.
      part: index of its part in the block.
      last: whether it is the block's last part.
      documents: number of documents in it.
      tokens: number of tokens in it.
      about: how it was made, as `identity.describe` says.
      version: the version of its format.
    """

    class State(enum.Enum):
        """What became of a write."""

        SOUND = "sound"  # it ended, and the file is as long as its header says
        DAMAGED = "damaged"  # no header, cut short, or of another version
        TEMPORARY = "temporary"  # it has not ended, or never will

    path: str
    name: str
    bytes: int
    used: float
    state: State
    block: str = ""
    part: int = 0
    last: bool = False
    documents: int = 0
    tokens: int = 0
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    version: str = ""

    @property
    def group(self) -> tuple[str, str, str, str, str]:
        """Names what is listed together: source, vocabulary, filters, sentences, version."""
        about = self.about
        kind, vocabulary = about.get("vocabulary_kind", "?"), about.get("vocabulary", "?")
        filters = ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(about.get("filters", {}).items())) or "-"
        return about.get("source", "?"), f"{kind} {vocabulary}", filters, about.get("sentences") or "-", self.version or "?"


def read(directory: str) -> tuple[list[Entry], int]:
    """Lists the stage files of a directory, and counts the files in it that no build wrote.

    Reads the header of each file: one request each for `gs://`, 32 at a time.

    Args:
      directory: an `execution.stage` directory, local or `gs://`.
    """
    found = files.list_files(directory)
    ours = [name for name in found if _NAME.match(files.TEMPORARY.sub("", name))]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        entries = list(pool.map(lambda name: _entry(directory, name, found[name]), ours))
    return [entry for entry in entries if entry is not None], len(found) - len(ours)


def _entry(directory: str, name: str, size: int) -> Entry | None:
    """Examines a file of the size that the listing told."""
    path = files.join(directory, name)
    known: dict[str, Any] = {"path": path, "name": name, "bytes": size, "used": time.time() - files.age(path)}
    match = _NAME.match(name)
    if match is None:
        return Entry(**known, state=Entry.State.TEMPORARY)
    known |= {"block": match["block"], "part": int(match["part"])}
    header = stage_file.read_header(path)
    if header is None:
        return Entry(**known, state=Entry.State.DAMAGED)
    fields, body = header
    current = fields.get("version") == identity.VERSION and "extents" in fields
    sound = current and body + fields.get("bytes", -1) == size and fields.get("part") == known["part"]
    facts = {field: fields.get(field, 0) for field in ("documents", "tokens")}
    about, version = fields.get("about", {}), str(fields.get("version", ""))
    state = Entry.State.SOUND if sound else Entry.State.DAMAGED
    return Entry(**known, **facts, state=state, last=bool(fields.get("last")), about=about, version=version)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """What a source of a config finds in a stage directory.

    Attributes:
      source: its name.
      blocks: number of blocks that it is cut into.
      hits: number of blocks whose tokens are all there.
      bytes: size of its files.
      missing_bytes: bytes of the files (compressed or not) that would be read and tokenized.
      names: the names that the stage files of all its blocks have.
    """

    source: str
    blocks: int
    hits: int
    bytes: int
    missing_bytes: int
    names: frozenset[str]


def uses(config: JobConfig, entries: Iterable[Entry]) -> list[Use]:
    """Finds out which blocks of a config are tokenized already. Lists the files of the sources and reads none of them.

    Args:
      config: the config of a build.
      entries: the files of its stage directory.

    Raises:
      ConfigError: what the build would look for is not known before it runs.
      SourceError: a pattern matches no file, or a file cannot be examined.
    """
    if config.duplicates.remove in ("paragraphs", "lines"):
        raise ConfigError(
            f"duplicates.remove: {config.duplicates.remove} decides while the build runs what is left of each block, so nobody can tell "
            "beforehand which stage files it will find. Leave this config out."
        )
    complete = _complete(entries)
    vocabulary = open_vocabulary(config.vocabulary.kind, config.vocabulary.path, config.vocabulary.options)
    vocabulary = sampled(vocabulary, config.vocabulary.sampling, seed=config.seed)
    found = []
    for index, source in enumerate(config.sources):
        rules = load_rules(config.filters_of(index))
        names, hits, total, missing = [], 0, 0, 0
        blocks = list(list_blocks(source, index, config.execution.block_bytes))
        for block, size in zip(blocks, _sizes(blocks), strict=True):
            names.append(identity.name_of(config, block, vocabulary.fingerprint, rules))
            hit = names[-1] in complete
            hits, total, missing = hits + hit, total + size, missing + (0 if hit else size)
        found.append(Use(source=source.name, blocks=len(names), hits=hits, bytes=total, missing_bytes=missing, names=frozenset(names)))
    return found


def _sizes(blocks: Sequence[Block]) -> list[int]:
    """Measures all blocks of a source in bytes of its files, by the share of each file that lies in the block's ranges.

    Ranges count bytes, but row groups in a Parquet file: what a whole file has of either is where its last range ends.
    """
    units = {part.file.path: part.end for block in blocks for part in block.file_ranges if part.end}  # blocks come in the files' order

    def size(part: FileRange) -> int:
        if part.end is None:
            return part.file.size
        whole = units[part.file.path]
        return part.file.size * part.end // whole - part.file.size * part.start // whole

    return [sum(map(size, block.file_ranges)) for block in blocks]


def _complete(entries: Iterable[Entry]) -> set[str]:
    """Finds the blocks of which every part is there; parts are counted from 0, so the last tells how many there must be."""
    parts: Counter[str] = Counter()
    lasts: dict[str, int] = {}
    for entry in entries:
        if entry.state is Entry.State.SOUND:
            parts[entry.block] += 1
            if entry.last:
                lasts[entry.block] = entry.part
    return {block for block, last in lasts.items() if parts[block] == last + 1}


def choose(
    entries: Iterable[Entry],
    *,
    older_than: float | None = None,
    vocabulary: str | None = None,
    source: str | None = None,
    unused_by: Sequence[JobConfig] = (),
    everything: bool = False,
) -> list[Entry]:
    """Picks the files to remove: damaged ones and abandoned temporary ones always, others if every condition that is given holds.

    Args:
      entries: the files of a stage directory.
      older_than: picks files that were not used for so many seconds.
      vocabulary: picks files made with the vocabulary whose fingerprint begins so.
      source: picks files made from the source of this name.
      unused_by: picks files that a build of none of these configs would find.
      everything: picks all files where no condition is given.

    Raises:
      ConfigError: as `uses`, for one of the configs.
    """
    entries = list(entries)
    now = time.time()
    used = {name for config in unused_by for use in uses(config, entries) for name in use.names}
    conditional = everything or older_than is not None or vocabulary is not None or source is not None or bool(unused_by)
    chosen = []
    for entry in entries:
        idle = now - entry.used
        if entry.state is not Entry.State.SOUND:  # a file that is just being written is neither damaged nor abandoned
            remove = entry.state is Entry.State.DAMAGED or idle > ABANDONED_SECONDS
        else:
            remove = (
                conditional
                and (older_than is None or idle > older_than)
                and (vocabulary is None or str(entry.about.get("vocabulary", "")).startswith(vocabulary))
                and (source is None or entry.about.get("source") == source)
                and not (unused_by and entry.block in used)
            )
        if remove:
            chosen.append(entry)
    return chosen
