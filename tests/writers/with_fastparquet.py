"""fastparquet: every codec, simple and Hive layouts, text as an object, as bytes and as categories."""

import pathlib
from collections.abc import Iterator

import fastparquet
import pandas as pd

from tests.writers.nasty import IDS, TEXTS, Case, main


def write(folder: pathlib.Path) -> Iterator[Case]:
    frame = pd.DataFrame({"id": IDS, "text": TEXTS}).astype(object)
    for codec in ("UNCOMPRESSED", "SNAPPY", "GZIP", "BROTLI", "LZ4_RAW", "ZSTD"):
        fastparquet.write(str(folder / f"{codec}.parquet"), frame, compression=codec, row_group_offsets=10, object_encoding="utf8")
        yield Case(f"{codec}.parquet", "parquet", {})
    fastparquet.write(str(folder / "hive"), frame, file_scheme="hive", row_group_offsets=10, object_encoding="utf8")
    yield Case("hive", "parquet", {})
    categories = frame.assign(text=frame["text"].astype("category"))
    fastparquet.write(str(folder / "categories.parquet"), categories, object_encoding="utf8")
    yield Case("categories.parquet", "parquet", {})


if __name__ == "__main__":
    main(write)
