"""The arithmetic of merge levels. What a build then does is compared with it in tests/pipelines/test_merging.py."""

from __future__ import annotations

import pathlib
import re

import pytest

from tests import layering
from tokenreel.config.build import JobConfig, OrderConfig, VocabularyConfig
from tokenreel.config.corpus import ExecutionConfig, SourceConfig
from tokenreel.errors import BuildError
from tokenreel.planning import merge_plan
from tokenreel.planning.merge_plan import MergePlan, SourceSize
from tokenreel.wording import amount

STORAGE = pathlib.Path(layering.ROOT) / "docs/storage.md"
SHARD = 1 << 25  # tokens: 64 MB of two bytes each


def job(mode: str = "shuffle", sources: int = 1, **execution: object) -> JobConfig:
    return JobConfig(
        output="out",
        sources=tuple(SourceConfig(name=str(i), files=("*",), format="jsonl", order_field="n") for i in range(sources)),
        vocabulary=VocabularyConfig(kind="bytes"),
        order=OrderConfig(mode=mode),  # type: ignore[arg-type]
        execution=ExecutionConfig(**{"block_mb": 64, **execution}),  # type: ignore[arg-type]
    )


def web(config: JobConfig, gigabytes: int) -> list[SourceSize]:
    """Web text in files of a GB, which is cut into tokens of four bytes."""
    return [merge_plan.estimate(config, 0, [(10**9, 1)] * gigabytes, token_bytes=4, token_size=2)]


def planned(gigabytes: int, config: JobConfig | None = None) -> MergePlan:
    config = config or job()
    return merge_plan.plan(config, web(config, gigabytes), SHARD)


def test_the_table_of_the_page_is_what_is_planned() -> None:
    for size, gigabytes in [("100 GB", 100), ("1 TB", 1000), ("10 TB", 10_000), ("100 TB", 100_000)]:
        found = planned(gigabytes)
        cells = (found.stage_files, found.groups, found.levels, found.without, found.reads)
        row = f"| {size} | " + " | ".join(f"{value:,}" for value in cells) + f" | {amount(found.moved_bytes)} |"
        assert row in STORAGE.read_text(encoding="utf-8").splitlines()
        assert found.reads <= found.limit < found.without or not found.levels
        assert found.worker_bytes < 1e9 and found.disk_bytes == (1 + found.levels) * web(job(), gigabytes)[0].bytes


def test_the_example_of_the_page_is_what_is_planned() -> None:
    (text,) = re.findall(r"note: (planned by .*?)\n```", STORAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert text.replace("\\\n", "") == f"planned by the size of the files: {planned(6000)}"


@pytest.mark.parametrize("gigabytes", [1, 100, 3000, 100_000])
@pytest.mark.parametrize("fan_in", [2, 64, 1000])
def test_as_few_levels_as_are_enough(gigabytes: int, fan_in: int) -> None:
    config = job(merge_files=fan_in)
    found = planned(gigabytes, config)
    assert found.reads <= found.limit
    if found.levels:
        fewer = merge_plan.plan(config, web(config, gigabytes), SHARD, most=found.levels - 1)
        assert fewer.levels == found.levels - 1 and fewer.reads > found.limit
        assert found.strands == -(-found.stage_files // fan_in**found.levels)
    assert found.moved_bytes == 2 * found.levels * web(config, gigabytes)[0].bytes


def test_a_job_is_ready_for_more_than_is_planned() -> None:
    config = job()
    assert [merge_plan.levels_to_prepare(config, web(config, size), SHARD) for size in (10, 100, 1000)] == [0, 1, 2]
    assert [planned(size).levels for size in (10, 100, 1000)] == [0, 0, 1]


def test_text_in_source_order_is_not_merged() -> None:
    assert planned(100_000, job("source")).levels == 0
    merge_plan.check(planned(100_000, job("source")), job("source"))


@pytest.mark.parametrize("gigabytes", [1, 100, 3000, 100_000])
def test_by_a_field_the_first_level_joins_what_makes_one_file(gigabytes: int) -> None:
    config = job("field")
    (size,), found = web(config, gigabytes), planned(gigabytes, config)
    assert found.levels == {1: 0, 100: 0, 3000: 2, 100_000: 4}[gigabytes] and found.reads <= found.limit
    first = merge_plan.first_fan_in(config, size.file_bytes)
    assert first * size.file_bytes <= merge_plan.range_bytes(config) < (first + 1) * size.file_bytes
    if found.levels:
        assert found.strands == -(-found.stage_files // (first * 64 ** (found.levels - 1)))
        assert merge_plan.plan(config, [size], SHARD, most=found.levels - 1).reads > found.limit
    merge_plan.check(found, config)


def test_sources_that_no_merging_joins() -> None:
    config = job(sources=100, max_reads=1000)
    sizes = [merge_plan.estimate(config, i, [(10**9, 1)], token_bytes=4, token_size=2) for i in range(100)]
    found = merge_plan.plan(config, sizes, SHARD)
    assert found.strands == 100 and found.reads > 1000
    with pytest.raises(BuildError, match="even after 1 merge level, would take about"):
        merge_plan.check(found, config)


def test_an_estimate_counts_blocks_as_they_are_cut() -> None:
    config = job(block_mb=1)
    block = 1 << 20
    size = merge_plan.estimate(config, 0, [(block // 2, 1)] * 3 + [(5 * block + 1, 1), (block, 4)], token_bytes=4, token_size=2, extra=1)
    assert size.stage_files == 2 + 6 + 4
    documents, tokens = size.splits["train"]
    text = 3 * block // 2 + 5 * block + 1 + 4 * block
    assert tokens == text // 4 - (-text // 2300) and documents == -(-text // 100)  # a bound of small ones, while most are web pages
