"""How many reads of parts of stage files assembling the shards takes: known from counts, before the first is made.

In shuffled order and by a field, each group has documents in about every stage file, so the number of reads is that of groups times that of
files. It grows with the square of the corpus, while the size of a read shrinks.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.config.build import JobConfig
from tokenreel.errors import BuildError
from tokenreel.planning import shard_plan
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.group_documents import DocumentGroup
from tokenreel.planning.selection import passes
from tokenreel.wording import plural

_MARGIN = 1.25  # each split has a group at least, and sizes are rounded


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedReads:
    """The reads of tokens that `BuildShards` makes, at most.

    Attributes:
      groups: of documents.
      stages: stage files.
      reads: all reads; a group is read for every shard that it lies in.
      repeated: how many of these are due to shards that begin inside a group.
      bytes: in all reads.
    """

    groups: int
    stages: int
    reads: int
    repeated: int
    bytes: int

    @property
    def mean(self) -> float:
        """Bytes in a read."""
        return self.bytes / self.reads if self.reads else 0.0

    def __str__(self) -> str:
        return (
            f"{plural(self.groups, 'group')} in {plural(self.stages, 'stage file')}: up to {plural(self.reads, 'read')} of "
            f"{self.mean / 1e3:,.1f} KB on average"
        )


def plan_reads(order: DocumentOrder, groups: Sequence[DocumentGroup]) -> PlannedReads:
    """Counts the reads that groups will take.

    Args:
      order: the documents.
      groups: all of them, as `order.groups()` gives them.
    """
    config = order.config
    tokens_per_shard = shard_plan.tokens_per_shard(order.recipe)
    total = repeated = size = 0
    for (split, source), count in Counter((group.split, group.source) for group in groups).items():
        chosen, counts = order.selections.of_source(source), order.selections.counts(split)
        sources = order.selections.numbers("source")[chosen]
        once = _reads_once(config, split, source, counts[chosen, 0], sources, count)
        # Each border between shards lies in a group, which both of them read.
        again = math.ceil(order.totals(split, source)[1] * config.variants / tokens_per_shard) / count
        total += math.ceil(once * (1 + again))
        repeated += math.ceil(once * again)
        read = int((counts[chosen, 1] * order.selections.token_bytes()[chosen]).sum())
        size += math.ceil(read * (1 + again))
    return PlannedReads(groups=len(groups), stages=len(order.selections), reads=total, repeated=repeated, bytes=size)


def _reads_once(
    config: JobConfig, split: str, source: int | None, documents: npt.NDArray[np.int64], sources: npt.NDArray[np.int64], groups: int
) -> int:
    """Counts the reads that take each group once.

    Args:
      config: the settings of the build.
      split: the groups' split.
      source: their source; None for all.
      documents: int64 [n] of the split in each stage file of that source.
      sources: int64 [n] the source of each of these files.
      groups: how many groups there are.
    """
    if config.order.mode == "source":  # a group is a stretch of the text: it meets few files, and each border of groups lies in one
        return int(np.count_nonzero(documents)) * passes(config, split, source) + groups
    ranges = np.array([ranges_read(config, split, index, groups) for index in range(len(config.sources))], dtype=np.int64)
    return int(np.minimum(documents, ranges[sources]).sum())  # a file of few documents is not read more often than that


def ranges_read(config: JobConfig, split: str, source: int, groups: int) -> int:
    """Counts the ranges of a stage file that groups read: in shuffled order one for each repeat, and one where it wraps around."""
    repeats = passes(config, split, source)
    return groups * repeats + repeats - 1 if config.order.mode == "shuffle" else groups


def check(planned: PlannedReads, config: JobConfig) -> None:
    """Refuses a plan of too many reads.

    Raises:
      BuildError: says what would lower their number, and by how much.
    """
    limit = config.execution.max_reads
    if planned.reads <= limit:
        return
    config_tokens, block_mb = config.order.group_tokens, config.execution.block_mb
    remedies = []
    room = limit - planned.repeated
    if room > 0 and config.order.mode != "source":
        tokens = math.ceil(config_tokens * (planned.reads - planned.repeated) / room * _MARGIN)
        remedies.append(f"order.group_tokens: {tokens} (other order of documents; a worker holds about {tokens * 8 / 1e9:,.1f} GB)")
    else:
        remedies.append(f"shards {planned.reads / limit * _MARGIN:,.1f} times as large (most groups are read for several)")
    block = block_mb * planned.reads / limit * _MARGIN
    remedies.append(f"execution.block_mb: {block:.3g} (same dataset, tokenized anew; a worker holds about {block * 12 / 1e3:,.1f} GB)")
    if config.order.mode != "source":
        remedies.append("order.mode: source, if the text is shuffled already")
    remedies.append(f"execution.max_reads: {planned.reads}, to wait for them")
    raise BuildError(
        f"assembling the shards would take {planned.reads:,} reads of {planned.mean / 1e3:,.1f} KB on average ({planned.groups:,} groups "
        f"from {planned.stages:,} stage files), execution.max_reads allows {limit:,}. What is tokenized is kept. Set one of:\n  "
        + "\n  ".join(remedies)
    )
