"""`filters.scores`: documents left out by what a model said of them, without tokenizing anything again."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import tokenreel
from pipelines import cli
from tokenreel.inspection.verification import verify

COUNT = 60


@pytest.fixture
def directory(tmp_path: pathlib.Path) -> pathlib.Path:
    """Two sources, of which the documents of one have ids, and scores of all of them: minus their number."""
    rows = [{"id": f"doc-{number}", "text": f"document {number} " + "text " * number} for number in range(COUNT)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "b.txt").write_text("".join(f"line {number} of the other\n" for number in range(COUNT)))
    names = [f"doc-{number}" for number in range(COUNT)]
    table = {"source": ["a"] * COUNT, "doc_id": names, "score": [-float(number) for number in range(COUNT)]}
    pq.write_table(pa.table(table), tmp_path / "scores.parquet")
    return tmp_path


def build(directory: pathlib.Path, name: str, scores: dict[str, Any] | None, *options: str, **settings: Any) -> int:
    config = {
        "output": name,
        "sources": [
            {"name": "a", "files": ["a.jsonl"], "id_field": "id", "filters": {} if scores is None else {"scores": scores}},
            {"name": "b", "files": ["b.txt"], "format": "lines"},
        ],
        "vocabulary": {"kind": "bytes"},
        "packing": {"seq_len": 32},
        "execution": {"stage": "stage"},
        **settings,
    }
    path = directory / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return cli.main(["build", str(path), "--direct_num_workers=1", *options])


def documents(directory: pathlib.Path, split: str = "train") -> set[str]:
    tables = [pq.read_table(path) for path in sorted((directory / "provenance").glob(f"{split}-*"))]
    return {row["doc_id"] for table in tables for row in table.to_pylist() if row["source"] == "a"}


def test_another_threshold_tokenizes_nothing_again(directory: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"files": ["scores.parquet"], "min": -20.0}
    assert build(directory, "all", None) == 0
    assert "0 were tokenized" not in capsys.readouterr().err
    fingerprints = {tokenreel.load(directory / "all").manifest.fingerprint}
    for name, low, kept in (("some", -20.0, 21), ("fewer", -5.0, 6)):
        assert build(directory, name, {**scores, "min": low}) == 0
        assert "2 of 2 blocks came from the token cache, 0 were tokenized" in capsys.readouterr().err
        found = tokenreel.load(directory / name).manifest
        assert documents(directory / name) == {f"doc-{number}" for number in range(kept)}
        assert found.totals["documents_filtered"] == {"low_score": COUNT - kept}
        assert found.totals["documents_read"] == 2 * COUNT and verify(str(directory / name)) == []
        told = json.loads((directory / name / "statistics.json").read_text())["sources"]["a"]
        assert told["filtered_by_reason"] == {"low_score": COUNT - kept}
        fingerprints.add(found.fingerprint)
    assert len(fingerprints) == 3


def test_what_becomes_of_documents_without_a_score(directory: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pq.read_table(directory / "scores.parquet")
    pq.write_table(table.slice(10), directory / "scores.parquet")
    scores = {"files": ["scores.parquet"], "min": -20.0}
    assert build(directory, "error", scores) == 1
    said = capsys.readouterr().err
    assert re.search(r"document 'doc-\d' of source a and 9 more of its part has no score", said)
    assert "filters.scores.missing to keep or drop" in said
    assert build(directory, "keep", {**scores, "missing": "keep"}) == 0
    assert documents(directory / "keep") == {f"doc-{number}" for number in range(21)}
    assert build(directory, "drop", {**scores, "missing": "drop"}) == 0
    assert documents(directory / "drop") == {f"doc-{number}" for number in range(10, 21)}
    assert tokenreel.load(directory / "drop").manifest.totals["documents_filtered"] == {"low_score": COUNT - 21, "no_score": 10}
    assert verify(str(directory / "drop")) == []


def test_scores_beside_duplicates_splits_and_repeats(directory: pathlib.Path) -> None:
    rows = [{"id": f"copy-{number}", "text": f"document {number} " + "text " * number} for number in range(10)]
    with (directory / "a.jsonl").open("a") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    scores = {"files": ["scores.parquet"], "min": -20.0, "missing": "keep"}
    settings = {"duplicates": {"remove": "documents"}, "splits": {"validation": "30%"}}
    assert build(directory, "built", scores, **settings) == 0
    totals = tokenreel.load(directory / "built").manifest.totals
    assert totals["documents_duplicate"] == 10 and totals["documents_filtered"] == {"low_score": COUNT - 21}
    assert totals["documents_written"] == 21 + COUNT and verify(str(directory / "built")) == []
    taken = documents(directory / "built") | documents(directory / "built", "validation")
    assert len(taken) == 21 and {name.split("-")[1] for name in taken} == {str(number) for number in range(21)}


def test_other_scores_make_another_dataset(directory: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"files": ["scores.parquet"], "min": -20.0}
    assert build(directory, "built", scores) == 0
    assert build(directory, "built", scores) == 0
    assert "is complete already" in capsys.readouterr().err
    table = pq.read_table(directory / "scores.parquet")
    pq.write_table(table.slice(0, COUNT - 1).append_column("x", pa.array([0] * (COUNT - 1))), directory / "scores.parquet")
    assert build(directory, "built", {**scores, "missing": "drop"}) == 1
    assert "other settings and input files" in capsys.readouterr().err


def test_tokenizers_are_trained_without_scores(directory: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {
        "output": "tokenizer",
        "sources": [{"files": ["b.txt"], "format": "lines"}],
        "filters": {"scores": {"files": ["scores.parquet"], "min": 0}},
    }
    (directory / "t.yaml").write_text(yaml.safe_dump(config))
    assert cli.main(["train-tokenizer", str(directory / "t.yaml")]) == 2
    assert "a tokenizer is trained without them" in capsys.readouterr().err
