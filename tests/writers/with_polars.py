"""Polars: Arrow files and streams, Parquet, CSV, JSON lines and arrays; written by whichever version is imported."""

import pathlib
from collections.abc import Iterator

import polars as pl

from tests.writers.nasty import IDS, TEXTS, Case, main


def write(folder: pathlib.Path) -> Iterator[Case]:
    frame = pl.DataFrame({"id": IDS, "text": TEXTS})
    pieces = frame.with_columns(pl.col("text").cast(pl.Categorical))
    for codec in ("uncompressed", "lz4", "zstd"):
        frame.write_ipc(folder / f"{codec}.arrow", compression=codec)
        yield Case(f"{codec}.arrow", "arrow", {})
        frame.write_ipc_stream(folder / f"{codec}-stream.arrow", compression=codec)
        yield Case(f"{codec}-stream.arrow", "arrow", {})
    pieces.write_ipc(folder / "categories.arrow")
    yield Case("categories.arrow", "arrow", {})
    for codec in ("uncompressed", "snappy", "gzip", "brotli", "lz4", "zstd"):
        frame.write_parquet(folder / f"{codec}.parquet", compression=codec, row_group_size=10)
        yield Case(f"{codec}.parquet", "parquet", {})
    pieces.write_parquet(folder / "categories.parquet")
    yield Case("categories.parquet", "parquet", {})
    frame.write_csv(folder / "plain.csv")
    yield Case("plain.csv", "csv", {})
    frame.write_csv(folder / "always.csv", quote_style="always")
    yield Case("always.csv", "csv", {})
    frame.write_csv(folder / "bom.csv", include_bom=True, separator="\t")
    yield Case("bom.csv", "tsv", {})
    frame.write_ndjson(folder / "lines.ndjson")
    yield Case("lines.ndjson", "jsonl", {})
    frame.write_json(folder / "array.json", **({"row_oriented": True} if pl.__version__.startswith("0.") else {}))
    yield Case("array.json", "json", {})


if __name__ == "__main__":
    main(write)
