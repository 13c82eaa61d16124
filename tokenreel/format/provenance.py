"""The provenance tables: which document each segment of a shard came from, one Parquet file a shard.

One row is one segment. Rows are sorted by example and place; readers skip columns that they do not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

from tokenreel.errors import ManifestError
from tokenreel.format import sidecars
from tokenreel.format.manifest import Manifest
from tokenreel.storage import arrow_memory, files

EXAMPLE = "example"  # int64, the example's number in the split
SEGMENT = "segment"  # int32, the segment's place in the example, from 0
SOURCE = "source"  # string, the body of text
DOC_ID = "doc_id"  # string, the document in it
DOC_TOKEN_START = "doc_token_start"  # int64, the segment's first token in the document, bos counted
LENGTH = "length"  # int32, tokens of the segment
DOCUMENT = "document"  # int64, number of the document in the split, in the order in which documents are laid out, from 0
DOC_TOKENS = "doc_tokens"  # int64, tokens of the whole document, wherever they are
COPY = "copy"  # int32, which repeat of the document, from 0; only where sources are taken more than once
META = "meta."  # prefix of a string column for each kept field; JSON unless the value was a string
_ALWAYS = (EXAMPLE, SEGMENT, SOURCE, DOC_ID, DOC_TOKEN_START, LENGTH)


def schema(fields: Sequence[str], *, repeats: bool) -> Any:
    """Makes the `pyarrow.Schema` of the tables that a build writes.

    Args:
      fields: names of the metadata fields that are kept.
      repeats: whether documents are taken more than once.
    """
    import pyarrow as pa

    columns = [(EXAMPLE, pa.int64()), (SEGMENT, pa.int32()), (SOURCE, pa.dictionary(pa.int32(), pa.string())), (DOC_ID, pa.string())]
    columns += [(DOC_TOKEN_START, pa.int64()), (LENGTH, pa.int32()), (DOCUMENT, pa.int64()), (DOC_TOKENS, pa.int64())]
    columns += [(COPY, pa.int32())] if repeats else []
    columns += [(META + name, pa.string()) for name in fields]
    return pa.schema(columns)


def read(
    directory: str,
    manifest: Manifest,
    name: str,
    columns: Sequence[str] | None = None,
    *,
    optional: Sequence[str] = (),
    column: str | None = None,
    values: Sequence[Any] = (),
    file: IO[bytes] | None = None,
) -> Any:
    """Reads a table, or some of its rows, after its bytes were compared with the manifest.

    Args:
      directory: of the dataset, local or `gs://`.
      manifest: of the dataset.
      name: of the table in it, see `naming.provenance`.
      columns: which to read; None for all.
      optional: further columns, which are read where the table has them.
      column: keeps the rows in which this one has one of the `values`; row groups that cannot have it are not read.
      values: see `column`.
      file: the table's bytes, which the caller has compared with the manifest; None opens and compares it.

    Returns:
      a `pyarrow.Table`.

    Raises:
      FileNotFoundError: the dataset has no such table, or it is missing; says which.
      ManifestError: it is not what was written, or lacks one of the `columns`. What Arrow says is the `__cause__`.
      ModuleNotFoundError: pyarrow is not installed.
      StorageError: it is there and cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    filters = None if column is None else [(column, "in", list(values))]
    with sidecars.open_checked(directory, manifest, name) if file is None else file as file:
        try:
            data = arrow_memory.read(file)
            if columns is not None and optional:
                known = pq.read_schema(data).names
                columns = [*columns, *(wanted for wanted in optional if wanted in known)]
            # Without threads: the pools of Arrow do not survive a fork of the trainer.
            rows = pq.read_table(data, columns=columns, filters=filters, use_threads=False, partitioning=None)
            rows.validate(full=True)  # a damaged dictionary would be found by whoever looks a value up
            _check_columns(rows, _ALWAYS if columns is None else columns)
            return rows
        except (pa.ArrowException, OSError, ValueError) as error:
            what = (str(error).splitlines() or [type(error).__name__])[0]
            path = files.join(directory, name)
            raise ManifestError(
                f"{path}: not a Parquet file with these columns ({what}). Copy it again from where it was built."
            ) from error


def _check_columns(rows: Any, wanted_names: Sequence[str]) -> None:
    """Looks at the columns of a table: a forged one may lack some, have them of another type, or hold nothing where a value belongs.

    Raises:
      ValueError: names the column.
    """
    import pyarrow as pa

    if missing := [name for name in wanted_names if name not in rows.column_names]:
        raise ValueError(f"no column {', '.join(missing)}")
    for field in schema((), repeats=True):
        if field.name not in rows.column_names:
            continue
        name, wanted, found = field.name, field.type, rows.column(field.name)
        kind = found.type.value_type if pa.types.is_dictionary(found.type) else found.type
        if pa.types.is_integer(kind) != pa.types.is_integer(wanted) or not (pa.types.is_integer(kind) or pa.types.is_string(kind)):
            raise ValueError(f"column {name} holds {kind}")
        if found.null_count:
            raise ValueError(f"column {name} has {found.null_count:,} rows without a value")


def metadata(row: dict[str, Any]) -> dict[str, str | None]:
    """Takes the kept fields out of a row of the table, by their names in the source."""
    return {name.removeprefix(META): row.pop(name) for name in list(row) if name.startswith(META)}
