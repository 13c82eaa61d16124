"""pandas: CSV, JSON lines and arrays, Parquet by Arrow, Feather."""

import csv
import pathlib
from collections.abc import Iterator

import pandas as pd

from tests.writers.nasty import IDS, TEXTS, Case, main, own

ENDINGS = {None: "", "gzip": ".gz", "bz2": ".bz2", "xz": ".xz", "zstd": ".zst"}


def write(folder: pathlib.Path) -> Iterator[Case]:
    frame = pd.DataFrame({"id": IDS, "text": TEXTS})
    for codec, ending in ENDINGS.items():
        name = f"plain.csv{ending}"
        frame.to_csv(folder / name, index=False, compression=codec)
        again = pd.read_csv(folder / name, keep_default_na=False, dtype=str)
        yield Case(name, "csv", {}, own(again["id"], again["text"]))
        name = f"lines.jsonl{ending}"
        frame.to_json(folder / name, orient="records", lines=True, compression=codec)
        yield Case(name, "jsonl", {})
        name = f"array.json{ending}"
        frame.to_json(folder / name, orient="records", compression=codec, indent=2 if codec else None)
        yield Case(name, "json", {})
    frame.to_json(folder / "table.json", orient="table")
    yield Case("table.json", "json", {"records": "data"})
    frame.to_json(folder / "ascii.jsonl", orient="records", lines=True, force_ascii=False)
    yield Case("ascii.jsonl", "jsonl", {})
    for name, options, settings in (
        ("tabs.tsv", {"sep": "\t"}, {}),
        ("all.csv", {"quoting": csv.QUOTE_ALL}, {}),
        ("crlf.csv", {"lineterminator": "\r\n"}, {}),
        ("escaped.csv", {"doublequote": False, "escapechar": "\\", "quoting": csv.QUOTE_ALL}, {"escape": "\\"}),
        ("semicolon.csv", {"sep": ";"}, {"delimiter": ";"}),
        ("utf16.csv", {"encoding": "utf-16"}, {"encoding": "utf-16"}),
        ("headless.csv", {"header": False}, {"columns": ("id", "text")}),
    ):
        frame.to_csv(folder / name, index=False, **options)
        dialect = {key: value for key, value in options.items() if key not in ("header", "lineterminator", "quoting")}
        again = pd.read_csv(
            folder / name, keep_default_na=False, dtype=str, names=["id", "text"], header=None if "header" in options else 0, **dialect
        )
        yield Case(name, "tsv" if name.endswith(".tsv") else "csv", settings, own(again["id"], again["text"]))
    for codec in ("snappy", "gzip", "brotli", "lz4", "zstd", None):
        name = f"{codec}.parquet"
        frame.to_parquet(folder / name, index=False, compression=codec, engine="pyarrow", row_group_size=10)
        yield Case(name, "parquet", {})
    frame.set_index("id").to_parquet(folder / "indexed.parquet", engine="pyarrow")
    yield Case("indexed.parquet", "parquet", {})
    for codec in ("lz4", "zstd", "uncompressed"):
        frame.to_feather(folder / f"{codec}.feather", compression=codec)
        yield Case(f"{codec}.feather", "arrow", {})


if __name__ == "__main__":
    main(write)
