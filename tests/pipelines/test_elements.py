"""What passes through the runner: no element grows with the number of files, groups, shards or token ids."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pipelines import cli
from pipelines.local import runner
from tests.elements import LARGEST, Elements
from tests.elements import elements as elements
from tests.soak import starved
from tokenreel.format import manifest
from tokenreel.storage.stored_value import StoredValue

LARGEST_GRAPH = 1 << 20


@pytest.fixture
def build_files(tmp_path: pathlib.Path, elements: Elements) -> Callable[..., tuple[Elements, pathlib.Path]]:
    """Builds a dataset from so many files, some to a stage file, with as many groups and shards; says what the runner encoded."""

    def build(count: int, per_block: int, **settings: Any) -> tuple[Elements, pathlib.Path]:
        root = tmp_path / str(count)
        (root / "text").mkdir(parents=True)
        for i in range(count):
            (root / "text" / f"{i:06d}.txt").write_bytes(b"%06d and some more" % (i % 1000))
        config = {
            "output": str(root / "dataset"),
            "sources": [{"files": [str(root / "text")], "format": "text"}],
            "vocabulary": {"kind": "bytes"},
            "packing": {"seq_len": 16},
            "order": {"group_tokens": 800, "mode": "source"},
            "shards": {"examples": 80, "provenance": False},
            "splits": {"validation": 0.1},
            "execution": {"block_mb": 20 * per_block / (1 << 20)},
            **settings,
        }
        (root / "config.yaml").write_text(yaml.safe_dump(config))
        elements.count = elements.largest = 0
        assert cli.main(["build", str(root / "config.yaml"), "--direct_num_workers=1"]) == 0
        return dataclasses.replace(elements), root / "dataset"

    return build


@pytest.mark.parametrize("duplicates", ["none", "documents", "lines"])
def test_no_element_grows_with_the_number_of_files(
    build_files: Callable[..., tuple[Elements, pathlib.Path]], monkeypatch: pytest.MonkeyPatch, duplicates: str
) -> None:
    """40 files in 8 stage files against 1,000 in 200, and as many times the groups and shards."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
    settings = {} if duplicates == "none" else {"duplicates": {"remove": duplicates}}
    few, _ = build_files(40, 5, **settings)
    many, dataset = build_files(1000, 5, **settings)
    assert many.count > 10 * few.count and len(manifest.read(str(dataset)).splits["train"].shards) > 10
    assert max(few.largest, many.largest) < LARGEST
    # Numbers have more digits, and where few rows travel in an accumulator, of many the paths of files do.
    assert many.largest < 1.5 * few.largest, many.what


@pytest.mark.tensorflow  # which counts the characters
def test_no_element_of_a_sample_grows_with_the_number_of_blocks(
    tmp_path: pathlib.Path, elements: Elements, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paths of all sampled files were one list."""
    monkeypatch.setattr("os.fsync", lambda fd: None)
    elements.naming = ".sample"  # others are histograms of a constant size
    found = []
    for count in (20, 210):
        text = tmp_path / f"{count}.txt"
        text.write_text("".join(f"{i % 1000:06d} and some more\n" for i in range(10 * count)))
        source = {"files": [str(text)], "format": "lines"}
        config = tmp_path / f"{count}.yaml"
        execution = {"block_mb": 200 / (1 << 20)}
        config.write_text(
            yaml.safe_dump({"output": str(tmp_path / f"out{count}"), "sources": [source], "kind": "characters", "execution": execution})
        )
        elements.count = elements.largest = 0
        assert cli.main(["train-tokenizer", str(config), "--direct_num_workers=1"]) == 0
        found.append(dataclasses.replace(elements))
    few, many = found
    assert many.count > 4 * few.count
    assert 0 < many.largest < 1.5 * few.largest, many.what


def test_many_files_in_one_block(build_files: Callable[..., tuple[Elements, pathlib.Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda fd: None)
    many, _ = build_files(2000, 2000)
    assert many.largest < LARGEST, many.what


def write_tokenizer(path: pathlib.Path, count: int) -> None:
    """Writes a tokenizer.json of so many words."""
    tokens = {"[UNK]": 0, "[MASK]": 1, **{f"word-{i:09d}-of-many": i for i in range(2, count)}}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": name, **added} for i, name in enumerate(("[UNK]", "[MASK]"))],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {
            "type": "WordPiece",
            "vocab": tokens,
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 50,
        },
    }
    path.write_text(json.dumps(tokenizer))


def test_the_graph_is_small_with_a_large_vocabulary(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tokenizer of 256k words, 8 MB, and an objective that knows which of them begin words; no thread unpacks either again."""
    write_tokenizer(tmp_path / "tokenizer.json", 256_000)
    assert (tmp_path / "tokenizer.json").stat().st_size > 7e6
    words = " ".join(f"word-{i:09d}-of-many" for i in range(7, 11))
    (tmp_path / "text.jsonl").write_text(f'{{"text": "{words}"}}\n' * 40)
    config = {
        "output": "dataset",
        "sources": [{"files": ["text.jsonl"], "format": "jsonl"}],
        "vocabulary": {"kind": "huggingface", "path": "tokenizer.json"},
        "packing": {"seq_len": 16, "add_eos": False},
        "objective": {"name": "whole_word_lm"},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    graphs: list[int] = []
    read: list[str] = []
    run, read_value = runner._LocalRunner.run_via_runner_api, StoredValue._read

    def measure(self: Any, graph: Any, options: Any) -> Any:
        graphs.append(graph.ByteSize())
        return run(self, graph, options)

    def count(self: StoredValue[Any]) -> bytes:
        read.append(self.path)
        return read_value(self)

    monkeypatch.setattr(runner._LocalRunner, "run_via_runner_api", measure)
    monkeypatch.setattr(StoredValue, "_read", count)
    assert cli.main(["build", str(tmp_path / "config.yaml"), "--direct_num_workers=2"]) == 0
    assert len(graphs) == 1 and graphs[0] < LARGEST_GRAPH
    assert not any(read)  # what was small was unpacked, and no file read
    assert not (tmp_path / "dataset/.stage").exists()


@pytest.mark.slow
def test_many_files_on_a_starved_machine(tmp_path: pathlib.Path) -> None:
    """The soak with fewer files: `python -m tests.soak starved` takes 100,000."""
    config = starved.write(tmp_path, 5000)
    found, log, _ = starved.starve(config, seed=0)
    assert found == starved.whole(config), log
