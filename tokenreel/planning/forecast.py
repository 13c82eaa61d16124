"""What a build will take and give, before it is started: from samples of its sources, by the arithmetic of the plan itself.

Tested in tests/pipelines/test_plan.py.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tokenreel.config.build import JobConfig
from tokenreel.config.splits import TRAIN, split_names
from tokenreel.errors import BuildError, ConfigError
from tokenreel.format import naming
from tokenreel.planning import merge_plan, shard_plan
from tokenreel.planning.corpus_sample import ZERO, Estimate, SourceSample
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.merge_plan import MergePlan, SourceSize
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.stage_table import StageTable
from tokenreel.planning.stream import Stream
from tokenreel.sources import losses
from tokenreel.wording import amount

_COUNTED = 1 << 26  # tokens; what more of a stream gives is as much for each token
_HOUR = 3600
MOST_WORKERS = 4000  # of a batch job that uses Dataflow's shuffle and names no zone: cloud.google.com/dataflow/quotas


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prices:
    """What a batch job on Dataflow costs, and how fast its workers are. All numbers are for the user to set, in a file of their names.

    The prices are the public list prices of batch workers in us-central1, in dollars (cloud.google.com/dataflow/pricing and
    cloud.google.com/storage/pricing). The speeds are those of one processor, measured on a local disk.

    Attributes:
      vcpu_hour: of one virtual processor.
      memory_gb_hour: of a gigabyte of a worker's memory.
      disk_gb_hour: of a gigabyte of a worker's disk.
      storage_gb_month: of a gigabyte in the bucket; stage files lie there as long as the build takes.
      reads_10000: of so many reads of objects.
      workers: how many there are.
      vcpus: of each.
      memory_gb: of each.
      disk_gb: of each.
      efficiency: share of the time in which a processor works.
      merged_mb_second: megabytes that one processor merges in a second.
      assembled_tokens_second: tokens that one processor turns into records in a second.
    """

    vcpu_hour: float = 0.056
    memory_gb_hour: float = 0.003557
    disk_gb_hour: float = 0.000054
    storage_gb_month: float = 0.02
    reads_10000: float = 0.004
    workers: int = 100
    vcpus: int = 4
    memory_gb: float = 16
    disk_gb: float = 30
    efficiency: float = 0.7
    merged_mb_second: float = 100
    assembled_tokens_second: float = 1e7

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            free = name.endswith(("hour", "month", "10000"))
            if not (0 if free else 1e-9) <= value <= 1e12:
                raise ConfigError(f"prices: {name} must be {'at least 0' if free else 'positive'} and a number of its kind, got {value}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitForecast:
    """What a split will hold: documents that are taken, their tokens with bos and eos, and examples; and its shards and their bytes."""

    documents: Estimate
    tokens: Estimate
    examples: Estimate
    shards: int
    bytes: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a build will take and give.

    Attributes:
      splits: by name.
      merges: reads, merge passes and disk of the stage files.
      output_bytes: of all shards.
      cpu_hours: of one processor.
      hours: that the workers take together.
      dollars: by what is paid for.
      refused: what the build would be refused for, or end with.
    """

    splits: Mapping[str, SplitForecast]
    merges: MergePlan
    output_bytes: float
    cpu_hours: float
    hours: float
    dollars: Mapping[str, float]
    refused: Sequence[str]


def forecast(
    recipe: Recipe, samples: Sequence[SourceSample], prices: Prices, *, factor: float = 1.0, file_bytes: int | None = None
) -> Forecast:
    """Says what a build will take and give.

    Args:
      recipe: of the build.
      samples: what was read of each source.
      prices: of the machines.
      factor: forecasts a corpus so many times as large, of the same kind of text.
      file_bytes: how large its files are then; None for as large as they are.
    """
    config = recipe.config
    splits = {split: _split(recipe, samples, split, factor) for split in split_names(config)}
    sizes = [_size(recipe, sample, source, factor, file_bytes) for source, sample in enumerate(samples)]
    merges = merge_plan.plan(config, sizes, shard_plan.tokens_per_shard(recipe))
    output_bytes = sum(split.bytes for split in splits.values())
    cpu_hours, hours, dollars = _cost(samples, splits, merges, prices, factor)
    refused = [*_losses(config, samples), *_nothing(config, splits), *_limits(merges, prices)]
    try:
        merge_plan.check(merges, config)
    except BuildError as error:
        refused.append(str(error))
    return Forecast(
        splits=splits, merges=merges, output_bytes=output_bytes, cpu_hours=cpu_hours, hours=hours, dollars=dollars, refused=refused
    )


