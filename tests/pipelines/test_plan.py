"""What `tokenreel plan` says, against what a build of the same config then does."""

from __future__ import annotations

import gzip
import json
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines import cli
from tokenreel.format import manifest

ROOT = pathlib.Path(__file__).parents[2]
FORMATS = {"jsonl": "jsonl", "jsonl.gz": "jsonl", "parquet": "parquet"}
SEEDS = range(5)
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The corpus of the demo, as JSON lines, gzip and Parquet."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = folder / "docs.jsonl"
    subprocess.run([sys.executable, str(ROOT / "examples/demo_corpus.py"), str(lines)], check=True, stdout=subprocess.DEVNULL)
    (folder / "docs.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes(), mtime=0))
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    pq.write_table(
        pa.table({"id": [row["id"] for row in rows], "text": [row["text"] for row in rows]}), folder / "docs.parquet", row_group_size=150
    )
    return folder


def write(corpus: pathlib.Path, ending: str, **settings: Any) -> str:
    source = {"name": "docs", "files": [str(corpus / f"docs.{ending}")], "format": FORMATS[ending], "id_field": "id"}
    config = {
        "output": str(corpus / "dataset"),
        "sources": [{**source, **settings.pop("source", {})}],
        "vocabulary": {"kind": "bytes"},
        "splits": {"validation": 0.05},
        "packing": {"seq_len": 256, "mode": "best_fit"},
        **settings,
    }
    path = corpus / f"{len(list(corpus.glob('*.yaml')))}.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def plan(config: str, capsys: Capture, *arguments: str, code: int = 0) -> dict[str, Any]:
    assert cli.main(["plan", config, "--json", *arguments]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture(scope="module")
def truth(corpus: pathlib.Path) -> dict[tuple[str, str], int]:
    """What a build makes of it, by split."""
    assert cli.main(["build", write(corpus, "jsonl"), "--direct_num_workers=1"]) == 0
    built = manifest.read(str(corpus / "dataset"))
    statistics = json.loads((corpus / "dataset/statistics.json").read_text())["splits"]
    shutil.rmtree(corpus / "dataset")
    found = {}
    for split, info in built.splits.items():
        found[split, "examples"], found[split, "shards"] = info.examples, len(info.shards)
        found |= {(split, what): statistics[split][what] for what in ("documents", "tokens")}
    return found


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_read_whole_is_known_exactly(corpus: pathlib.Path, truth: dict[tuple[str, str], int], capsys: Capture, ending: str) -> None:
    found = plan(write(corpus, ending), capsys)
    assert found["sources"]["docs"]["whole"] and not found["refused"]
    for (split, what), count in truth.items():
        told = found["splits"][split][what]
        assert (told if what == "shards" else told["value"]) == count
        assert what == "shards" or told["low"] == told["high"] == count


@pytest.mark.parametrize("ending", FORMATS)
def test_of_a_sample_the_interval_holds_the_truth(
    corpus: pathlib.Path, truth: dict[tuple[str, str], int], capsys: Capture, ending: str
) -> None:
    for seed in SEEDS:
        found = plan(write(corpus, ending, seed=seed), capsys, "--sample-mb=0.8")
        source = found["sources"]["docs"]
        assert not source["whole"] and source["read_bytes"] < source["bytes"]
        for (split, what), count in truth.items():
            if what != "shards":
                told = found["splits"][split][what]
                assert told["low"] <= count <= told["high"], (ending, seed, split, what, told, count)
        told = found["splits"]["train"]["tokens"]
        assert told["high"] - told["low"] < 0.5 * told["value"]  # an interval that says something


def test_a_hundred_terabytes_on_paper(corpus: pathlib.Path, capsys: Capture) -> None:
    config = write(corpus, "jsonl", output="gs://no-such-bucket/dataset", packing={"seq_len": 2048, "mode": "wrap"})
    found = plan(config, capsys, "--total=100TB", "--file-size=1GB", "--workers=1000")
    merges = found["merges"]
    assert found["refused"] == []
    assert merges["levels"] > 0 and merges["reads"] <= merges["limit"] < merges["without"]
    assert merges["moved_bytes"] > 100e12 and merges["worker_bytes"] < 4e9
    assert 50e12 < found["splits"]["train"]["tokens"]["value"] < 100e12
    assert found["hours"] > 1 and sum(found["dollars"].values()) > 100


def test_what_a_build_would_refuse_is_told(corpus: pathlib.Path, tmp_path: pathlib.Path, capsys: Capture) -> None:
    lines = (corpus / "docs.jsonl").read_bytes().splitlines(keepends=True)[:200]
    (corpus / "docs.broken.jsonl").write_bytes(b"".join([*lines, *[b"no document\n"] * 60]))
    config = write(corpus, "jsonl", source={"files": [str(corpus / "docs.broken.jsonl")]}, output=str(tmp_path / "out"))
    found = plan(config, capsys, code=1)
    assert found["sources"]["docs"]["dead_letters"] == {"invalid_json": 60}
    assert found["refused"][0].startswith("source 'docs': of what was read 60 of 260 documents could not be read (60 invalid_json)")
    assert cli.main(["plan", config, "--set=execution.max_dead_letter_fraction=1", "--workers=5000"]) == 1
    shown = capsys.readouterr()
    assert "would be refused: 5,000 workers: a job on Dataflow has at most 4,000" in shown.err
    assert "docs: 1 file of jsonl, " in shown.out and "  unreadable 60 invalid_json, of 260 documents read" in shown.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--total=many"], "'many' is no size such as 500GB or 100TB"),
        (["--sample-mb=0"], "--sample-mb must be positive, got 0"),
        (["--prices=nothing.yaml"], "--prices nothing.yaml: no such file"),
        (["--prices={prices}"], "expected numbers by name, of assembled_tokens_second, disk_gb, "),
    ],
)
def test_wrong_arguments_are_one_line(corpus: pathlib.Path, capsys: Capture, arguments: list[str], message: str) -> None:
    (corpus / "prices.txt").write_text("vcpu_hours: 1\n")
    given = [argument.format(prices=corpus / "prices.txt") for argument in arguments]
    try:
        code = cli.main(["plan", write(corpus, "jsonl"), *given])
    except SystemExit as exit:
        code = int(exit.code or 0)
    assert code == 2
    assert message in capsys.readouterr().err


def test_prices_are_the_users(corpus: pathlib.Path, capsys: Capture) -> None:
    (corpus / "prices.txt").write_text("vcpu_hour: 0\nmemory_gb_hour: 0\ndisk_gb_hour: 0\nstorage_gb_month: 0\nreads_10000: 10000\n")
    found = plan(write(corpus, "jsonl"), capsys, f"--prices={corpus / 'prices.txt'}")
    assert sum(found["dollars"].values()) == found["merges"]["reads"] > 0
