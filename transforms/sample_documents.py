"""Samples the documents of blocks."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation.filters import Rules
from tokenreel.planning import stage_table
from tokenreel.sources import losses
from tokenreel.sources.inputs import Block
from tokenreel.storage import column_file, files
from tokenreel.storage.column_file import ColumnFile, Row
from tokenreel.tokenizer_training import sample, sample_files, sample_plan
from tokenreel.tokenizer_training.sample_plan import Measured, SamplePlan, Totals
from tokenreel.tokenizer_training.texts import read_texts
from transforms.gather_rows import GatherRows
from transforms.workers.saying import say

_FileCounts = tuple[int, Mapping[str, int]]  # documents that could be read, and those that could not by reason


@dataclasses.dataclass
class Sampled:
    """The sample, where its text lies, and what the whole text consists of.

    Attributes:
      table: of the files, as the text lies.
      plan: what is taken of the documents in them.
      totals: of the whole text.
    """

    table: ColumnFile
    plan: SamplePlan
    totals: Totals

    @property
    def parts(self) -> Iterator[tuple[int, str]]:
        """(source, path) of the files."""
        table = column_file.read(self.table)
        for index in range(table.rows):
            row = table.row(index)
            yield row["source"], row["path"]


@dataclasses.dataclass
class _Part:
    """A part of a block and the file written from it: the documents in the first `limit` buckets, "" where there are none.

    Only the first part of a block brings it along, to read it again.
    """

    source: int
    block: int
    part: int
    limit: int
    path: str
    whole: Block | None


@dataclasses.dataclass
class SampleDocuments(beam.PTransform):
    """Finds the documents with the smallest hashes, up to the config's budget, and writes them to files: text never passes the runner.

    A worker guesses from the sizes of the files which documents will be in the sample and writes them while it counts. If the counts show
    that more are needed, the blocks of that source are read again: the sample does not depend on the guess.
    """

    config: TokenizerJobConfig
    rules: Sequence[Rules]
    work: Workspace
    limits: Sequence[int]
    inputs: Mapping[str, Any]

    def expand(self, blocks: beam.PCollection[Block]) -> beam.PCollection[Sampled]:
        config = self.config
        measured = blocks | "MeasureBlock" >> beam.ParDo(_MeasureBlock(config, self.rules, self.work, self.limits)).with_outputs(
            "counts", "files", main="read"
        )
        empty = (
            measured.files  # ((source, file), (documents, dead letters by reason)): of files that are not known to give a document
            | "JoinFiles" >> beam.CombinePerKey(_join_files)
            | "EmptyFiles" >> beam.FlatMapTuple(_empty)  # Measured
        )
        totals = (measured.counts, empty) | beam.Flatten() | "AddUp" >> beam.CombineGlobally(_AddUp(len(config.sources)))  # Totals
        plan = beam.pvalue.AsSingleton(totals | "PlanSample" >> beam.Map(self._plan))  # SamplePlan
        gather = GatherRows(_to_row, self.work.sample, "parts", stage_table.SORT_BY)
        return (
            measured.read  # _Part: paths, never text
            | "CompleteSample" >> beam.FlatMap(self._complete, plan)  # _Part
            | "CollectParts" >> beam.CombineGlobally(gather)  # table of _Part
            | "Sampled" >> beam.Map(Sampled, plan, beam.pvalue.AsSingleton(totals))  # Sampled
        )

    def _plan(self, totals: Totals) -> SamplePlan:
        config = self.config
        sample_plan.check(totals, self.inputs, config.execution, say)
        return sample_plan.plan(totals, config.budget, config.held_out_bytes, config.shares, config.max_document_bytes)

    def _complete(self, read: _Part, plan: SamplePlan) -> Iterator[_Part]:
        limit = plan.limits[read.source]
        if limit <= read.limit:
            parts: Iterable[_Part] = [read]
        elif read.whole is not None:
            parts = (part for *_, part in _measure(read.whole, self.config, self.rules[read.source], self.work, limit))
        else:
            parts = []  # the first part of the block stands for all
        yield from (part for part in parts if part.path)


class _MeasureBlock(beam.DoFn):
    def __init__(self, config: TokenizerJobConfig, rules: Sequence[Rules], work: Workspace, limits: Sequence[int]) -> None:
        self._config, self._rules, self._work, self._limits = config, rules, work, limits
        self._documents = Metrics.counter("tokenreel", "in-documents")

    def process(self, block: Block) -> Iterator[Any]:  # _Part; tagged: Measured, and ((source, file), _FileCounts)
        limit = self._limits[block.source]
        files: dict[str, _FileCounts] = {}
        for measured, found, part in _measure(block, self._config, self._rules[block.source], self._work, limit):
            self._documents.inc(measured.documents)
            yield beam.pvalue.TaggedOutput("counts", measured)
            for name, documents, dead_letters in found:
                files[name] = _join_files([files.get(name, (0, {})), (documents, dead_letters)])
            yield part
        whole = {file_range.file.name for file_range in block.file_ranges if file_range.end is None}
        archives = {archive for name, (documents, _) in files.items() if documents for archive in losses.archives_of(name)}
        for name, counts in files.items():
            if name in archives:  # some member gave a document
                continue
            if not counts[0] or name not in whole:  # of a large file other blocks may hold more
                yield beam.pvalue.TaggedOutput("files", ((block.source, name), counts))


def _join_files(parts: Iterable[_FileCounts]) -> _FileCounts:
    """Adds up what parts of a file gave."""
    documents, dead_letters = 0, Counter[str]()
    for count, found in parts:
        documents += count
        dead_letters.update(found)
    return documents, dict(dead_letters)


def _empty(file: tuple[int, str], counts: _FileCounts) -> Iterator[Measured]:
    """Makes a count of a file that gave dead letters alone."""
    documents, dead_letters = counts
    if dead_letters and not documents and not losses.is_refused(dead_letters):
        yield Measured.of_empty(*file, dead_letters)


def _measure(
    block: Block, config: TokenizerJobConfig, rules: Rules, work: Workspace, limit: int
) -> Iterator[tuple[Measured, Sequence[tuple[str, int, Counter[str]]], _Part]]:
    """Counts the documents of each part of a block and writes those in the first `limit` buckets.

    A block that is processed twice writes the same bytes under the same names.
    """
    for part, documents in enumerate(read_texts(block, config, rules, config.execution.block_bytes)):
        measured, candidates = sample.measure(documents, block.source, config.seed, config.max_document_bytes, limit)
        path = ""
        if len(candidates.hashes):
            path = files.join(work.sample.ready(), f"{block.source:04d}-{block.index:08d}-{part:05d}-{limit:05d}.sample")
            sample_files.write_candidates(path, candidates)
        yield measured, documents.files, _Part(block.source, block.index, part, limit, path, None if part else block)


class _AddUp(beam.CombineFn):
    def __init__(self, sources: int) -> None:
        self._sources = sources

    def create_accumulator(self) -> Totals:
        return Totals(self._sources)

    def add_input(self, totals: Totals, part: Measured) -> Totals:
        totals.add(part)
        return totals

    def merge_accumulators(self, accumulators: Iterable[Totals]) -> Totals:
        merged = Totals(self._sources)
        for totals in accumulators:
            merged.merge(totals)
        return merged

    def extract_output(self, totals: Totals) -> Totals:
        return totals


def _to_row(part: _Part) -> Row:
    return {"source": part.source, "block": part.block, "part": part.part, "path": part.path}
