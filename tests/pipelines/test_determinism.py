"""The same bytes, however a build is run. Everything downstream, from resuming to provenance, stands on this."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apache_beam.runners.portability.fn_api_runner import fn_runner

from pipelines import cli
from tests.conftest import tree_digest
from tokenreel.format import manifest
from tokenreel.sources import part_bounds

WriteConfig = Callable[..., str]
MERGED_READS = 250  # a budget for which stage files are merged
LAYOUTS = {
    "wrap_shuffled": {},
    "wrap_in_source_order": {"order": {"mode": "source", "group_tokens": 20_000}},
    "best_fit": {"packing": {"mode": "best_fit", "seq_len": 64}},
    "masked_copies": {"objective": {"name": "roberta", "mask_id": 2}, "packing": {"seq_len": 64}, "variants": 2},
    "denoisers": {"objective": {"name": "ul2", "first_sentinel_id": 599}, "packing": {"seq_len": 128}},
    "infilling": {
        "objective": {"name": "fill_in_the_middle", "prefix_id": 597, "suffix_id": 598, "middle_id": 599},
        "packing": {"mode": "first_fit", "seq_len": 128},
    },
    "sentence_pairs": {
        "packing": {
            "mode": "segment_pairs",
            "seq_len": 64,
            "sentences": "rules",
            "separator_id": 3,
            "add_eos": False,
            "options": {"first_id": 1},
        },
    },
    "best_fit_in_source_order": {"packing": {"mode": "best_fit", "seq_len": 64}, "order": {"mode": "source", "group_tokens": 20_000}},
}


def build(config: str, output: pathlib.Path, *arguments: str) -> dict[str, str]:
    assert cli.main(["build", config, "--output", str(output), "--direct_num_workers=1", *arguments]) == 0
    return tree_digest(output)


def selection(corpus: pathlib.Path, duplicates: str) -> dict[str, object]:
    """Settings that take some documents several times, some not at all, and find part of the text twice."""
    again = {"name": "again", "files": [str(corpus / "plain.jsonl"), str(corpus / "crlf.jsonl")], "epochs": 0.7, "splits": {"test": 0.2}}
    docs = {"name": "docs", "files": [str(corpus)], "epochs": 2.3, "filters": {"min_words": 4}}
    settings = {"sources": [docs, again], "duplicates": {"remove": duplicates}, "filters": {"lines": {"drop_phrases": [">>>"]}}}
    return settings | {"execution": {"allow_leaks": True}}  # the files of one are in the other as well


@pytest.fixture(params=["plain", "selection", pytest.param("merged", marks=pytest.mark.slow)])
def reference(
    request: pytest.FixtureRequest, write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path
) -> tuple[str, dict[str, str]]:
    """A config, and what it gives; "merged" is compared with what is built without merging, once with one level and else with two."""
    settings = selection(corpus, "documents") if request.param != "plain" else {}
    config = write_config(**settings)
    expected = build(config, tmp_path / "reference")
    if request.param == "merged":
        limits = {"allow_leaks": True, "block_mb": 0.02, "max_reads": MERGED_READS, "merge_files": 4}
        config = write_config(**{**settings, "execution": limits})
    return config, expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_block_size_and_threads_change_nothing(write_config: WriteConfig, tmp_path: pathlib.Path, layout: str) -> None:
    config = write_config(**LAYOUTS[layout])
    expected = build(config, tmp_path / "reference")
    assert any(name.startswith("train.tfrecord") for name in expected)
    for block_mb in ("0.003", "0.05"):
        arguments = ["--set", f"execution.block_mb={block_mb}", "--direct_num_workers=4", "--direct_running_mode=multi_threading"]
        assert build(config, tmp_path / block_mb, *arguments) == expected


@pytest.mark.parametrize(
    ("duplicates", "order"),
    [("documents", "shuffle"), ("documents", "source"), ("documents", "field"), ("lines", "shuffle"), ("paragraphs", "source")],
)
def test_block_size_does_not_change_what_is_taken(
    write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path, duplicates: str, order: str
) -> None:
    settings = selection(corpus, duplicates)
    if order == "field":
        settings["sources"] = [{**source, "order_field": "number"} for source in settings["sources"]]  # type: ignore[attr-defined]
    config = write_config(**settings, order={"mode": order, "group_tokens": 20_000})
    expected = build(config, tmp_path / "reference")
    totals = manifest.read(str(tmp_path / "reference")).totals
    assert totals["documents_repeated"] > 100 and totals["documents_not_sampled"] > 30
    for block_mb in ("0.004", "0.05"):
        arguments = ["--set", f"execution.block_mb={block_mb}", "--direct_num_workers=4", "--direct_running_mode=multi_threading"]
        assert build(config, tmp_path / block_mb, *arguments) == expected


@pytest.mark.parametrize("duplicates", ["documents", pytest.param("lines", marks=pytest.mark.slow)])
def test_the_bound_of_documents_changes_nothing(
    write_config: WriteConfig, corpus: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, duplicates: str
) -> None:
    """Nor do stage files of blocks that were cut by another bound, some of which are lost."""
    stage = tmp_path / "stage"
    settings = selection(corpus, duplicates)
    config = write_config(**settings | {"execution": {**settings.get("execution", {}), "stage": str(stage)}})
    expected = build(config, tmp_path / "reference")
    shutil.rmtree(stage)
    draw = random.Random(1)
    for bound in (40, 25):
        monkeypatch.setattr(part_bounds, "MOST_DOCUMENTS", bound)
        assert build(config, tmp_path / "built") == expected
        shutil.rmtree(tmp_path / "built")
        parts = sorted(stage.glob("*.stage"))
        assert len(parts) > 20
        for path in draw.sample(parts, len(parts) // 4):
            path.unlink()


def test_processes_change_nothing(reference: tuple[str, dict[str, str]], tmp_path: pathlib.Path) -> None:
    config, expected = reference
    # In a process of its own: the runner's workers inherit what the tests imported otherwise.
    command = [sys.executable, "-m", "pipelines.build", config, "--output", str(tmp_path / "processes")]
    options = ["--set", "execution.block_mb=0.05", "--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    subprocess.run([*command, *options], check=True, env={**os.environ, "PYTHONPATH": os.getcwd()}, timeout=300)
    assert tree_digest(tmp_path / "processes") == expected


def test_replayed_bundles_change_nothing(reference: tuple[str, dict[str, str]], tmp_path: pathlib.Path) -> None:
    config, expected = reference
    options = ["--direct_runner_bundle_repeat=2", "--set", "execution.block_mb=0.02"]
    assert build(config, tmp_path / "replayed", *options) == expected


def test_forced_splits_change_nothing(reference: tuple[str, dict[str, str]], tmp_path: pathlib.Path) -> None:
    config, expected = reference
    bundles = []

    def halves(num_elements: int) -> Iterator[float]:
        bundles.append(num_elements)
        for _ in range(3):  # what the bundle has finished by then can no longer be split off
            yield 0.5

    with contextlib.ExitStack() as stack:
        merging = "MergeStages/MergeLevels/Merge1"  # where there is such a stage
        for stage in ("TokenizeBlocks/TokenizeBlock", merging, "PlanShards/MeasureGroup", "BuildShards/BuildShard"):
            stack.enter_context(fn_runner.split_manager(stage, halves))
        # Over gRPC: the embedded worker takes no splits, and loses what a forced one should have returned.
        options = ["--direct_running_mode=multi_threading", "--set", "execution.block_mb=0.02"]
        assert build(config, tmp_path / "split", *options) == expected
    assert len(bundles) >= 3, "a split was asked for in every stage, unless the names of the stages have changed"


def test_shuffled_listings_change_nothing(
    reference: tuple[str, dict[str, str]], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, expected = reference
    walk = os.walk

    def shuffled(*arguments: str) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, names in walk(*arguments):
            random.Random(3).shuffle(folders)
            yield folder, folders, random.Random(4).sample(names, len(names))

    monkeypatch.setattr(os, "walk", shuffled)
    assert build(config, tmp_path / "listed") == expected


@contextlib.contextmanager
def serving(*command: str, **options: Any) -> Iterator[str]:
    """Runs a Python program that serves at a free port, which the command names as `{port}`; gives its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, *(argument.format(port=port) for argument in command)], **options)
    try:
        deadline = time.monotonic() + 120
        while server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port), timeout=1):
                break
            time.sleep(0.1)
        yield f"localhost:{port}"
    finally:
        server.kill()
        server.wait()


def job_service() -> contextlib.AbstractContextManager[str]:
    """A job service of Beam's own."""
    module = "apache_beam.runners.portability.local_job_service_main"
    return serving("-m", module, "--port={port}", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_portable_job_service_changes_nothing(reference: tuple[str, dict[str, str]], tmp_path: pathlib.Path) -> None:
    config, expected = reference
    with job_service() as endpoint:
        options = ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]
        assert build(config, tmp_path / "portable", *options) == expected


def test_the_seed_changes_the_order_and_not_the_splits(write_config: WriteConfig, tmp_path: pathlib.Path) -> None:
    import pyarrow.parquet as pq

    documents = {}
    for seed in (1, 2):
        build(write_config(seed=seed, packing={"seq_len": 64, "last_example": "pad"}), tmp_path / str(seed))
        tables = [pq.read_table(path) for path in sorted((tmp_path / str(seed) / "provenance").glob("train-*"))]
        documents[seed] = [name for table in tables for name in table["doc_id"].to_pylist()]
    assert documents[1] != documents[2]
    assert set(documents[1]) == set(documents[2])
