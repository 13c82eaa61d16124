"""Samples the documents of blocks."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from tokenreel.assembly import dead_letters
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation.filters import Rules
from tokenreel.planning import stage_table
from tokenreel.planning.selection import StageSelection
from tokenreel.sources.inputs import Block
from tokenreel.staging import stage_file
from tokenreel.storage import column_file, files
from tokenreel.storage.column_file import ColumnFile, Row
from tokenreel.tokenizer_training import sample, sample_files, sample_plan
from tokenreel.tokenizer_training.sample_plan import Measured, SamplePlan, Totals
from tokenreel.tokenizer_training.texts import Texts, read_texts
from transforms.gather_rows import GatherRows
from transforms.workers.saying import say


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
            "counts", "faults", main="read"
        )
        faults = measured.faults | "CollectFaults" >> beam.CombineGlobally(
            GatherRows(stage_table.to_row, self.work.sample, "faults", stage_table.SORT_BY)
        )  # table of StageSelection: of stage files that hold nothing but dead letters
        totals = measured.counts | "AddUp" >> beam.CombineGlobally(_AddUp(len(config.sources)))  # Totals
        plan = beam.pvalue.AsSingleton(totals | "PlanSample" >> beam.Map(self._plan, beam.pvalue.AsSingleton(faults)))  # SamplePlan
        gather = GatherRows(_to_row, self.work.sample, "parts", stage_table.SORT_BY)
        return (
            measured.read  # _Part: paths, never text
            | "CompleteSample" >> beam.FlatMap(self._complete, plan)  # _Part
            | "CollectParts" >> beam.CombineGlobally(gather)  # table of _Part
            | "Sampled" >> beam.Map(Sampled, plan, beam.pvalue.AsSingleton(totals))  # Sampled
        )

    def _plan(self, totals: Totals, faults: ColumnFile) -> SamplePlan:
        config = self.config
        with self.work.explaining():
            letters = dead_letters.DeadLetters(config, stage_table.load(faults), self.work)
            empty = [(account.source, account.name, account.dead_letters) for account in dead_letters.without_documents(letters.write())]
        if letters.cut:
            say(letters.cut)
        sample_plan.check(totals, self.inputs, config.execution, say, empty, letters.where)
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

    def process(self, block: Block) -> Iterator[Any]:  # _Part; tagged: Measured, and StageSelection
        limit = self._limits[block.source]
        for measured, texts, part in _measure(block, self._config, self._rules[block.source], self._work, limit):
            self._documents.inc(measured.documents)
            yield beam.pvalue.TaggedOutput("counts", measured)
            name = f"{block.source:04d}-{block.index:08d}-{part.part:05d}.faults"
            info = stage_file.write_faults(self._work.sample, name, block, part.part, texts.files, texts.faults)
            yield beam.pvalue.TaggedOutput("faults", StageSelection(info=info, splits={}))
            yield part


def _measure(
    block: Block, config: TokenizerJobConfig, rules: Rules, work: Workspace, limit: int
) -> Iterator[tuple[Measured, Texts, _Part]]:
    """Counts the documents of each part of a block and writes those in the first `limit` buckets.

    A block that is processed twice writes the same bytes under the same names.
    """
    for part, documents in enumerate(read_texts(block, config, rules, config.execution.block_bytes)):
        measured, candidates = sample.measure(documents, block.source, config.seed, config.max_document_bytes, limit)
        path = ""
        if len(candidates.hashes):
            path = files.join(work.sample.ready(), f"{block.source:04d}-{block.index:08d}-{part:05d}-{limit:05d}.sample")
            sample_files.write_candidates(path, candidates)
        yield measured, documents, _Part(block.source, block.index, part, limit, path, None if part else block)


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
