"""Parquet files: a file range counts row groups, and a document's position is the number of its row in the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources.inputs import FileRange, InputFile
from tokenreel.sources.readers import columns
from tokenreel.sources.readers.rows import Rows, damaged
from tokenreel.sources.readers.unreadable import errors, first_line, reraise_reading
from tokenreel.storage import files
from tokenreel.storage.files import Readable

# Rows decoded at once, at most: a column whose values repeat is stored in a fraction of what it decodes to.
_MOST_ROWS = 8192


def cut_file(file: InputFile, block_bytes: int) -> list[FileRange]:
    """Cuts a file between row groups, so that each range holds about `block_bytes`, decoded. Leaves a broken file whole."""
    return [file_range for file_range, _ in weigh_cuts(file, block_bytes)]


def weigh_cuts(file: InputFile, block_bytes: int) -> list[tuple[FileRange, int]]:
    """Cuts a file as `cut_file` does, and says how many bytes each range holds, decoded.

    Sizes are those of all columns: asking for one column of an altered footer ends the process (Arrow 25 throws through Python).
    """
    try:
        with files.open_read(file.path, file.generation, file.size) as stream:
            metadata = _open(stream).metadata
            weights = [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
    except errors() as error:
        reraise_reading(error, file)
        return [(FileRange(file), file.size)]
    found = []
    start = gathered = 0
    for group, weight in enumerate(weights):
        if group > start and gathered + weight > block_bytes:
            found.append((FileRange(file, start, group), gathered))
            start, gathered = group, 0
        gathered += weight
    return [*found, (FileRange(file, start, len(weights)), gathered)] if weights else [(FileRange(file), file.size)]


def owned_bytes(stream: Readable, file_range: FileRange) -> list[tuple[int, int]]:
    """Says which bytes of its file a range owns: the share that its row groups are of all. Those of all ranges cover the file."""
    file = file_range.file
    assert file_range.end is not None
    try:
        count = _open(stream).metadata.num_row_groups
    except errors() as error:
        reraise_reading(error, file)
        return []
    return [(file.size * file_range.start // count, file.size * file_range.end // count)]


def read(stream: Readable, file_range: FileRange, source: SourceConfig, part_bytes: int) -> Iterator[Rows]:
    """Reads row groups `start` to `end` in batches of about `part_bytes` of text, only the columns that the source names.

    A file without a readable footer, or a row group that cannot be decoded, is one fault that names the rows; other row groups are read.

    Raises:
      SourceError: a column is missing or of a wrong type, or the disk cannot be read.
    """
    file = file_range.file
    try:
        parquet = _open(stream)
        schema = parquet.schema_arrow
        columns.check(schema, source, file)
    except errors() as error:
        reraise_reading(error, file)
        message = f"{file.name}: no complete Parquet file ({first_line(error)}). Fetch the file again."
        yield damaged(file, 0, message, unread_bytes=file.size)
        return
    metadata = parquet.metadata
    row_bytes = file.size / max(1, metadata.num_rows)
    end = metadata.num_row_groups if file_range.end is None else file_range.end
    row = sum(metadata.row_group(group).num_rows for group in range(file_range.start))
    for group in range(file_range.start, end):
        info = metadata.row_group(group)
        per_row = max(1, info.total_byte_size // max(1, info.num_rows))
        batch_rows = max(1, min(_MOST_ROWS, part_bytes // per_row))
        done = 0
        try:
            for batch in parquet.iter_batches(batch_rows, row_groups=[group], columns=columns.requested(schema, source), use_threads=False):
                if batch.num_rows:
                    yield dataclasses.replace(columns.rows(batch, file, source, row + done), scale=row_bytes)
                done += batch.num_rows
            problem = "" if done == info.num_rows else f"the row group ends after {done:,} rows"
        except errors() as error:
            reraise_reading(error, file)
            problem = first_line(error)
        if problem:
            lost = f"rows {row + done:,} to {row + info.num_rows - 1:,} (row group {group})"
            message = f"{file.name}: {lost} cannot be read: {problem}. Fetch the file again."
            yield dataclasses.replace(damaged(file, row + done, message, max(0, info.num_rows - done)), scale=row_bytes)
        row += info.num_rows


def _open(stream: Readable) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(stream, page_checksum_verification=True)
