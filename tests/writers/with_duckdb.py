"""DuckDB: COPY to Parquet, CSV and JSON."""

import pathlib
from collections.abc import Iterator

import duckdb

from tests.writers.nasty import IDS, TEXTS, Case, main


def write(folder: pathlib.Path) -> Iterator[Case]:
    base = duckdb.connect()
    base.execute("CREATE TABLE rows (id VARCHAR, text VARCHAR)")
    base.executemany("INSERT INTO rows VALUES (?, ?)", list(zip(IDS, TEXTS, strict=True)))

    def copy(name: str, options: str) -> None:
        base.execute(f"COPY rows TO '{folder / name}' ({options})")

    for codec in ("uncompressed", "snappy", "gzip", "zstd", "brotli", "lz4_raw"):
        copy(f"{codec}.parquet", f"FORMAT parquet, COMPRESSION {codec}, ROW_GROUP_SIZE 2048")
        yield Case(f"{codec}.parquet", "parquet", {})
    copy("v2.parquet", "FORMAT parquet, PARQUET_VERSION v2")
    yield Case("v2.parquet", "parquet", {})
    for codec, ending in (("none", ""), ("gzip", ".gz"), ("zstd", ".zst")):
        copy(f"plain.csv{ending}", f"FORMAT csv, HEADER true, COMPRESSION {codec}")
        yield Case(f"plain.csv{ending}", "csv", {})
        copy(f"lines.json{ending}", f"FORMAT json, COMPRESSION {codec}")
        yield Case(f"lines.json{ending}", "jsonl", {})
        copy(f"array.json{ending}", f"FORMAT json, ARRAY true, COMPRESSION {codec}")
        yield Case(f"array.json{ending}", "json", {})
    copy("forced.csv", "FORMAT csv, HEADER true, FORCE_QUOTE *")
    yield Case("forced.csv", "csv", {})
    copy("escaped.csv", "FORMAT csv, HEADER true, ESCAPE '\\'")
    yield Case("escaped.csv", "csv", {"escape": "\\"})
    copy("tabs.tsv", "FORMAT csv, HEADER true, DELIMITER '\t'")
    yield Case("tabs.tsv", "tsv", {})


if __name__ == "__main__":
    main(write)
