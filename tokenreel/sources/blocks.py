"""Cuts files into blocks, the units of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources import opening
from tokenreel.sources.inputs import Block, FileRange, InputFile
from tokenreel.sources.listing import list_files
from tokenreel.sources.readers import arrow, parquet

# A compressed file is taken for this many times its size when small files are gathered into a block: how much text it holds is known only
# when it has been read.
EXPANSION = 4
# A block travels through the runner and names its files, so it holds only as many as keep it within some 64 kB. A name is in it twice (the
# path, and what documents are called by), beside size, dates and range.
_NAMES_BYTES = 48_000
_FILE_BYTES = 96


def list_blocks(source: SourceConfig, source_index: int, block_bytes: int, found: Sequence[InputFile] | None = None) -> Iterator[Block]:
    """Cuts the files of a source into blocks of about `block_bytes`: large ones are split if they can be, small ones are gathered.

    Which block a document falls into changes nothing about it.

    Args:
      source: the settings of the source.
      source_index: its index in the config.
      block_bytes: bytes of text to aim at.
      found: what `list_files` gives, where it is known already.

    Yields:
      The blocks, in the order of the files.

    Raises:
      SourceError: as `list_files`, or a table cannot be read to find where it may be cut.
    """
    index = 0
    gathered: list[FileRange] = []
    gathered_bytes = names_bytes = 0
    for file in list_files(source) if found is None else found:
        weight = file.size * (EXPANSION if file.compressed or source.format == "parquet" else 1)
        named = len(file.path) + len(file.name) + _FILE_BYTES
        if gathered and (gathered_bytes + weight > block_bytes or names_bytes + named > _NAMES_BYTES):
            yield Block(source_index, index, tuple(gathered))
            index, gathered, gathered_bytes, names_bytes = index + 1, [], 0, 0
        file_ranges = _split(file, source, block_bytes) if weight > block_bytes else [FileRange(file)]
        if len(file_ranges) > 1:
            for file_range in file_ranges:
                yield Block(source_index, index, (file_range,))
                index += 1
        else:
            gathered += file_ranges
            gathered_bytes, names_bytes = gathered_bytes + weight, names_bytes + named
    if gathered:
        yield Block(source_index, index, tuple(gathered))


def _split(file: InputFile, source: SourceConfig, block_bytes: int) -> list[FileRange]:
    """Cuts a large file where its format allows it: between lines, row groups or record batches. The rest is read as one stream."""
    if source.format == "parquet":
        return parquet.cut_file(file, block_bytes)
    if source.format == "arrow":
        return arrow.cut_file(file, block_bytes)
    lines = source.format in ("jsonl", "lines", "paragraphs") or source.rows_are_lines
    if not lines or source.text_encoding != "utf-8" or opening.is_streamed(file, source):
        return [FileRange(file)]
    return [FileRange(file, start, min(start + block_bytes, file.size)) for start in range(0, file.size, block_bytes)]
