"""Makes one shard: its records, provenance and statistics.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_faults.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.assembly import examples, shard_statistics, shard_writer
from tokenreel.assembly.provenance import ProvenanceWriter
from tokenreel.assembly.shard_statistics import ShardStatistics, StoredStatistics
from tokenreel.assembly.shard_writer import ShardWriter
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.format.manifest import FileInfo, ShardInfo, file_info
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.shard_plan import ShardPlan
from tokenreel.storage import column_file, files, sealed
from tokenreel.storage.column_file import ColumnFile, Columns, Row


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltShard:
    """A shard that lies in its place.

    Attributes:
      split: the shard's split.
      index: its number in the split.
      shard: its file.
      provenance: the file of its provenance table; None where none is wanted.
      statistics: what was counted in it.
    """

    split: str
    index: int
    shard: ShardInfo
    provenance: FileInfo | None
    statistics: StoredStatistics


SORT_BY = ("index",)


def to_row(built: BuiltShard) -> Row:
    """Turns a shard into a row of a table, without what was counted in it."""
    row: dict[str, Any] = {"split": built.split, "index": built.index}
    row |= {f"shard/{name}": value for name, value in dataclasses.asdict(built.shard).items()}
    return row | {f"provenance/{name}": value for name, value in (dataclasses.asdict(built.provenance) if built.provenance else {}).items()}


def infos(columns: Columns) -> Iterator[tuple[str, ShardInfo, FileInfo | None]]:
    """Yields split, shard and provenance of each row."""
    for index in range(columns.rows):
        row = columns.row(index)
        table = FileInfo(**_fields(row, "provenance/")) if row.get("provenance/file") else None
        yield row["split"], ShardInfo(**_fields(row, "shard/")), table


def _fields(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def build_shard(order: DocumentOrder, plan: ShardPlan, state: str, build: str) -> BuiltShard:
    """Writes one shard and its provenance; a shard that this build finished before it was interrupted is verified and kept.

    Args:
      order: the documents.
      plan: what the shard holds.
      state: directory that remembers finished shards.
      build: digest of everything that decides the bytes.

    Raises:
      BuildError: the documents read are not those that were planned.
    """
    recipe, config = order.recipe, order.config
    path = files.join(config.output, plan.file)
    record = files.join(state, f"{plan.file}.json")
    identity = keys.digest(build, str(plan), order.selections.identity)
    if (finished := _finished(record, identity, config.output, state)) is not None:
        return finished
    statistics = ShardStatistics.zero(recipe.vocabulary)
    table = naming.provenance(plan.split, plan.index, plan.count) if config.shards.provenance else None
    with _provenance(order, table) as segments, files.write_atomic(path) as file:
        writer = ShardWriter(file, recipe.fixed_format, config.shards.format)
        for chunk in examples.assemble(order, plan):
            found = shard_statistics.describe(chunk, plan, recipe)
            ids = np.arange(chunk.base, chunk.base + found.examples)
            arrays = recipe.objective.apply(chunk.arrays, ids, seed=config.seed, variant=chunk.variant)
            found.objective = recipe.objective.statistics(chunk.arrays, arrays)
            writer.write(arrays, chunk.first)
            statistics += found
            chunk.arrays.clear()  # provenance needs the layout alone, and the tokens are most of the memory
            if segments is not None:
                segments.add(chunk)
    if writer.records != plan.examples:
        raise BuildError(f"{plan.file}: {writer.records:,} examples were made of {plan.examples:,} planned")
    shard = ShardInfo(file=plan.file, records=writer.records, bytes=writer.bytes, crc32c=writer.crc32c)
    listed = file_info(config.output, table) if table else None
    built = BuiltShard(split=plan.split, index=plan.index, shard=shard, provenance=listed, statistics=statistics.store(state))
    sealed.write(record, {"identity": identity, **_plain(built)})
    return built


@contextlib.contextmanager
def _provenance(order: DocumentOrder, name: str | None) -> Iterator[ProvenanceWriter | None]:
    """Opens a file of provenance; it appears when all is written. Without a name there is none."""
    if name is None:
        yield None
        return
    with files.write_atomic(files.join(order.config.output, name)) as file:
        writer = ProvenanceWriter(file, order.files, order.config)
        yield writer
        writer.close()


def _plain(built: BuiltShard) -> dict[str, Any]:
    table = built.provenance
    return {
        "split": built.split,
        "index": built.index,
        "shard": dataclasses.asdict(built.shard),
        "provenance": dataclasses.asdict(table) if table else None,
        "statistics": dataclasses.asdict(built.statistics),
    }


def _finished(record: str, identity: str, output: str, state: str) -> BuiltShard | None:
    """Reads what is remembered of a shard; None unless it was made by this very plan and its files are still what they were."""
    plain = sealed.read(record)
    if plain is None or plain.get("identity") != identity:
        return None
    shard = ShardInfo(**plain["shard"])
    table = FileInfo(**plain["provenance"]) if plain["provenance"] else None
    if not shard_writer.matches(files.join(output, shard.file), shard):
        return None
    if table is not None and (files.size(files.join(output, table.file)) is None or file_info(output, table.file) != table):
        return None
    counts = ColumnFile(**plain["statistics"]["token_counts"])
    counts = dataclasses.replace(counts, path=files.join(state, os.path.basename(counts.path)))  # the output may have been moved
    try:
        column_file.load(counts)
    except BuildError:
        return None
    statistics = StoredStatistics(plain=plain["statistics"]["plain"], token_counts=counts)
    return BuiltShard(split=plain["split"], index=plain["index"], shard=shard, provenance=table, statistics=statistics)