def _split(recipe: Recipe, samples: Sequence[SourceSample], split: str, factor: float) -> SplitForecast:
    """Forecasts a split."""
    documents = tokens = ZERO
    of_each = []
    extra = (recipe.first_id is not None) + (recipe.last_id is not None)
    for source, sample in enumerate(samples):
        own, found = sample.taken(recipe.config, source, split, factor)
        found = dataclasses.replace(found, **{name: getattr(found, name) + extra * own.value for name in ("value", "low", "high")})
        documents, tokens = documents + own, tokens + found
        of_each.append(found)
    if recipe.packing.cuts_stream:
        examples = Estimate(*(_cut(recipe, count) for count in (tokens.value, tokens.low, tokens.high)))
    elif factor == 1 and all(sample.whole for sample in samples):
        count, _ = _laid_out(recipe, samples, split)
        examples = Estimate(*[float(count)] * 3)
    else:  # each by itself: they were not read in the proportion in which they are mixed
        examples = ZERO
        for sample, found in zip(samples, of_each, strict=True):
            laid_out, of_tokens = _laid_out(recipe, [sample], split)
            examples += found.times(laid_out / of_tokens if of_tokens else 0.0)
    examples = examples.times(recipe.config.variants)
    shards = math.ceil(examples.value / shard_plan.examples_per_shard(recipe))
    size = examples.value * recipe.fixed_format.record_bytes
    return SplitForecast(documents=documents, tokens=tokens, examples=examples, shards=shards, bytes=size)


def _cut(recipe: Recipe, tokens: float) -> float:
    """Counts the examples that are cut of so many tokens."""
    counted = min(round(tokens), _COUNTED)
    count = Stream(recipe).count(counted)
    return count * tokens / counted if tokens > counted else float(count)


def _laid_out(recipe: Recipe, samples: Sequence[SourceSample], split: str) -> tuple[int, int]:
    """Counts the examples of what was read of some sources, laid out as a build does, and its tokens."""
    order = DocumentOrder(recipe, StageTable.of(stage for sample in samples for stage in sample.stages))
    sizes = [shard_plan.measure(order, group) for group in order.groups() if group.split == split]
    return sum(size.examples for size in sizes), sum(size.tokens for size in sizes)


def _size(recipe: Recipe, sample: SourceSample, source: int, factor: float, file_bytes: int | None) -> SourceSize:
    """Says what a source amounts to, for the plan of reads and merges."""
    config, total = recipe.config, sample.bytes * factor
    text = sample.estimate(0).times(factor).value
    count = sample.files if file_bytes is None else max(1, math.ceil(total / file_bytes))
    taken = {}
    for split in split_names(config):
        documents, tokens = sample.taken(config, source, split, factor)
        taken[split] = (math.ceil(documents.value), math.ceil(tokens.value))
    stored = merge_plan.file_bytes(StageTable.of(sample.stages)).sum() if sample.stages else 0
    return SourceSize(
        stage_files=max(1, merge_plan.count_stage_files(config, itertools.repeat(text / max(1, count), count))),
        bytes=round(float(stored) * sample.scale * factor),
        splits=taken,
        text_bytes=round(text),
    )


