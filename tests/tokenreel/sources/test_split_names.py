from __future__ import annotations

import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import SourceError
from tokenreel.sources.listing import Listing, list_source
from tokenreel.sources.split_names import split_of


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00004.parquet", "train"),
        ("c4-train.00001-of-01024.json.gz", "train"),
        ("wiki_dev.jsonl", "validation"),
        ("TEST.csv", "test"),
        ("a/val/part-0.jsonl", "validation"),
        ("train/validation.jsonl", "validation"),
        ("train_sft-00000-of-00001.parquet", "train"),
        ("trainer.jsonl", None),
        ("latest.jsonl", None),
        ("train_vs_test.csv", None),
        ("books.jsonl", None),
    ],
)
def test_names_tell_splits(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_split_is_chosen_by_names_in_every_format(tmp_path: pathlib.Path, kind: str) -> None:
    for name in ("train-0", "train-1", "test-0", "valid/0", "train_sft-0"):
        path = tmp_path / f"{name}.{kind}"
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"text": "a"}\n')
        if kind == "parquet":
            pq.write_table(pa.table({"text": ["a"]}), path)

    def listed(split: str | None) -> Listing:
        return list_source(SourceConfig(files=(str(tmp_path),), format=kind, split=split))  # type: ignore[arg-type]

    assert [file.name for file in listed("dev").files] == [f"valid/0.{kind}"]
    assert [file.name for file in listed("test").files] == [f"test-0.{kind}"]
    assert [file.name for file in listed("train_sft").files] == [f"train_sft-0.{kind}"]
    chosen = listed("train")
    assert [file.name for file in chosen.files] == [f"train-0.{kind}", f"train-1.{kind}", f"train_sft-0.{kind}"] and not chosen.notes
    everything = listed(None)
    assert len(everything.files) == 5
    assert everything.notes == [
        "source 'text': by their names, files of several splits are read as one text: train (3 files), validation (1 file), test (1 file). "
        "sources.split chooses one."
    ]
    with pytest.raises(SourceError, match=r"none of 5 files is of the split 'other'; names tell of train \(3 files\), validation"):
        listed("other")
