"""`tokenreel verify`: compares every byte and every number of a dataset with its manifest, and lists what differs.

Everything is recomputed from the bytes, apart from the code that built them: the files and their CRCs, the frame and both CRCs of every
record, the values, the vocabulary's fingerprint, the statistics, and the provenance tables. Shards are read in chunks, and documents are
looked at some at a time: memory grows with the number of shards alone, by some hundred bytes for each.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from tokenreel.errors import TokenreelError
from tokenreel.format import manifest as manifests
from tokenreel.format import naming, shard_table
from tokenreel.format.manifest import Manifest
from tokenreel.inspection import parts
from tokenreel.inspection.beside_checks import check_file, check_names, check_opened, count_dead_letters, open_vocabulary, read_statistics
from tokenreel.inspection.document_checks import DocumentFindings
from tokenreel.inspection.objective_settings import read_settings
from tokenreel.inspection.parts import NONSENSE, Facts, ShardPart, describe_nonsense
from tokenreel.inspection.shard_check import COPY_AGAIN
from tokenreel.inspection.statistics_checks import check_sources, check_split
from tokenreel.inspection.tally import Tally
from tokenreel.inspection.totals_checks import check_settings, check_task_rows, check_totals
from tokenreel.storage import files
from tokenreel.storage.column_file import Columns, Row
from tokenreel.vocabularies.base import Vocabulary


def verify(directory: str) -> list[str]:
    """Checks a whole dataset, local or `gs://`.

    Returns:
      A line for each difference; none for a sound dataset.
    """
    return list(differences(directory))


def differences(
    directory: str,
    note: Callable[[str], None] = lambda line: None,
    progress: Callable[[str], None] = lambda line: None,
    conclude: Callable[[Facts], Iterator[str]] | None = None,
) -> Iterator[str]:
    """Yields the differences as they are found; numbers that make no sense at all end it.

    Args:
      directory: holds the dataset.
      note: is told what could not be checked, for lack of an optional package or because the records do not tell it.
      progress: is told what is being read.
      conclude: checks the shards and all that follows from them; by default here, one shard after the other.
    """
    try:
        manifest = manifests.read(directory)
    except TokenreelError as error:
        yield str(error)
        return
    try:
        facts = yield from _begin(directory, manifest, note)
        yield from compare(facts, _Here(facts, note, progress), note) if conclude is None else conclude(facts)
    except NONSENSE as error:
        yield describe_nonsense(directory, error)


def quick_differences(directory: str) -> Iterator[str]:
    """Yields what a single listing tells: names and sizes of all files and, in a bucket, the CRC32C that it keeps of each object.

    Reads the manifest and nothing else.
    """
    try:
        manifest = manifests.read(directory)
        present = files.list_with_crc32c(directory)
    except TokenreelError as error:
        yield str(error)
        return
    yield from check_names(manifest, {name: size for name, (size, _) in present.items()})
    for name, (wanted, crc) in manifest.checksums().items():
        size, found = present.get(name, (None, None))
        if size == wanted and found is not None and found != crc:
            yield f"{name}: crc32c is {found:#010x}, the manifest says {crc:#010x}. {COPY_AGAIN}"


def _begin(directory: str, manifest: Manifest, note: Callable[[str], None]) -> Generator[str, None, Facts]:
    """Checks all that stands beside the shards, and gives what their checks have to know."""
    present = files.list_files(directory)  # once: for a bucket each listing costs requests
    yield from check_names(manifest, present)
    intact: set[str] = set()
    # The tables of shards are checked with them.
    for info in shard_table.unlisted({split: each.shards for split, each in manifest.splits.items()}, manifest.files):
        if info.file in present and (yield from check_file(directory, info)):
            intact.add(info.file)
    vocabulary = open_vocabulary(directory, manifest, intact)
    yield from check_opened(manifest, vocabulary, note)
    yield from check_settings(manifest)
    there = {}
    for split, each in manifest.splits.items():
        tables = (naming.provenance(split, index, len(each.shards)) for index in range(len(each.shards)))
        there[split] = np.array([[shard.file in present for shard in each.shards], [name in present for name in tables]], dtype=np.bool_)
    return Facts(
        directory=directory,
        called=directory,
        manifest=manifest,
        settings=read_settings(manifest, vocabulary if isinstance(vocabulary, Vocabulary) else None),
        statistics=read_statistics(directory, intact),
        letters=count_dead_letters(directory, manifest, intact),
        present=there,
    )


class Checked(Protocol):
    """What the parts of a check found, split by split."""

    def lines(self, split: str) -> Iterator[str]:
        """Yields the differences of each shard, in their order."""

    def tally(self, split: str) -> Tally:
        """Gives what the shards of the split hold, once all lines are read."""

    def shards(self) -> Columns:
        """Gives the rows of the shards read so far, at least."""

    def documents(self, split: str) -> Mapping[int, DocumentFindings]:
        """Gives what is wrong with the documents of each variant."""


def compare(facts: Facts, checked: Checked, note: Callable[[str], None]) -> Iterator[str]:
    """Yields the differences of the shards, and then those of all that follows from several of them: in one order, wherever they ran."""
    tallies = {}
    for split in facts.splits:
        yield from checked.lines(split)
        tallies[split] = tally = checked.tally(split)
        shards = checked.shards()
        yield from parts.check_neighbours(facts, split, shards)
        found = checked.documents(split)
        for _, findings in sorted(found.items()):
            yield from findings.sentences(split)
        parts.count_variants(facts, split, shards, found, tally)
        if tally.complete and not tally.restored and not manifests.holds_task_rows(facts.manifest):
            note(f"split {split}: the records do not tell what stood before the objective, so counts of tokens are not compared")
    if facts.statistics is not None:
        yield from _check_statistics(facts, facts.statistics, tallies)


class _Here:
    """Checks one shard after the other, in this process."""

    def __init__(self, facts: Facts, note: Callable[[str], None], progress: Callable[[str], None]) -> None:
        self._facts, self._note, self._progress = facts, note, progress
        self._rows: list[Row] = []
        self._ranges: list[Row] = []
        self._tallies: dict[str, Tally] = {}

    def lines(self, split: str) -> Iterator[str]:
        self._rows, self._ranges = [], []
        self._tallies[split], self._documents = Tally(self._facts.settings), parts.DocumentsInOrder(self._facts, split)
        for index, shard in enumerate(self._facts.manifest.splits[split].shards):
            self._progress(shard.file)
            part = ShardPart(self._facts, split, index)
            yield from part.check(self._note)
            self._tallies[split].merge(part.tally)
            self._rows.append(part.row())
            self._ranges.extend(part.ranges())
            self._documents.add(part, index)
        self._shards = Columns.of_rows(self._rows)

    def tally(self, split: str) -> Tally:
        return self._tallies[split]

    def shards(self) -> Columns:
        return self._shards

    def documents(self, split: str) -> dict[int, DocumentFindings]:
        if (looked := self._documents.findings()) is not None:
            return looked
        found: dict[int, DocumentFindings] = {}
        shards, ranges = self._shards, Columns.of_rows(self._ranges)
        ranges = ranges.take(np.lexsort([ranges.numbers(name) for name in reversed(parts.RANGES_BY)]))
        for begin, end in parts.cut_ranges(ranges):
            _, variant, findings = parts.check_range(self._facts, shards, ranges, begin, end)
            found[variant] = found.get(variant, DocumentFindings()) + findings
        return found


def _check_statistics(facts: Facts, statistics: Mapping[str, Any], tallies: Mapping[str, Tally]) -> Iterator[str]:
    """Compares `statistics.json` with what the records hold. Splits with damaged records were named already."""
    manifest, letters = facts.manifest, facts.letters
    name, splits = naming.STATISTICS, statistics["splits"]
    if set(splits) != set(manifest.splits):
        yield f"{name}: describes the splits {', '.join(sorted(splits))}, the manifest {', '.join(sorted(manifest.splits))}"
        return
    complete = {split: tally for split, tally in tallies.items() if tally.complete}
    if manifests.holds_task_rows(manifest):
        yield from check_task_rows(manifest, splits, {split: tally.examples for split, tally in complete.items()})
        return
    for split, tally in complete.items():
        yield from check_split(manifest, split, splits[split], tally)
    yield from check_sources(manifest, statistics, complete, letters)
    yield from check_totals(manifest.totals, statistics)
    if letters is not None and sum(letters.values()) != manifest.totals["documents_dead_lettered"]:
        counted = manifest.totals["documents_dead_lettered"]
        yield f"{naming.DEAD_LETTERS}: {sum(letters.values()):,} dead letters, the manifest counts {counted:,}"