def _cost(
    samples: Sequence[SourceSample], splits: Mapping[str, SplitForecast], merges: MergePlan, prices: Prices, factor: float
) -> tuple[float, float, dict[str, float]]:
    """Adds up the hours of one processor, those of all workers together, and what is paid."""
    seconds = sum(sample.seconds * sample.scale for sample in samples) * factor
    seconds += sum(split.tokens.value for split in splits.values()) / prices.assembled_tokens_second
    seconds += merges.moved_bytes / 2 / (prices.merged_mb_second * 1e6)
    cpu_hours = seconds / _HOUR
    hours = cpu_hours / (prices.workers * prices.vcpus * prices.efficiency)
    worker_hours = hours * prices.workers
    dollars = {
        "processors": worker_hours * prices.vcpus * prices.vcpu_hour,
        "memory": worker_hours * prices.memory_gb * prices.memory_gb_hour,
        "disks": worker_hours * prices.disk_gb * prices.disk_gb_hour,
        "stage files": merges.disk_bytes / 1e9 * prices.storage_gb_month * hours / (30 * 24),
        "reads": (merges.reads + merges.merge_reads) / 1e4 * prices.reads_10000,
    }
    return cpu_hours, hours, dollars


def _losses(config: JobConfig, samples: Sequence[SourceSample]) -> Iterator[str]:
    """Says of which sources too much of the sample could not be read."""
    for source, sample in zip(config.sources, samples, strict=True):
        loss = losses.SourceLoss(source.name, sample.files, sample.bytes, sample.documents, sample.dead_letters)
        if problem := loss.too_much(config.execution.max_dead_letter_fraction):
            yield f"source {source.name!r}: of what was read {problem}. The first: {sample.first[0]}"
        elif not sample.documents and not config.execution.allow_empty_files:
            yield f"source {source.name!r}: what was read holds no document"


def _limits(merges: MergePlan, prices: Prices) -> Iterator[str]:
    """Says which limits of the service, or of its workers, the plan does not keep."""
    if prices.workers > MOST_WORKERS:
        yield f"{prices.workers:,} workers: a job on Dataflow has at most {MOST_WORKERS:,} (cloud.google.com/dataflow/quotas)"
    if merges.worker_bytes * prices.vcpus > prices.memory_gb * 1e9:
        yield (
            f"each process of a worker needs {amount(merges.worker_bytes)} of memory, and {prices.vcpus} of them have "
            f"{prices.memory_gb:g} GB: set a smaller execution.block_mb or order.group_tokens, or prices of larger workers"
        )


def _nothing(config: JobConfig, splits: Mapping[str, SplitForecast]) -> Iterator[str]:
    if splits[TRAIN].examples.value < 1:
        found = f"{splits[TRAIN].tokens.value:,.0f} tokens"
        yield f"the {TRAIN} split holds {found}, which fill no example of {config.packing.seq_len:,} ({naming.MANIFEST} would list none)"


def to_json(config: JobConfig, samples: Sequence[SourceSample], found: Forecast) -> dict[str, Any]:
    """Gives all numbers for programs: estimates as a value and the two numbers between which it is 99 times in 100."""
    sources = {}
    for source, sample in zip(config.sources, samples, strict=True):
        sources[source.name] = {
            "files": sample.files,
            "bytes": sample.bytes,
            "format": source.format,
            "epochs": source.epochs,
            "whole": sample.whole,
            "read_bytes": round(sample.read_bytes),
            "text_bytes": sample.estimate(0).round(),
            "filtered": dict(sample.filtered),
            "dead_letters": dict(sample.dead_letters),
        }
    splits = {
        name: {
            **{what: getattr(split, what).round() for what in ("documents", "tokens", "examples")},
            "shards": split.shards,
            "bytes": round(split.bytes),
        }
        for name, split in found.splits.items()
    }
    return {
        "sources": sources,
        "splits": splits,
        "merges": dataclasses.asdict(found.merges),
        "output_bytes": round(found.output_bytes),
        "cpu_hours": found.cpu_hours,
        "hours": found.hours,
        "dollars": dict(found.dollars),
        "refused": list(found.refused),
    }
