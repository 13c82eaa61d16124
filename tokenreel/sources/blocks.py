"""Cuts files into blocks, the units of work."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence

from tokenreel.config.corpus import SourceConfig
from tokenreel.sources import opening
from tokenreel.sources.inputs import Block, FileRange, InputFile
from tokenreel.sources.listing import list_files
from tokenreel.sources.readers import arrow, parquet

# A compressed file is taken for this many times its size when small files are gathered into a block: how much text it holds is known only
# when it has been read.
_EXPANSION = 4
# A block travels through the runner and names its files, so it holds only as many as keep it within some 64 kB. A name is in it twice (the
# path, and what documents are called by), beside size, dates and range.
_NAMES_BYTES = 48_000
_FILE_BYTES = 96


def expansion(file: InputFile, source: SourceConfig) -> int:
    """Says for how many times its size a file is taken, in bytes of text."""
    return _EXPANSION if file.compressed or source.format == "parquet" else 1


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
        weight = file.size * expansion(file, source)
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


def range_at(file: InputFile, source: SourceConfig, block_bytes: int, offset: int) -> tuple[FileRange, float]:
    """Finds the range of about `block_bytes` of a file that holds a byte, where the file can be read from there; else the whole file.

    Args:
      file: the file.
      source: the settings of its source.
      block_bytes: bytes of text to aim at.
      offset: a byte of the file as it is stored; of a table, of which a range is found by the share of the file that lies in front of it.

    Returns:
      the range, and the stored bytes that it stands for.

    Raises:
      SourceError: as `list_blocks`.
    """
    if source.format not in ("parquet", "arrow"):
        if not _is_cut(file, source):
            return FileRange(file), file.size
        start = offset // block_bytes * block_bytes
        end = min(start + block_bytes, file.size)
        return FileRange(file, start, end), end - start
    if source.format == "parquet":
        cut = parquet.weigh_cuts(file, block_bytes)
    else:
        cut = [(each, (each.end or file.size) - each.start) for each in arrow.cut_file(file, block_bytes)]
    ends = list(itertools.accumulate(max(1, weight) for _, weight in cut))
    chosen = min(bisect.bisect_right(ends, offset / file.size * ends[-1]), len(cut) - 1)
    return cut[chosen][0], max(1, cut[chosen][1]) / ends[-1] * file.size


def _is_cut(file: InputFile, source: SourceConfig) -> bool:
    """Tells whether a file that is no table can be cut between lines."""
    lines = source.format in ("jsonl", "lines", "paragraphs") or source.rows_are_lines
    return lines and source.text_encoding == "utf-8" and not opening.is_streamed(file, source)


def _split(file: InputFile, source: SourceConfig, block_bytes: int) -> list[FileRange]:
    """Cuts a large file where its format allows it: between lines, row groups or record batches. The rest is read as one stream."""
    if source.format == "parquet":
        return parquet.cut_file(file, block_bytes)
    if source.format == "arrow":
        return arrow.cut_file(file, block_bytes)
    if not _is_cut(file, source):
        return [FileRange(file)]
    return [FileRange(file, start, min(start + block_bytes, file.size)) for start in range(0, file.size, block_bytes)]
