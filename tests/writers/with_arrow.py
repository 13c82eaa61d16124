"""Arrow itself: Parquet in all its versions and encodings, CSV, streams, files and Feather of every compression."""

import itertools
import pathlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.feather
import pyarrow.parquet

from tests.writers.nasty import IDS, TEXTS, Case, main

TYPES = {
    "string": pa.string(),
    "large": pa.large_string(),
    "view": pa.string_view(),
    "binary": pa.binary(),
    "dictionary": pa.dictionary(pa.int16(), pa.string()),
}


def write(folder: pathlib.Path) -> Iterator[Case]:
    plain = pa.table({"id": IDS, "text": TEXTS})
    for (kind, column), codec in itertools.product(TYPES.items(), ("none", "lz4", "zstd")):
        table = plain.set_column(1, "text", plain["text"].combine_chunks().cast(column))
        for name, writer in ((f"{kind}-{codec}-stream.arrow", pa.ipc.new_stream), (f"{kind}-{codec}-file.arrow", pa.ipc.new_file)):
            options = pa.ipc.IpcWriteOptions(compression=None if codec == "none" else codec)
            with writer(folder / name, table.schema, options=options) as stream:
                stream.write_table(table, max_chunksize=10)
            yield Case(name, "arrow", {})
    for version, codec, page in itertools.product(
        ("1.0", "2.4", "2.6"), ("none", "snappy", "gzip", "brotli", "lz4", "zstd"), ("1.0", "2.0")
    ):
        name = f"{version}-{codec}-{page}.parquet"
        pyarrow.parquet.write_table(
            plain, folder / name, version=version, compression=codec, data_page_version=page, row_group_size=10, write_page_checksum=True
        )
        yield Case(name, "parquet", {})
    for encoding in ("PLAIN", "DELTA_LENGTH_BYTE_ARRAY", "DELTA_BYTE_ARRAY"):
        pyarrow.parquet.write_table(plain, folder / f"{encoding}.parquet", use_dictionary=False, column_encoding={"text": encoding})
        yield Case(f"{encoding}.parquet", "parquet", {})
    pyarrow.csv.write_csv(plain, folder / "plain.csv")
    yield Case("plain.csv", "csv", {})
    for codec in ("uncompressed", "lz4", "zstd"):
        pyarrow.feather.write_feather(plain, folder / f"{codec}.feather", compression=codec)
        yield Case(f"{codec}.feather", "arrow", {})
    pyarrow.dataset.write_dataset(plain, folder / "dataset", format="parquet", max_rows_per_file=10, max_rows_per_group=10)
    yield Case("dataset", "parquet", {})


if __name__ == "__main__":
    main(write)
