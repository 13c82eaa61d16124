"""A finished dataset to one report on it.

Tested in tests/pipelines/test_verify.py.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping

import apache_beam as beam

from tokenreel.errors import ManifestError
from tokenreel.inspection import parts
from tokenreel.inspection.document_checks import DocumentFindings
from tokenreel.inspection.parts import NONSENSE, Facts, ShardPart, describe_nonsense
from tokenreel.inspection.tally import Tally
from tokenreel.inspection.verification import compare
from tokenreel.storage import column_file, files, pooled
from tokenreel.storage.claims import Folder
from tokenreel.storage.column_file import ColumnFile, Columns, Row
from tokenreel.storage.stored_value import StoredValue
from tokenreel.wording import plural
from transforms.gather_rows import GatherRows

REPORT = "report.jsonl"
_TOLD = 20  # differences in the error of a job
Tallies = Mapping[str, Tally]  # by split
Documents = Mapping[tuple[str, int], DocumentFindings]  # by split and variant


@dataclasses.dataclass
class VerifyDataset(beam.PTransform):
    """Checks each shard and each range of documents by itself, and writes what a check in one process says, line for line.

    Takes any one element; emits the path of the report, whose lines are JSON: `line`, or `note` for what could not be checked. Differences
    lie in files until then, and so do counts: no element grows with the dataset.
    """

    facts: StoredValue[Facts]
    folder: Folder

    def expand(self, once: beam.PCollection[None]) -> beam.PCollection[str]:
        checked = (
            once
            | "Shards" >> beam.FlatMap(self._shards)  # (split, shard)
            | "SpreadShards" >> beam.Reshuffle()
            | "CheckShard" >> beam.Map(self._check_shard)  # (row, rows of ranges, {split: Tally})
        )
        shards = checked | "TakeRows" >> beam.Map(lambda each: each[0]) | "CollectShards" >> self._gather("shards", parts.SHARDS_BY)
        ranges = checked | "TakeRanges" >> beam.FlatMap(lambda each: each[1]) | "CollectRanges" >> self._gather("ranges", parts.RANGES_BY)
        tallies = checked | "TakeTallies" >> beam.Map(lambda each: each[2]) | "AddTallies" >> beam.CombineGlobally(AddTallies(self.folder))
        tables = [beam.pvalue.AsSingleton(shards), beam.pvalue.AsSingleton(ranges)]
        documents = (
            once
            | "CutRanges" >> beam.FlatMap(self._cut, tables[1])  # (begin, end): rows of the table of ranges
            | "SpreadRanges" >> beam.Reshuffle()
            | "CheckRange" >> beam.Map(self._check_range, *tables)  # ((split, variant), DocumentFindings)
            | "AddRanges" >> beam.CombinePerKey(_add)
        )
        found = [beam.pvalue.AsSingleton(tallies), beam.pvalue.AsDict(documents)]
        return once | "WriteReport" >> beam.Map(self._report, tables[0], *found)

    def _gather(self, stem: str, sort_by: tuple[str, ...]) -> beam.PTransform:
        return beam.CombineGlobally(GatherRows(_as_it_is, self.folder, stem, sort_by))

    def _shards(self, _: None) -> Iterator[tuple[str, int]]:
        facts = self.facts.load()
        for split, info in facts.manifest.splits.items():
            yield from ((split, index) for index in range(len(info.shards)))

    def _check_shard(self, shard: tuple[str, int]) -> tuple[Row, list[Row], Tallies]:
        facts, (split, index) = self.facts.load(), shard
        part = ShardPart(facts, split, index)
        said: list[dict[str, str]] = []
        try:
            for line in part.check(lambda note: said.append({"note": note})):
                said.append({"line": line})
        except NONSENSE as error:
            said.append({"end": describe_nonsense(facts.called, error)})
        if said:
            files.write_bytes(self.path_of(split, index), "".join(f"{json.dumps(each)}\n" for each in said).encode())
        return {**part.row(), "said": int(bool(said))}, list(part.ranges()), {split: part.tally}

    def path_of(self, split: str, index: int) -> str:
        """Says where the differences of a shard lie, if it has any."""
        return files.join(self.folder.path, f"{split}-{index:08d}.jsonl")

    def _cut(self, _: None, ranges: ColumnFile) -> Iterator[tuple[int, int]]:
        yield from parts.cut_ranges(column_file.read(ranges))

    def _check_range(self, bounds: tuple[int, int], shards: ColumnFile, ranges: ColumnFile) -> tuple[tuple[str, int], DocumentFindings]:
        split, variant, found = parts.check_range(self.facts.load(), column_file.read(shards), column_file.read(ranges), *bounds)
        return (split, variant), found

    def _report(
        self, _: None, shards: ColumnFile, tallies: StoredValue[Tallies], documents: Mapping[tuple[str, int], DocumentFindings]
    ) -> str:
        facts = self.facts.load()
        path = files.join(self.folder.path, REPORT)
        with files.write_atomic(path) as file:

            def write(kind: str, text: str) -> None:
                file.write(f"{json.dumps({kind: text})}\n".encode())

            def note(text: str) -> None:
                write("note", text)

            try:
                for line in compare(facts, _Gathered(self, column_file.read(shards), tallies.load(), documents, note), note):
                    write("line", line)
            except _EndError as error:
                write("line", str(error))
            except NONSENSE as error:
                write("line", describe_nonsense(facts.called, error))
        return path


@dataclasses.dataclass
class ConcludeReport(beam.PTransform):
    """Ends a check that nobody waits for: the job fails over a difference, and keeps the report; without one its folder is removed.

    Takes the path of the report.
    """

    called: str
    folder: Folder

    def expand(self, report: beam.PCollection[str]) -> beam.PCollection[None]:
        # Behind a shuffle, so that the steps before are never asked for again: they read what is removed here.
        return (
            report | "Conclude" >> beam.Map(self._conclude) | "AfterReport" >> beam.Reshuffle() | "RemoveFolder" >> beam.Map(self._remove)
        )

    def _conclude(self, report: str) -> None:
        with files.open_read(report) as file:
            lines = [said["line"] for said in map(json.loads, file) if "line" in said]
        if lines:
            told = "; ".join(lines[:_TOLD])
            raise ManifestError(f"{self.called}: {plural(len(lines), 'difference')}, all of which {report} lists: {told}")

    def _remove(self, _: None) -> None:
        pooled.remove_tree(self.folder.path)


class AddTallies(beam.CombineFn):
    """Adds what the shards of each split hold: counts by token id among it, so sums travel as files."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def create_accumulator(self) -> Tallies:
        return {}

    def add_input(self, sums: Tallies | StoredValue[Tallies], element: Tallies) -> Tallies:
        return self.merge_accumulators([sums, element])

    def merge_accumulators(self, accumulators: Iterable[Tallies | StoredValue[Tallies]]) -> Tallies:
        total: dict[str, Tally] = {}
        for each in accumulators:
            for split, tally in (each.load() if isinstance(each, StoredValue) else each).items():
                if split not in total:
                    total[split] = Tally(tally.settings)  # what is stored does not change
                total[split].merge(tally)
        return total

    def compact(self, sums: Tallies | StoredValue[Tallies]) -> StoredValue[Tallies]:
        return sums if isinstance(sums, StoredValue) else StoredValue.store(self._folder.ready(), "tallies", sums)

    def extract_output(self, sums: Tallies | StoredValue[Tallies]) -> StoredValue[Tallies]:
        return self.compact(sums)


