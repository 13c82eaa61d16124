"""Writes what could not be read, and stops a build that could read too little."""

from __future__ import annotations

import dataclasses
import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from tokenreel.config.build import JobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.format.manifest import file_info
from tokenreel.planning.stage_table import StageTable
from tokenreel.sources import file_counts, losses
from tokenreel.sources.fault_log import Fault
from tokenreel.sources.file_counts import FileCounts
from tokenreel.staging import stage_file
from tokenreel.staging.columns import StageInfo
from tokenreel.storage import files, placing, pooled
from tokenreel.storage.placing import Placing
from tokenreel.wording import plural

_FILES = 12  # named in a message, which fits a screen


def check(
    config: JobConfig, work: Workspace, inputs: Mapping[str, Any], selections: StageTable, note: Callable[[str], object] = str
) -> None:
    """Writes the dead letters, and stops a build that could read too little, or of whose text nothing is left.

    Called when all text is tokenized and nothing is planned yet: what was lost is then the first thing that a user reads.

    Args:
      config: the settings of the build.
      work: where it writes.
      inputs: the files and bytes of each source, as the listing found them.
      selections: all stage files, sorted as the text lies.
      note: told what is lost and allowed.

    Raises:
      BuildError: too much could not be read, a file or a source gave no document, or none is left; says which file gave what.
    """
    found = losses.start(inputs)
    kept = selections.numbers("documents")
    for source, loss in enumerate(found):
        own = selections.of_source(source)
        loss.documents = int(kept[own].sum()) + sum(selections.summed("filtered", own).values())
    letters = DeadLetters(config, selections, work)
    for account in without_documents(_added(letters.write(), found)):
        found[account.source].add_empty([(account.name, account.dead_letters)], 1)
    if letters.cut:
        note(letters.cut)
    if not kept.any():
        raise BuildError(_nothing_left(letters, selections.summed("filtered")))
    losses.check_fraction(found, config.execution, letters.where)
    losses.check_empty(found, config.execution, note, letters.where)


@dataclasses.dataclass
class FileAccount:
    """What became of the documents of one file.

    Attributes:
      source: index of its source.
      name: its name in the source.
      lines: lines that were read of it.
      documents: documents that could be read, whatever filters made of them.
      dead_letters: documents that could not be read, by reason.
      lost_bytes: about how many of its bytes on disk could not be read.
      first: places and messages of the first that could not be read.
    """

    source: int
    name: str
    lines: int = 0
    documents: int = 0
    dead_letters: Counter[str] = dataclasses.field(default_factory=Counter)
    lost_bytes: int = 0
    first: list[str] = dataclasses.field(default_factory=list)


def _added(accounts: Iterable[FileAccount], found: Sequence[losses.SourceLoss]) -> Iterator[FileAccount]:
    """Adds what files gave to the losses of their sources, and passes them on."""
    for account in accounts:
        loss = found[account.source]
        loss.dead_letters.update(account.dead_letters)
        loss.lost_bytes += account.lost_bytes
        if account.dead_letters:
            loss.add_first(f"{account.name} {place}" for place in account.first)
        yield account


def without_documents(accounts: Iterable[FileAccount]) -> Iterator[FileAccount]:
    """Picks the files that gave dead letters alone. What members of an archive gave, before its damage or behind it, it gave itself."""
    gave: set[str] = set()  # the last file that gave a document, and the archives around it
    held: FileAccount | None = None  # gave none so far; its members may
    for account in accounts:
        archives = set(losses.archives_of(account.name))
        if held is not None and (account.source != held.source or held.name not in archives):
            yield held
            held = None
        if account.documents:
            gave, held = {account.name, *archives}, None
        elif account.dead_letters and not losses.is_refused(account.dead_letters) and account.name not in gave:
            if held is None:
                held = account
            else:
                yield account
    if held is not None:
        yield held


