"""Sources to blocks."""

import dataclasses
from collections.abc import Iterator

import apache_beam as beam

from tokenreel.config import JobConfig
from tokenreel.sources import Block, list_blocks
from tokenreel.tokenizer_config import TokenizerJobConfig


@dataclasses.dataclass
class ListBlocks(beam.PTransform):
    """Lists the files of every source and spreads their blocks over the workers.

    The listing happens in a worker: a job graph that held the blocks of a large corpus would exceed what services accept.
    """

    config: JobConfig | TokenizerJobConfig

    def expand(self, root: beam.Pipeline) -> beam.PCollection[Block]:
        return (
            root
            | "Sources" >> beam.Create(list(range(len(self.config.sources))))  # int
            | "ListBlocks" >> beam.FlatMap(self._list)  # Block
            | "SpreadBlocks" >> beam.Reshuffle()
        )

    def _list(self, index: int) -> Iterator[Block]:
        yield from list_blocks(self.config.sources[index], index, self.config.execution.block_bytes)
