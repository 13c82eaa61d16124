"""The units of work of a cache job: ranges of files where a source says of which format they are, whole parts of a source otherwise.

A file is cut where each step before the placeholder makes examples of one example at a time. What a unit is changes nothing about an
example: its key, from which its random draws and its place in the cache come, is that of a reader of the whole source.

Tested in tests/pipelines/test_cache_tasks.py.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from tokenreel import keys
from tokenreel.config.corpus import SourceConfig
from tokenreel.errors import BuildError
from tokenreel.sources import lines
from tokenreel.sources.blocks import list_blocks
from tokenreel.sources.inputs import FileRange, InputFile, stat_file
from tokenreel.storage import files
from tokenreel.tasks import stream_nodes, task_steps
from tokenreel.tasks.example_keys import source_key
from tokenreel.tasks.example_stream import ExampleStream
from tokenreel.tasks.file_readers import FileReader, ParquetRows, cut_lines
from tokenreel.tasks.preprocessor_marks import takes_streams
from tokenreel.tasks.providers import ShardInfo

_FORMATS = {"lines": "lines", "json_lines": "jsonl", "parquet": "parquet"}  # of readers, and what `sources` calls them


@dataclasses.dataclass(frozen=True)
class Unit:
    """Part of a split of a task.

    Attributes:
      task: its number in the job.
      split: number of the split in the task.
      number: of the unit in the split.
      ranges: what it reads of files, each file named by its number in the source; empty where it is a part that the source makes.
      shard: (number, count) of such a part.
    """

    task: int
    split: int
    number: int
    ranges: tuple[FileRange, ...] = ()
    shard: tuple[int, int] = (0, 1)

    @property
    def fingerprint(self) -> str:
        """Identifies what it reads."""
        return keys.digest(*(file_range.name for file_range in self.ranges), *self.shard)

    @property
    def where(self) -> str:
        """Says for people what it reads."""
        if not self.ranges:
            return f"part {self.shard[0]} of {self.shard[1]} of the source"
        first = self.ranges[0]
        part = "" if first.end is None else f" from {first.start:,} to {first.end:,}"
        more = f" and {len(self.ranges) - 1} more" if len(self.ranges) > 1 else ""
        return f"{first.file.path}{part}{more}"


def list_inputs(source: Any, split: str) -> list[InputFile] | None:
    """Lists the files of a split of a source, each named by its number; None where a source does not tell its files.

    Raises:
      BuildError: there is none, or one is missing.
    """
    if not hasattr(source, "read_file_fn"):
        return None
    paths = list(source.list_shards(split))
    if not paths:
        raise BuildError(f"{source!r}: no file matches the pattern of split {split!r}. Correct it, or leave the split out with --splits.")
    return [_input(path, number) for number, path in enumerate(paths)]


def some_files(tasks: Iterable[Any], splits: Collection[str] | None) -> Iterator[tuple[str, str]]:
    """Yields a file of each split of each task, behind what it is called; of all splits with None."""
    for task in tasks:
        for split in task.splits if hasattr(task.source, "read_file_fn") else ():
            if splits is None or split in splits:
                yield from ((f"task {task.name!r}, split {split!r}", path) for path in task.source.list_shards(split)[:1])


def _input(path: str, number: int) -> InputFile:
    found = stat_file(path)
    if found is None:
        raise BuildError(f"{path}: no such file. Correct the source's pattern.")
    return InputFile(path, str(number), *found, 0 if files.is_remote(path) else os.stat(path).st_ctime_ns)


def list_units(task: Any, number: int, split: int, block_bytes: int) -> Iterator[Unit]:
    """Cuts a split of a task into units of about `block_bytes` where its files can be cut."""
    name = task.splits[split]
    found = list_inputs(task.source, name)
    if found is None or not isinstance(task.source.read_file_fn, FileReader):
        count = max(1, len(task.source.list_shards(name)))
        yield from (Unit(number, split, part, shard=(part, count)) for part in range(count))
        return
    kind = _FORMATS.get(task.source.file_format)
    if kind is None or not maps_examples(task):
        yield from (Unit(number, split, place, (FileRange(file),)) for place, file in enumerate(found))
        return
    told = SourceConfig(files=("*",), format=kind)  # type: ignore[arg-type]
    for block in list_blocks(told, 0, block_bytes, found):
        yield Unit(number, split, block.index, block.file_ranges)


def maps_examples(task: Any) -> bool:
    """Says whether each step before the placeholder makes what it makes of one example at a time, as far as is known."""
    steps = task.preprocessors[: _placeholder(task)]
    if not all(map(takes_streams, steps)):
        return False
    node = below_maps(task.preprocess_precache(ExampleStream(stream_nodes.Generated(lambda epoch: iter(()), "nothing"))).node)
    return isinstance(node, stream_nodes.Generated) and node.name == "nothing"


def below_maps(node: stream_nodes.Node) -> stream_nodes.Node:
    """Gives the node below all those at the end of a stream that make what they make of one example at a time."""
    while isinstance(node, stream_nodes.Mapped | stream_nodes.Filtered | stream_nodes.FlatMapped):
        node = node.parent
    return node


def _placeholder(task: Any) -> int:
    places = [place for place, step in enumerate(task.preprocessors) if isinstance(step, task_steps.CacheDatasetPlaceholder)]
    return places[0] if places else 0


def count(task: Any, unit: Unit) -> int:
    """Counts the examples of a unit that is part of a file, before any step: those behind it are numbered from there on."""
    reader = task.source.read_file_fn
    (file_range,) = unit.ranges
    if isinstance(reader, ParquetRows):
        first = reader.count(file_range.file.path, file_range.start)
        return reader.count(file_range.file.path, file_range.end) - first
    return sum(1 for _ in _read(reader, file_range))


def examples(task: Any, unit: Unit, first: int, seed: int | None) -> stream_nodes.Cursor:
    """Gives what the steps before the placeholder make of a unit, with keys.

    Args:
      task: the task.
      unit: what is read.
      first: number of its first example in its file.
      seed: of random steps.
    """
    name = task.splits[unit.split]
    if unit.ranges:
        make = functools.partial(_keyed, task.source.read_file_fn, unit.ranges, source_key("files", name), first)
        raw = ExampleStream(stream_nodes.Generated(make, f"files/{name}"))
    else:
        part, parts = unit.shard
        raw = task_steps.of_source(task.source, name, False, seed, ShardInfo(part, parts) if parts > 1 else None)
    cursor: stream_nodes.Cursor = task.preprocess_precache(raw, seed).keyed()
    return cursor


def _keyed(reader: FileReader, ranges: tuple[FileRange, ...], source: int, first: int, epoch: int) -> Iterator[Any]:
    for file_range in ranges:
        file_range.file.check_unchanged()
        number = int(file_range.file.name)
        for place, example in enumerate(_read(reader, file_range), start=first):
            yield (source, number, place), example
        file_range.file.check_unchanged()


def _read(reader: Any, file_range: FileRange) -> Iterator[Any]:
    """Yields the examples that begin in a range of a file."""
    path = file_range.file.path
    if file_range.end is None:
        return iter(reader(path))
    if isinstance(reader, ParquetRows):
        return iter(reader.of_groups(path, range(file_range.start, file_range.end)))
    return _lines_of(reader, file_range)


def _lines_of(reader: Any, file_range: FileRange) -> Iterator[Any]:
    path = file_range.file.path
    with files.open_read(path) as stream:
        begin, end = lines.locate_documents(stream, file_range, paragraphs=False)
        found = cut_lines(lines.read_range(stream, begin, end))
        if begin:
            reader = dataclasses.replace(reader, skip=0) if hasattr(reader, "skip") else reader
            path = f"{path}, from byte {begin:,}"
        yield from reader.of_lines(found, path)