class DeadLetters:
    """What could not be read, told by the stage files as the text lies; holds one file of text at a time."""

    def __init__(self, config: JobConfig | TokenizerJobConfig, selections: StageTable, work: Workspace) -> None:
        self.config, self._selections = config, selections
        self._work = work
        self._faulty = set(selections.numbers("source")[selections.numbers("dead_letters") > 0].tolist())
        self._path = files.join(config.output, naming.DEAD_LETTERS)
        self._listed: Counter[tuple[int, str]] = Counter()
        self._total: Counter[tuple[int, str]] = Counter()

    @property
    def cut(self) -> str:
        """Says how many were written, where that is not all of them."""
        listed, total = self._listed.total(), self._total.total()
        if listed == total:
            return ""
        return f"{listed:,} of {total:,} dead letters are listed, the first of each reason as sources.dead_letters_kept says"

    @property
    def where(self) -> str:
        """Says where the dead letters are."""
        if not self._faulty:
            return ""
        return f" The first of each reason are in {self._path}." if self.cut else f" All of them are in {self._path}."

    def write(self) -> Iterator[FileAccount]:
        """Writes the dead letters, and yields what each file gave, of the sources of which something could not be read.

        Of each source and reason the first are listed, as many as `sources.dead_letters_kept` says; a line at the end counts the others.
        """
        if not self._faulty:
            return
        self._work.shards.ready()
        path = self._work.unplaced(naming.DEAD_LETTERS, self._selections.identity)
        with files.write_atomic(path) as file:
            yield from self.files(self._faulty, file)
            for (source, reason), count in (self._total - self._listed).items():
                own = self.config.sources[source]
                message = f"{count:,} more are counted and not listed: sources.dead_letters_kept is {own.dead_letters_kept:,}"
                _write(file, {"source": own.name, "reason": reason, "not_listed": count, "message": message})
        info = file_info(self.config.output, naming.DEAD_LETTERS, path)
        placing.place(self._work.dataset, [Placing(path, info.file, info.bytes, info.crc32c)])

    def files(self, sources: set[int], file: IO[bytes] | None = None) -> Iterator[FileAccount]:
        """Yields what files of some sources gave, in the order of the text.

        Args:
          sources: their indices.
          file: where to write the dead letters. Then only stage files that hold any are opened: those of the files passed over that could
            all be read, and lie inside of one stage file. Without it all files are told of, from the headers of all stage files.
        """
        account: FileAccount | None = None
        for source, counts, found in self._told(sources, whole=file is None):
            faults: dict[str, list[Fault]] = {}
            for fault in found:
                faults.setdefault(fault.file, []).append(fault)
            for name, lines, documents, dead_letters, lost_bytes in counts:
                if account is None or (account.source, account.name) != (source, name):
                    if account is not None:
                        yield account
                    account = FileAccount(source, name)
                self._list(faults.get(name, ()), account, file)
                for reason, count in dead_letters.items() if file is not None else ():
                    self._total[source, reason] += count
                account.lines += lines
                account.documents += documents
                account.dead_letters.update(dead_letters)
                account.lost_bytes += lost_bytes
        if account is not None:
            yield account

    def _told(self, sources: set[int], *, whole: bool) -> Iterator[tuple[int, Sequence[FileCounts], Sequence[Fault]]]:
        """Yields the source of each stage file, what it gave of its files, and the dead letters in it.

        The stage table tells of stage files without dead letters, unless it is asked for the `whole` of them.
        """
        table = self._selections
        of, outer = table.numbers("source"), table.columns.arrays.get("outer_files", np.zeros(len(table), dtype="S1"))
        known = np.zeros(len(table), dtype=bool) if whole else (table.numbers("dead_letters") == 0) & (outer != b"")
        rows = np.flatnonzero(np.isin(of, list(sources))).tolist()
        faulty = [row for row in rows if not known[row]]
        remote = bool(faulty) and files.is_remote(table[faulty[0]].info.path)
        opened = pooled.each(_read, (table[row].info for row in faulty), remote=remote)
        for row in rows:
            counts, faults = (file_counts.read(outer[row]), ()) if known[row] else next(opened)
            yield int(of[row]), counts, faults

    def _list(self, faults: Sequence[Fault], account: FileAccount, file: IO[bytes] | None) -> None:
        """Writes dead letters of a file, as long as their reasons have not been listed often enough."""
        source = self.config.sources[account.source]
        for fault in faults:
            # A fault counts lines from the beginning of its block.
            line = account.lines + fault.line if fault.line else None
            if len(account.first) < losses.SHOWN:
                place = f"byte {fault.position:,}" if line is None else f"line {line:,}"
                account.first.append(f"{place}: {losses.shorten(fault.message)}")
            if file is None or self._listed[account.source, fault.reason] == source.dead_letters_kept:
                continue
            self._listed[account.source, fault.reason] += 1
            about = {"source": source.name, "file": fault.file, "line": line, "position": fault.position}
            _write(file, {**about, "reason": fault.reason, "message": fault.message, "excerpt": fault.excerpt})


def _read(info: StageInfo) -> tuple[Sequence[FileCounts], Sequence[Fault]]:
    """Reads what a stage file says of the files that its text is from, and the dead letters in it, whose place the stage table has."""
    return file_counts.of_header(stage_file.StageFile(info).header()), stage_file.read_faults(info) if info.dead_letters else ()


def _write(file: IO[bytes], letter: Mapping[str, Any]) -> None:
    file.write(json.dumps(letter, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")


def _nothing_left(letters: DeadLetters, filtered: Mapping[str, int]) -> str:
    """Says of each file what became of its documents, in one screen: the message of an error."""
    sources = letters.config.sources
    dead: Counter[str] = Counter()
    number = 0

    def seen() -> Iterator[FileAccount]:
        nonlocal number
        for account in letters.files(set(range(len(sources)))):
            number += 1
            dead.update(account.dead_letters)
            yield account

    # Files that gave the most are told first; of a corpus of thousands the others are like them.
    largest = heapq.nlargest(_FILES, seen(), key=lambda account: account.lines)
    told = [f"filters left out {sum(filtered.values()):,} ({losses.counts(filtered)})"] if filtered else []
    told += [f"{dead.total():,} could not be read;{letters.where.rstrip('.').replace('All', 'all').replace('The', 'the')}"] if dead else []
    rows = []
    for account in largest:
        what = f"{plural(account.lines, 'line')}; nothing that could not be read" if account.lines else "empty"
        if account.dead_letters:
            what = f"{plural(account.lines, 'line')}; {losses.counts(account.dead_letters)}, the first at {account.first[0]}"
        rows.append(f"{sources[account.source].name}: {account.name}: {what}")
    more = [f"and {plural(number - _FILES, 'more file')}"] if number > _FILES else []
    summary = "; ".join(told) or "the files hold no record"
    return "\n  ".join([f"no document is left to make examples of: {summary}. What the files gave:", *rows, *more])