class _EndError(Exception):
    """What ended the check of a shard, and ends the report."""


class _Gathered:
    """What the steps of the job found, as `compare` asks for it."""

    def __init__(
        self,
        job: VerifyDataset,
        shards: Columns,
        tallies: Tallies,
        documents: Documents,
        note: Callable[[str], None],
    ) -> None:
        self._job, self._shards, self._tallies, self._documents, self._note = job, shards, tallies, documents, note

    def lines(self, split: str) -> Iterator[str]:
        facts, rows = self._job.facts.load(), self._shards
        said = (rows.numbers("split") == facts.splits.index(split)) & (rows.numbers("said") > 0)
        for index in rows.numbers("shard")[said].tolist():
            with files.open_read(self._job.path_of(split, index)) as file:
                for line in file:
                    ((kind, text),) = json.loads(line).items()
                    if kind == "end":
                        raise _EndError(text)
                    if kind == "line":
                        yield text
                    else:
                        self._note(text)

    def tally(self, split: str) -> Tally:
        return self._tallies.get(split) or Tally(self._job.facts.load().settings)

    def shards(self) -> Columns:
        return self._shards

    def documents(self, split: str) -> dict[int, DocumentFindings]:
        return {variant: found for (name, variant), found in self._documents.items() if name == split}


def _as_it_is(row: Row) -> Row:
    return row


def _add(found: Iterable[DocumentFindings]) -> DocumentFindings:
    return sum(found, DocumentFindings())
