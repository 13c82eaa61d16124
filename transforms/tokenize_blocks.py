"""Tokenizes blocks into stage files.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_determinism.py.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import apache_beam as beam

from tokenreel.config.build import JobConfig
from tokenreel.config.workspace import Workspace
from tokenreel.curation import duplicates, hash_tables
from tokenreel.curation.cleaned import Cleaned
from tokenreel.curation.filters import Rules
from tokenreel.format import schema
from tokenreel.planning import selection
from tokenreel.planning.selection import StageSelection
from tokenreel.sources import reading
from tokenreel.sources.documents import Documents
from tokenreel.sources.inputs import Block
from tokenreel.staging import being_read, encoding, identity, stage_file
from tokenreel.staging.columns import StageInfo
from tokenreel.storage.stored_value import StoredValue
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.vocabularies.unit_memo import lookups
from transforms.workers import measures

BLOCKS, CACHED = "in-blocks", "blocks-from-cache"


@dataclasses.dataclass
class TokenizeBlocks(beam.PTransform):
    """Reads, filters and tokenizes each block into stage files, and emits what they hold; tokens never pass through the runner.

    A stage file that an earlier build finished is verified and kept. A block that is processed twice writes the same bytes under the same
    name.
    """

    config: JobConfig
    vocabulary: StoredValue[Vocabulary]
    rules: StoredValue[Sequence[Rules]]
    work: Workspace

    def expand(self, blocks: beam.PCollection[Block]) -> beam.PCollection[StageSelection]:
        return blocks | "TokenizeBlock" >> beam.ParDo(_TokenizeBlock(self.config, self.vocabulary, self.rules, self.work))


class _TokenizeBlock(beam.DoFn):
    def __init__(
        self, config: JobConfig, vocabulary: StoredValue[Vocabulary], rules: StoredValue[Sequence[Rules]], work: Workspace
    ) -> None:
        self._config, self._stored, self._work = config, (vocabulary, rules), work

    def setup(self) -> None:
        vocabulary, rules = self._stored
        self._vocabulary, self._rules = vocabulary.load(), rules.load()

    def process(self, block: Block) -> Iterator[StageSelection]:
        names = measures.some(file_range.file.path for file_range in block.file_ranges)
        source = self._config.sources[block.source].name
        with measures.Task("stage", job=self._work.build[:16], source=source, block=block.index, source_files=names) as task:
            lookups.take()
            for info in task.passing_on(self._staged(block)):
                _count(info)
                task.fields |= {"stage": info.path, "documents": info.documents, "tokens": info.tokens, "dead_letters": info.dead_letters}
                yield selection.count_splits(info, self._config)
            hits, misses = lookups.take()
            measures.count("memo-hits", hits)
            measures.count("memo-misses", misses)

    def _staged(self, block: Block) -> Iterator[StageInfo]:
        """Yields the stage files of a block; reads it only where the last of them is missing, and writes only those that are."""
        config, source = self._config, self._config.sources[block.source]
        name = identity.name_of(config, block, self._vocabulary.fingerprint, self._rules[block.source])
        left_out = identity.left_out(name)
        measures.count(BLOCKS)
        # What was left out has a name of its own: without that setting nothing takes it for the block.
        for known in (left_out, name) if config.execution.dead_letter_crashes else (name,):
            finished = list(self._finished(block, known))
            if finished and finished[-1].last:
                measures.count(CACHED)
                yield from finished
                return
        self._work.tokens.ready()  # before the text is read for nothing
        marks = self._work.marks
        deaths = being_read.begin(marks, name, (file_range.file.path for file_range in block.file_ranges))
        try:
            if deaths >= being_read.MOST_DEATHS and config.execution.dead_letter_crashes:
                yield from self._write(block, left_out, [], reading.leave_out(block, source, f"{deaths} processes died over it"))
            else:
                yield from self._write(block, name, finished, reading.read_documents(block, source, config.execution.block_bytes))
        finally:
            being_read.end(marks, name)

    def _write(self, block: Block, name: str, finished: Sequence[StageInfo], parts: Iterator[Documents]) -> Iterator[StageInfo]:
        """Filters, tokenizes and writes the parts of a block that are not finished, or were cut otherwise, and yields all."""
        config, rules = self._config, self._rules[block.source]
        about = identity.describe(config, block.source, self._vocabulary.fingerprint, rules)
        part = 0
        documents: Documents | None = next(parts)
        while documents is not None:
            following = next(parts, None)
            if part < len(finished) and finished[part].bound != documents.bound:
                finished = finished[:part]
            if part < len(finished):
                yield finished[part]
            else:
                cleaned = Cleaned.of(documents)
                if any(block.removed[part : part + 1]):
                    cleaned = duplicates.prune(documents, hash_tables.read_rows(block.removed[part]), config.duplicates.remove)
                cleaned, columns = encoding.encode_part(cleaned, self._vocabulary, rules, config, block.source)
                path = identity.path_of(self._work.tokens.ready(), name, part)
                measures.count("in-bytes", int(columns.bytes.sum()))
                for reasons in documents.dead_letters:
                    measures.count_each("dead-letters", reasons)
                dtype = schema.token_dtype(self._vocabulary.vocab_size)
                yield stage_file.write(path, block, part, following is None, cleaned, columns, dtype, about)
            part, documents = part + 1, following

    def _finished(self, block: Block, name: str) -> Iterator[StageInfo]:
        """Yields the parts that an earlier build finished, up to the first that is missing or was cut otherwise than those before it."""
        part = bound = 0
        while info := stage_file.reopen(identity.path_of(self._work.tokens.path, name, part), block):
            if bound not in (0, info.bound):
                return
            yield info
            part, bound = part + 1, info.bound
            if info.last:
                return


def _count(info: StageInfo) -> None:
    """Counts what a stage file holds, tokenized now or before."""
    measures.count("out-documents", info.documents)
    measures.count("out-tokens", info.tokens)
    measures.count("dead-letters", info.dead_letters)
    measures.count_each("filtered", info.filtered)
