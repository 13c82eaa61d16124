"""Hugging Face `datasets`: folders that it saved, its cache, and its exports."""

import pathlib
from collections.abc import Iterator

import datasets
import pandas as pd

from tests.writers.nasty import IDS, TEXTS, Case, main, own


def write(folder: pathlib.Path) -> Iterator[Case]:
    rows = datasets.Dataset.from_dict({"id": IDS, "text": TEXTS})
    rows.save_to_disk(folder / "saved", num_shards=3)
    yield Case("saved", "arrow", {})
    datasets.DatasetDict({"train": rows, "test": rows.select(range(3))}).save_to_disk(folder / "splits")
    yield Case("splits", "arrow", {"split": "train"})
    rows.to_parquet(folder / "exported.parquet")
    yield Case("exported.parquet", "parquet", {})
    rows.to_csv(folder / "exported.csv", index=False)
    again = pd.read_csv(folder / "exported.csv", keep_default_na=False, dtype=str)  # pandas wrote it
    yield Case("exported.csv", "csv", {}, own(again["id"], again["text"]))
    rows.to_json(folder / "exported.jsonl")
    yield Case("exported.jsonl", "jsonl", {})
    rows.to_json(folder / "exported.json", lines=False)
    yield Case("exported.json", "json", {})
    cached = datasets.load_dataset("parquet", data_files=str(folder / "exported.parquet"), cache_dir=str(folder / "cache"))
    yield Case(str(pathlib.Path(cached["train"].cache_files[0]["filename"]).relative_to(folder)), "arrow", {})


if __name__ == "__main__":
    main(write)
