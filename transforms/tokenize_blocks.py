"""Blocks to stage files."""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from tokenreel import groups, schema, stage
from tokenreel.config import JobConfig
from tokenreel.documents import Documents, read_documents
from tokenreel.groups import Staged
from tokenreel.sources import Block
from tokenreel.vocabularies import Vocabulary


@dataclasses.dataclass
class TokenizeBlocks(beam.PTransform):
    """Reads, filters and tokenizes each block into stage files, and emits what they hold; tokens never pass through the runner.

    A stage file that an earlier run finished is verified and kept. A block that is processed twice writes the same bytes under the same
    name.
    """

    config: JobConfig
    vocabulary: Vocabulary
    directory: str

    def expand(self, blocks: beam.PCollection[Block]) -> beam.PCollection[Staged]:
        return blocks | "TokenizeBlock" >> beam.ParDo(_TokenizeBlock(self.config, self.vocabulary, self.directory))


class _TokenizeBlock(beam.DoFn):
    def __init__(self, config: JobConfig, vocabulary: Vocabulary, directory: str) -> None:
        self._config, self._vocabulary, self._directory = config, vocabulary, directory
        self._documents = Metrics.counter("tokenreel", "out-documents")
        self._tokens = Metrics.counter("tokenreel", "out-tokens")
        self._dead = Metrics.counter("tokenreel", "dead-letters")

    def process(self, block: Block) -> Iterator[Staged]:
        for info in self._staged(block):
            self._documents.inc(info.documents)
            self._tokens.inc(info.tokens)
            self._dead.inc(info.dead_letters)
            yield groups.count_splits(info, self._config.splits)

    def _staged(self, block: Block) -> Iterator[stage.StageInfo]:
        config = self._config
        source = config.sources[block.source]
        part_bytes = config.execution.block_bytes
        name = stage.fingerprint(
            block, source, self._vocabulary.fingerprint, config.filters, config.packing.sentences, part_bytes, config.vocabulary.offsets
        )
        finished = list(self._finished(block, name))
        if finished and finished[-1].last:
            yield from finished
            return
        parts = read_documents(block, source, part_bytes)
        part = 0
        documents: Documents | None = next(parts)
        while documents is not None:
            following = next(parts, None)
            if part < len(finished):
                yield finished[part]
            else:
                arrays, filtered = stage.encode(
                    documents, self._vocabulary, config.filters, config.packing.sentences, config.vocabulary.offsets
                )
                path = stage.path_of(self._directory, name, part)
                dtype = schema.token_dtype(self._vocabulary.vocab_size)
                yield stage.write(path, block, part, following is None, documents, arrays, filtered, dtype)
            part, documents = part + 1, following

    def _finished(self, block: Block, name: str) -> Iterator[stage.StageInfo]:
        part = 0
        while info := stage.reopen(stage.path_of(self._directory, name, part), block):
            yield info
            part += 1
            if info.last:
                return
