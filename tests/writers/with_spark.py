"""Spark: folders of Parquet, CSV and JSON, with the `_SUCCESS` and checksum files beside them."""

import pathlib
from collections.abc import Iterator

from pyspark.sql import SparkSession

from tests.writers.nasty import IDS, TEXTS, Case, main, own


def write(folder: pathlib.Path) -> Iterator[Case]:
    session = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").config("spark.driver.memory", "1g").getOrCreate()
    frame = session.createDataFrame(list(zip(IDS, TEXTS, strict=True)), "id string, text string").repartition(2)
    for codec in ("none", "snappy", "gzip", "lz4_raw", "zstd"):
        frame.write.option("compression", codec).parquet(str(folder / f"parquet-{codec}"))
        yield Case(f"parquet-{codec}", "parquet", {})
    for codec in ("none", "gzip", "bzip2"):  # Zstandard needs Hadoop's own libraries
        frame.write.option("compression", codec).json(str(folder / f"json-{codec}"))
        yield Case(f"json-{codec}", "jsonl", {})
    keep = {"ignoreLeadingWhiteSpace": "false", "ignoreTrailingWhiteSpace": "false", "header": "true", "emptyValue": ""}
    for name, options, settings in (
        ("csv", {}, {"escape": "\\"}),
        ("csv-quoted", {"quoteAll": "true"}, {"escape": "\\"}),
        ("csv-doubled", {"escape": '"', "quoteAll": "true"}, {}),
        ("csv-gzip", {"compression": "gzip"}, {"escape": "\\"}),
    ):
        frame.write.options(**keep, **options).csv(str(folder / name))
        again = session.read.options(**keep, **options, multiLine="true").csv(str(folder / name)).collect()
        yield Case(name, "csv", settings, own([row["id"] for row in again], [row["text"] for row in again]))
    session.stop()


if __name__ == "__main__":
    main(write)
