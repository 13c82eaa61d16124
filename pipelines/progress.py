"""How far a job is, told from the files that it has written: one look at its directories answers, whichever machine works on it."""

import functools
import posixpath
from collections.abc import Sequence

from tokenreel.assembly import output
from tokenreel.config.build import JobConfig
from tokenreel.curation.filters import Rules
from tokenreel.sources.blocks import list_blocks
from tokenreel.staging import identity
from tokenreel.storage import files
from tokenreel.vocabularies.base import Vocabulary
from tokenreel.wording import plural


class BuildProgress:
    """Says how many blocks of a build are tokenized and how many shards are written."""

    def __init__(self, job: JobConfig, vocabulary: Vocabulary, rules: Sequence[Rules]) -> None:
        self._job, self._vocabulary, self._rules = job, vocabulary, rules

    def __call__(self) -> str:
        """Looks, and says it in a line."""
        job = self._job
        present = files.list_files(job.output)
        shared = job.execution.stage
        names = (files.list_files(shared) if shared else present).keys()
        begun = {posixpath.basename(name)[:32] for name in names if name.endswith(".stage")}
        shards = f"{plural(len(output.shards_written(present)), 'shard')} written"
        count = len(begun)
        if job.duplicates.remove not in ("paragraphs", "lines"):
            # A stage directory that is shared may hold blocks of any other build, and blocks of the same text share their stage files.
            count = sum(name in begun for name in self._blocks)
        elif shared:  # the names follow from what is left of each block: whose the blocks here are is not known
            return shards
        return f"{count:,} of {plural(len(self._blocks), 'block')} tokenized, {shards}"

    @functools.cached_property
    def _blocks(self) -> tuple[str, ...]:
        """The name of each block, listed when they are first asked for: in the thread that reports, so a large corpus delays nothing."""
        return tuple(
            identity.name_of(self._job, block, self._vocabulary.fingerprint, self._rules[block.source])
            for index, source in enumerate(self._job.sources)
            for block in list_blocks(source, index, self._job.execution.block_bytes)
        )
