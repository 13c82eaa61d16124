"""How often stage files are merged before the shards are assembled, and what that takes: known from the listing, before text is read.

In shuffled order and by a field each group is read from every stage file: groups times stage files, which grows with the square of the
corpus. Merge passes (`staging.merging`) put K stage files together at a time, and K of what that gave, until the reads are within
`execution.max_reads`. Each pass reads and writes all tokens once, in large pieces. By a field the first pass puts fewer together: as many
as make one merged file (`first_fan_in`).

`plan` is arithmetic on counts of each source. These are estimated from bytes when only the listing is known (`estimate`), and those of the
stage files when text is tokenized (`measure`): the passes that are made are those of the second plan.

>>> from tokenreel.config.build import JobConfig, VocabularyConfig
>>> from tokenreel.config.corpus import ExecutionConfig, SourceConfig
>>> config = JobConfig(output="out", sources=(SourceConfig(files=("*",), format="jsonl"),), vocabulary=VocabularyConfig(kind="bytes"),
...                    execution=ExecutionConfig(block_mb=64))
>>> size = estimate(config, 0, [(1 << 30, 1)] * 100_000, token_bytes=4, token_size=2)  # 107 TB in files of 1 GiB
>>> print(plan(config, [size], tokens_per_shard=1 << 25))  # doctest: +NORMALIZE_WHITESPACE
3 merge levels, 64 at a time: 1,600,000 stage files become 7 strands; up to 17,121,912 reads of 5.0 MB on average in place of
1,610,612,736,000; 345.7 TB are moved; about 230.4 TB of disk are needed, and 805.3 MB of memory a worker
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tokenreel.config.build import JobConfig
from tokenreel.config.splits import shares_taken, split_names
from tokenreel.curation import hash_tables
from tokenreel.errors import BuildError
from tokenreel.format import schema
from tokenreel.planning import read_budget
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.selection import passes
from tokenreel.planning.stage_table import StageTable
from tokenreel.sources import blocks
from tokenreel.sources.inputs import InputFile
from tokenreel.wording import amount, plural

RANGE_BLOCKS = 4  # blocks of text in bytes: so large is a merged file, of which a worker holds two copies
_DOCUMENT_BYTES = 2_300  # of text, on average: web pages
_SMALL_DOCUMENT_BYTES = 100  # where their number bounds that of reads, which must not be taken for too small
_TOKEN_BYTES = {
    "bytes": 1,
    "characters": 1,
}  # of text in a token; words are cut into pieces of 4, and token ids read as numbers are as long
_UNIT_BYTES = {"documents": _DOCUMENT_BYTES, "paragraphs": 300, "lines": 60}  # of text that is compared as one
_NAME_BYTES = 60  # of a document's name, where it is told by file and position
_INDEX_BYTES = 24  # of a document in a merged file: key, and where its tokens and its name begin
_DOUBT = 2  # by how much an estimate may be wrong: a build is refused for one only beyond that
_SPARE = 8  # levels are kept ready for so many times the reads that were estimated


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceSize:
    """What a source amounts to.

    Attributes:
      stage_files: their number.
      bytes: of all its merged files: tokens, and an index of the documents.
      splits: for each split the documents that are taken and their tokens, repeats and bos and eos counted.
      text_bytes: of text; 0 where it is not known.
      largest: bytes of the largest stage file, counted as `bytes` are; 0 where it is not known.
    """

    stage_files: int
    bytes: int
    splits: Mapping[str, tuple[int, int]]
    text_bytes: int = 0
    largest: int = 0

    @property
    def file_bytes(self) -> int:
        """Bytes of a stage file: of the largest, or of one like all others."""
        return self.largest or -(-self.bytes // max(1, self.stage_files))


def estimate(
    config: JobConfig, source: int, files: Iterable[tuple[int, int]], *, token_bytes: float, token_size: int, extra: int = 0
) -> SourceSize:
    """Estimates what a source amounts to from the sizes of its files.

    Args:
      config: the settings of the build.
      source: index of the source.
      files: bytes of each file, and how many times as much text it holds.
      token_bytes: bytes of text that make a token.
      token_size: bytes that a token takes in a stage file.
      extra: tokens that each document gets beside its own: bos and eos.
    """
    texts = [size * expansion for size, expansion in files]
    text = sum(texts)
    documents, many = -(-text // _DOCUMENT_BYTES), -(-text // _SMALL_DOCUMENT_BYTES)
    tokens = int(text / token_bytes)
    taken = {split: share * times for split, (share, times) in shares_taken(config, source).items()}
    return SourceSize(
        stage_files=count_stage_files(config, texts),
        bytes=tokens * token_size + documents * (_INDEX_BYTES + _NAME_BYTES),
        splits={name: (math.ceil(many * share), math.ceil((tokens + documents * extra) * share)) for name, share in taken.items()},
        text_bytes=text,
    )


def count_stage_files(config: JobConfig, texts: Iterable[float]) -> int:
    """Counts the stage files of a source by the bytes of text in each of its files: large ones are cut, small ones gathered."""
    block, cut, gathered = config.execution.block_bytes, 0, 0.0
    for text in texts:
        if text > block:
            cut += math.ceil(text / block)
        else:
            gathered += text
    return cut + math.ceil(gathered / block)


def estimate_all(config: JobConfig, listed: Sequence[Sequence[InputFile]], vocab_size: int) -> list[SourceSize]:
    """Estimates what each source amounts to from the files that were listed, and from the kind of the vocabulary."""
    token_size = np.dtype(schema.token_dtype(vocab_size)).itemsize
    token_bytes = _TOKEN_BYTES.get(config.vocabulary.kind, 4)
    found = []
    for source, files in enumerate(listed):
        sizes = ((file.size, blocks.expansion(file, config.sources[source])) for file in files)
        found.append(estimate(config, source, sizes, token_bytes=token_bytes, token_size=token_size))
    return found


def measure(order: DocumentOrder) -> list[SourceSize]:
    """Counts what each source amounts to by its stage files."""
    table, sizes, found = order.selections, file_bytes(order.selections), []
    for source in range(len(order.config.sources)):
        own = table.of_source(source)
        splits = {split: order.totals(split, source) for split in split_names(order.config)}
        largest = int(sizes[own].max(initial=0))
        found.append(SourceSize(stage_files=len(own), bytes=int(sizes[own].sum()), splits=splits, largest=largest))
    return found


def file_bytes(table: StageTable) -> npt.NDArray[np.int64]:
    """Tells about how many bytes of merged files the documents of each file of a table take: int64 [n]."""
    named = table.numbers("id_bytes")
    sizes = table.numbers("tokens") * (table.token_bytes() + 8 * (table.numbers("offsets") > 0))
    sizes = sizes + table.numbers("documents") * (_INDEX_BYTES + _NAME_BYTES * (named == 0)) + named
    sizes = sizes + table.numbers("metadata_bytes") + 4 * table.numbers("sentences")
    return np.asarray(sizes, dtype=np.int64)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MergePlan:
    """What a build does between its stage files and its shards.

    Attributes:
      levels: merge passes, one after the other.
      fan_in: strands that are put together at a time.
      stage_files: their number.
      strands: how many are left.
      files: merged files of the last level, at most.
      groups: of documents.
      reads: reads of tokens that assembling the shards takes, at most.
      without: reads that it would take without a merge pass.
      repeated: how many of `reads` are due to shards that begin inside a group.
      read_bytes: in all of `reads`.
      merge_reads: reads of tokens that the passes take, at most.
      moved_bytes: read and written by the passes.
      disk_bytes: of stage files and merged files, which stay until the build ends.
      worker_bytes: of memory that a worker needs for a block, a merged file or a group.
      limit: `execution.max_reads`.
    """

    levels: int
    fan_in: int
    stage_files: int
    strands: int
    files: int
    groups: int
    reads: int
    without: int
    repeated: int
    read_bytes: int
    merge_reads: int
    moved_bytes: int
    disk_bytes: int
    worker_bytes: int
    limit: int

    @property
    def mean(self) -> float:
        """Bytes in a read."""
        return self.read_bytes / self.reads if self.reads else 0.0

    def __str__(self) -> str:
        return (
            f"{plural(self.levels, 'merge level')}, {self.fan_in} at a time: {plural(self.stage_files, 'stage file')} become "
            f"{plural(self.strands, 'strand')}; up to {plural(self.reads, 'read')} of {amount(self.mean)} on average in place of "
            f"{self.without:,}; {amount(self.moved_bytes)} are moved; about {amount(self.disk_bytes)} of disk are needed, and "
            f"{amount(self.worker_bytes)} of memory a worker"
        )


def plan(config: JobConfig, sizes: Sequence[SourceSize], tokens_per_shard: int, *, factor: int = 1, most: int | None = None) -> MergePlan:
    """Finds the fewest merge levels with which the reads are within the budget.

    Args:
      config: the settings of the build.
      sizes: what each source amounts to.
      tokens_per_shard: as `shard_plan.tokens_per_shard` gives it.
      factor: plans for so many times the reads.
      most: levels at most; None for as many as help.

    Returns:
      the plan; where no number of levels is enough, the one with the fewest reads, which are then beyond its limit.
    """
    limit, fan_in = config.execution.max_reads, config.execution.merge_files
    levels = [0]
    while config.order.mode != "source" and max(_strands(config, size, levels[-1]) for size in sizes) > 1:
        levels.append(levels[-1] + 1)
    without = _reads(config, sizes, tokens_per_shard, 0)
    chosen = found = 0, without
    for level in levels[: None if most is None else most + 1]:
        found = level, _reads(config, sizes, tokens_per_shard, level)
        if found[1][0] < chosen[1][0]:
            chosen = found
        if chosen[1][0] * factor <= limit:
            break
    level, (reads, repeated, size) = chosen
    total = sum(each.bytes for each in sizes)
    return MergePlan(
        levels=level,
        fan_in=fan_in,
        stage_files=sum(each.stage_files for each in sizes),
        strands=sum(_strands(config, each, level) for each in sizes),
        files=sum(_files(config, each, level) for each in sizes),
        groups=sum(count for _, _, count, _ in _groups(config, sizes)),
        reads=reads,
        without=without[0],
        repeated=repeated,
        read_bytes=size,
        merge_reads=sum(_merge_reads(config, each, passed) for each in sizes for passed in range(1, level + 1)),
        moved_bytes=2 * level * total,
        disk_bytes=(1 + level) * total,
        worker_bytes=max(12 * config.execution.block_bytes, 8 * config.order.group_tokens),
        limit=limit,
    )


def range_bytes(config: JobConfig) -> int:
    """Says how large a merged file becomes, about."""
    return RANGE_BLOCKS * config.execution.block_bytes


def first_fan_in(config: JobConfig, file_bytes: int) -> int:
    """Says how many stage files the first pass puts together; each has so many bytes at most.

    By a field these are as many as make one merged file: a stage file lies by key, and would be read as a whole for each of several.
    """
    fan_in = config.execution.merge_files
    return fan_in if config.order.mode != "field" else min(fan_in, max(1, range_bytes(config) // max(1, file_bytes)))


def _strands(config: JobConfig, size: SourceSize, level: int) -> int:
    if not level:
        return size.stage_files
    return -(-size.stage_files // int(first_fan_in(config, size.file_bytes) * config.execution.merge_files ** (level - 1)))


def _files(config: JobConfig, size: SourceSize, level: int) -> int:
    """Counts the files of all strands, at most: each is rounded up, by a field for each split."""
    if not level:
        return size.stage_files
    return _strands(config, size, level) * (len(size.splits) if config.order.mode == "field" else 1) + size.bytes // range_bytes(config)


def _merge_reads(config: JobConfig, size: SourceSize, level: int) -> int:
    """Counts the reads of tokens of a pass: each file that it writes is read from all strands that are put together, and borders twice."""
    fan_in = first_fan_in(config, size.file_bytes) if level == 1 else config.execution.merge_files
    together = min(fan_in, _strands(config, size, level - 1))
    return _files(config, size, level) * together + _files(config, size, level - 1)


def _groups(config: JobConfig, sizes: Sequence[SourceSize]) -> Iterator[tuple[str, Sequence[int], int, int]]:
    """Yields the groups that are cut together: split, sources, number of groups, and tokens; see `DocumentOrder.groups`."""
    every = range(len(sizes))
    for split in split_names(config):
        for sources in [[source] for source in every] if config.packing.per_source else [list(every)]:
            taken = [sizes[source].splits.get(split, (0, 0)) for source in sources]
            documents, tokens = (sum(counts[i] for counts in taken) for i in range(2))
            count = min(-(-tokens // config.order.group_tokens), documents)
            if count:
                yield split, sources, count, tokens


def _reads(config: JobConfig, sizes: Sequence[SourceSize], tokens_per_shard: int, level: int) -> tuple[int, int, int]:
    """Counts the reads of tokens behind so many merge levels, those of them that shards repeat, and about their bytes."""
    total = repeated = size = 0
    for split, sources, count, tokens in _groups(config, sizes):
        once = 0
        for source in sources:
            own = sizes[source]
            strands = _strands(config, own, level)
            if config.order.mode == "source":
                reads = strands * passes(config, split, source) + count
            else:
                reads = strands * read_budget.ranges_read(config, split, source, count)
                if level:  # a group that lies on both sides of a border between merged files is read from both
                    reads += own.bytes // range_bytes(config)
            once += min(own.splits.get(split, (0, 0))[0], reads)
        again = math.ceil(tokens * config.variants / tokens_per_shard) / count
        total, repeated = total + math.ceil(once * (1 + again)), repeated + math.ceil(once * again)
        size += math.ceil(sum(sizes[source].bytes for source in sources) * (1 + again))
    return total, repeated, size


def levels_to_prepare(config: JobConfig, sizes: Sequence[SourceSize], tokens_per_shard: int) -> int:
    """Says how many merge passes a job must be able to make, by an estimate: more than are planned, as an estimate may be wrong.

    A job that is far below its budget is able to make none, and is not slowed down by them.
    """
    return plan(config, sizes, tokens_per_shard, factor=_SPARE).levels


def table_levels_to_prepare(config: JobConfig, sizes: Sequence[SourceSize]) -> int:
    """Says how many merge passes over the tables of hashes a job must be able to make to find duplicates and ids, by an estimate."""
    unit = _UNIT_BYTES.get(config.duplicates.remove)
    if unit is None and any(source.id_field is not None for source in config.sources):
        unit = _DOCUMENT_BYTES
    if unit is None:
        return 0
    tables, entries = sum(size.stage_files for size in sizes), sum(size.text_bytes for size in sizes) // unit
    return hash_tables.levels(tables, entries, config.execution.merge_files, config.execution.max_reads // _SPARE)


def check(planned: MergePlan, config: JobConfig) -> None:
    """Refuses a plan by an estimate whose reads are far beyond the budget, whatever is merged.

    Raises:
      BuildError: says what would lower their number.
    """
    if planned.reads <= _DOUBT * planned.limit:
        return
    tokens = math.ceil(config.order.group_tokens * planned.reads / planned.limit)
    merged = f", even after {plural(planned.levels, 'merge level')}," if planned.levels else ""
    raise BuildError(
        f"assembling the shards{merged} would take about {planned.reads:,} reads ({planned.groups:,} groups, by the size of the files), "
        f"execution.max_reads allows {planned.limit:,}. Nothing was tokenized. Set one of:\n  order.group_tokens: {tokens} (other order of "
        f"documents; a worker holds about {tokens * 8 / 1e9:,.1f} GB)\n  order.mode: source, if the text is shuffled already\n  "
        f"execution.max_reads: {planned.reads}, to wait for them"
    )
