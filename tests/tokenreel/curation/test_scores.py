"""Scores by the names of documents, from tables of several makers."""

from __future__ import annotations

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenreel import keys
from tokenreel.config.scores import ScoreConfig
from tokenreel.curation import scores
from tokenreel.errors import ConfigError
from tokenreel.sources.values import position_keys


def write(path: pathlib.Path, **columns: object) -> str:
    pq.write_table(pa.table(columns), path)
    return str(path)


def config(*files: str, **settings: object) -> ScoreConfig:
    return ScoreConfig(files=files, **{"min": -6.0, **settings})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"files": ()}, "names no file"), ({"min": None}, "give min, max or both"), ({"min": 1, "max": 0}, "nothing would be left")],
)
def test_rules_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScoreConfig(**{"files": ("a",), "min": 0.0, **settings})  # type: ignore[arg-type]


def test_documents_are_found_by_their_ids_in_their_source(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "a.parquet", source=["s", "s", "t"], doc_id=["x", "y", "x"], score=[-5.0, -7.0, -1.0])
    settings = config(path)
    found = scores.load(settings, "s", "id", scores.digest(settings))
    names = np.array([keys.key("document", "s", name) for name in ("y", "x", "z")], np.uint64)
    outside, missing = found.judge(names, settings)
    assert outside.tolist() == [True, False, False] and missing.tolist() == [False, False, True]
    assert found.judge(names, config(path, min=None, max=-6.0))[0].tolist() == [False, True, False]


def test_documents_without_ids_are_found_by_their_places(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "a.parquet", doc_id=["b#1.jsonl#7", "a.jsonl#0"], score=[-9.0, -1.0])
    settings = config(path)
    found = scores.load(settings, "s", None, scores.digest(settings))
    names = np.concatenate([position_keys("s", "b#1.jsonl", np.array([7, 8])), position_keys("s", "a.jsonl", np.array([0]))])
    assert [each.tolist() for each in found.judge(names, settings)] == [[True, False, False], [False, True, False]]
    other = config(write(tmp_path / "b.parquet", doc_id=["x"], score=[1.0]))
    with pytest.raises(ConfigError, match="'x' is no name of a document of source s, which has no id_field"):
        scores.load(other, "s", None, scores.digest(other))


def test_rows_of_one_document_are_scored_together(tmp_path: pathlib.Path) -> None:
    path = write(tmp_path / "a.parquet", doc_id=["x", "x"], predicted_tokens=[1, 3], logprob=[-1.0, -7.0], score=[-1.0, -7 / 3])
    settings = config(path)
    assert scores.load(settings, "s", "id", scores.digest(settings)).scores.tolist() == [-2.0]


def test_the_tables_of_features_are_found(tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "features/scores"
    folder.mkdir(parents=True)
    for name in ("train", "validation"):
        write(folder / f"{name}-00000-of-00001.parquet", doc_id=[name], score=[1.0])
    write(tmp_path / "features/other.parquet", doc_id=["other"], score=[1.0])
    assert len(scores.find_tables(config(str(tmp_path / "features")))) == 2
    assert scores.digest(config(str(tmp_path / "features"))) == scores.digest(config(str(folder)))


@pytest.mark.parametrize("what", ["missing", "empty", "columns", "number", "garbage"])
def test_what_is_no_table_of_scores_is_refused(tmp_path: pathlib.Path, what: str) -> None:
    path = tmp_path / "a.parquet"
    if what == "empty":
        path = tmp_path
    elif what == "columns":
        write(path, name=["x"])
    elif what == "number":
        write(path, doc_id=["x"], score=[float("nan")])
    elif what == "garbage":
        path.write_bytes(b"nothing")
    settings = config(str(path))
    with pytest.raises(ConfigError, match=r"filters\.scores\.files"):
        scores.load(settings, "s", "id", scores.digest(settings))
