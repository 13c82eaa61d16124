"""Lists the blocks of all sources, on a worker.

Tested in tests/pipelines/test_determinism.py and tests/pipelines/test_faults.py.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam

from tokenreel.config.build import JobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.errors import SourceError
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.inputs import Block
from tokenreel.sources.listing import list_files
from tokenreel.wording import plural


@dataclasses.dataclass
class ListBlocks(beam.PTransform):
    """Lists the files of every source and spreads their blocks over the workers.

    The listing happens in a worker: a job graph that held the blocks of a large corpus would exceed what services accept. What it finds
    must be what `curation.inputs.list_inputs` found before (`inputs`), since that is what the manifest says.
    """

    config: JobConfig | TokenizerJobConfig
    inputs: Mapping[str, Any]

    def expand(self, root: beam.Pipeline) -> beam.PCollection[Block]:
        return (
            root
            | "Sources" >> beam.Create(list(range(len(self.config.sources))))  # int
            | "ListBlocks" >> beam.FlatMap(self._list)  # Block
            | "SpreadBlocks" >> beam.Reshuffle()
        )

    def _list(self, index: int) -> Iterator[Block]:
        source = self.config.sources[index]
        found, before = list_files(source), self.inputs[source.name]
        size = sum(file.size for file in found)
        if (len(found), size) != (before["files"], before["bytes"]):
            raise SourceError(
                f"source {source.name!r}: {plural(before['files'], 'file')} of {before['bytes']:,} bytes were there when the build began, "
                f"now there are {len(found):,} of {size:,}. Run the same command again when nothing writes there."
            )
        yield from list_blocks(source, index, self.config.execution.block_bytes, found)
