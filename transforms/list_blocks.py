"""Lists the blocks of all sources, on a worker.

Tested in tests/pipelines/test_determinism.py and tests/pipelines/test_faults.py.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam

from tokenreel.assembly import remembered_inputs
from tokenreel.config.build import JobConfig
from tokenreel.config.tokenizer import TokenizerJobConfig
from tokenreel.errors import SourceError
from tokenreel.launched import Launched
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.inputs import Block, InputFile
from tokenreel.sources.listing import list_files
from tokenreel.wording import plural
from transforms.workers.saying import say


@dataclasses.dataclass
class ListBlocks(beam.PTransform):
    """Lists the files of every source and spreads their blocks over the workers.

    The listing happens in a worker: a job graph that held the blocks of a large corpus would exceed what services accept. What it finds
    must be what `curation.inputs.list_inputs` found before (`inputs`), since that is what the manifest says: files that arrived since then
    are left out.
    """

    config: JobConfig | TokenizerJobConfig
    inputs: Mapping[str, Any]
    launched: Launched = dataclasses.field(default_factory=Launched)

    def expand(self, root: beam.Pipeline) -> beam.PCollection[Block]:
        return (
            root
            | "Sources" >> beam.Create(list(range(len(self.config.sources))))  # int
            | "ListBlocks" >> beam.FlatMap(self._list)  # Block
            | "SpreadBlocks" >> beam.Reshuffle()
        )

    @property
    def _job(self) -> str:
        return "build" if isinstance(self.config, JobConfig) else "training"

    def _without_new(self, index: int, found: Sequence[InputFile]) -> list[InputFile] | None:
        """Gives the files that were there when the job began, where others arrived since then and may be left out."""
        config = self.config
        if config.execution.new_files == "fail":
            return None
        frozen = remembered_inputs.leave_out_new(config, index, found)
        if frozen is None:
            return None
        kept, listing = frozen
        say(
            f"source {config.sources[index].name!r}: {plural(len(found) - len(kept), 'file')} arrived after the {self._job} began and "
            f"{'is' if len(found) - len(kept) == 1 else 'are'} left out; the others are listed as {listing}, which sources.files takes"
        )
        return kept

    def _list(self, index: int) -> Iterator[Block]:
        source = self.config.sources[index]
        found, before = list_files(source), self.inputs[source.name]
        size = sum(file.size for file in found)
        if (len(found), size) != (before["files"], before["bytes"]):
            kept = self._without_new(index, found)
            if kept is None:
                raise SourceError(
                    f"source {source.name!r}: {plural(before['files'], 'file')} of {before['bytes']:,} bytes were there when the "
                    f"{self._job} began, now there are {len(found):,} of {size:,}. Run the same command again when nothing writes there."
                )
            found = kept
        yield from list_blocks(source, index, self.config.execution.block_bytes, found)
