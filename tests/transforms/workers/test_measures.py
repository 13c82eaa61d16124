"""What a watcher of a job sees: counters and distributions, and a line of JSON in the worker's log for each piece of work."""

from __future__ import annotations

import json
import logging
import pathlib
from typing import Any

import numpy as np
import pytest
import yaml
from apache_beam.metrics import MetricsFilter

from pipelines import build, cli
from tokenreel.format import manifest
from tokenreel.vocabularies.unit_memo import lookups, memo
from transforms.workers import measures


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, unigram_model: str, texts: list[str]) -> tuple[dict[str, Any], list[str], Any]:
    """A build whose text has what cannot be read and what filters leave out: its metrics, the lines of its workers, its manifest."""
    folder = tmp_path_factory.mktemp("watched")
    lines = [json.dumps({"text": text}) for text in texts[:200]]
    (folder / "text.jsonl").write_text("\n".join([*lines, "no JSON", '{"text": 7}', '{"text": "short"}']) + "\n")
    config = {
        "output": str(folder / "made"),
        "sources": [{"name": "docs", "files": [str(folder / "text.jsonl")]}],
        "vocabulary": {"path": unigram_model},
        "filters": {"min_characters": 10},
        "packing": {"seq_len": 64},
        "shards": {"examples": 100},
        "execution": {"block_mb": 0.02, "max_dead_letter_fraction": 0.5},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    found: dict[str, Any] = {}
    shown: list[str] = []
    handler = logging.Handler(logging.INFO)
    handler.emit = lambda record: shown.append(record.getMessage())  # type: ignore[method-assign]
    log, from_cache = logging.getLogger("tokenreel.workers"), build._from_cache

    def keep(result: Any) -> str:
        every = result.metrics().query(MetricsFilter().with_namespace(measures.NAMESPACE))
        for metric in (*every["counters"], *every["distributions"]):
            found[metric.key.metric.name] = found.get(metric.key.metric.name, 0) + (
                metric.result if isinstance(metric.result, int) else metric.result.count
            )
        return from_cache(result)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_from_cache", keep)
        log.addHandler(handler)
        before = log.level
        log.setLevel(logging.INFO)  # which makes loggers forget what earlier tests had switched off
        try:
            assert cli.main(["build", str(folder / "config.yaml"), "--direct_num_workers=1"]) == 0
        finally:
            log.removeHandler(handler)
            log.setLevel(before)
    return found, shown, manifest.read(str(folder / "made"))


def test_metrics(watched: tuple[dict[str, Any], list[str], Any]) -> None:
    found, _, made = watched
    shards, examples = (sum(split[name] for split in found_splits(made)) for name in ("shards", "examples"))
    assert found["out-documents"] > 150 and found["out-tokens"] > 1000 and found["in-bytes"] > 10_000
    assert found["dead-letters"] == 2
    assert sum(value for name, value in found.items() if name.startswith("dead-letters-")) == 2
    assert sum(value for name, value in found.items() if name.startswith("filtered-")) == 201 - found["out-documents"]
    assert found["out-shards"] == found["shard-milliseconds"] == shards > 1
    assert found["out-examples"] == examples
    assert found["stage-milliseconds"] == found["in-blocks"] > 1
    assert found["reads-planned"] > 0
    assert "merge-bytes" not in found


def found_splits(made: Any) -> list[dict[str, int]]:
    return [{"shards": len(split.shards), "examples": sum(shard.records for shard in split.shards)} for split in made.splits.values()]


def test_lines_of_workers(watched: tuple[dict[str, Any], list[str], Any]) -> None:
    found, shown, made = watched
    entries = [(line.partition(" ")[0], json.loads(line.partition(" ")[2])) for line in shown]
    stages, shards = ([entry for kind, entry in entries if kind == name] for name in ("stage", "shard"))
    assert len(stages) == found["in-blocks"] and sum(entry["documents"] for entry in stages) == found["out-documents"]
    assert all(entry["source"] == "docs" and entry["source_files"][0].endswith("text.jsonl") for entry in stages)
    assert sorted(entry["file"] for entry in shards) == sorted(shard.file for split in made.splits.values() for shard in split.shards)
    assert len({entry["job"] for entry in (*stages, *shards)}) == 1 and all(entry["seconds"] >= 0 for entry in stages)


def test_a_failure_says_over_what(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tokenreel.workers"), pytest.raises(ValueError), measures.Task("stage", source_files=["a.jsonl"]):
        raise ValueError("bad token=secret")
    kind, _, said = caplog.messages[0].partition(" ")
    assert kind == "stage" and json.loads(said)["source_files"] == ["a.jsonl"] and json.loads(said)["failed"].startswith("ValueError: bad")


def test_few_names_of_many() -> None:
    assert measures.some(["a"]) == ["a"]
    assert measures.some("abcdefg") == ["a", "b", "c", "and 4 more"]


def test_the_memo_counts_what_it_looks_up(unigram_model: str, texts: list[str]) -> None:
    units = memo.load(pathlib.Path(unigram_model).read_bytes(), 1 << 20)
    assert units is not None
    text = np.frombuffer("".join(texts[:50]).encode(), dtype=np.uint8)
    offsets = np.array([0, len(text)])
    lookups.take()
    units.encode_block(text, offsets)
    first = lookups.take()
    units.encode_block(text, offsets)
    assert first[1] > 100 and lookups.take() == (sum(first), 0), "what was new is known the second time"


def test_lookups_are_of_one_thread() -> None:
    lookups.take()
    lookups.add(5, 2)
    assert lookups.take() == (5, 2) and lookups.take() == (0, 0)
