"""Makes one shard: its records, provenance and statistics.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_faults.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tokenreel import keys
from tokenreel.assembly import examples, labels, shard_statistics, shard_writer
from tokenreel.assembly.provenance import ProvenanceWriter
from tokenreel.assembly.shard_statistics import ShardStatistics, StoredStatistics
from tokenreel.assembly.shard_writer import ShardWriter
from tokenreel.config.workspace import Workspace
from tokenreel.errors import BuildError
from tokenreel.format import naming
from tokenreel.format.manifest import FileInfo, ShardInfo, file_info
from tokenreel.planning.document_order import DocumentOrder
from tokenreel.planning.shard_plan import ShardPlan
from tokenreel.storage import column_file, files, sealed
from tokenreel.storage.column_file import ColumnFile, Columns, Row
from tokenreel.storage.placing import Placing


@dataclasses.dataclass(frozen=True, kw_only=True)
class BuiltShard:
    """A shard that is written, and lies in its place or is to be moved there.

    Attributes:
      split: the shard's split.
      index: its number in the split.
      identity: digest of everything that decides the bytes.
      shard: its file.
      provenance: the file of its provenance table; None where none is wanted.
      statistics: what was counted in it.
    """

    split: str
    index: int
    identity: str
    shard: ShardInfo
    provenance: FileInfo | None
    statistics: StoredStatistics


SORT_BY = ("index",)


def to_row(built: BuiltShard) -> Row:
    """Turns a shard into a row of a table, without what was counted in it."""
    row: dict[str, Any] = {"split": built.split, "index": built.index, "identity": built.identity}
    row |= {f"shard/{name}": value for name, value in dataclasses.asdict(built.shard).items()}
    return row | {f"provenance/{name}": value for name, value in (dataclasses.asdict(built.provenance) if built.provenance else {}).items()}


def infos(columns: Columns) -> Iterator[tuple[str, str, ShardInfo, FileInfo | None]]:
    """Yields split, identity, shard and provenance of each row."""
    for index in range(columns.rows):
        row = columns.row(index)
        table = FileInfo(**_fields(row, "provenance/")) if row.get("provenance/file") else None
        yield row["split"], row["identity"], ShardInfo(**_fields(row, "shard/")), table


def _fields(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}


def build_shard(order: DocumentOrder, plan: ShardPlan, work: Workspace) -> BuiltShard:
    """Writes one shard and its provenance; a shard that this build finished before it was interrupted is verified and kept.

    Args:
      order: the documents.
      plan: what the shard holds.
      work: where it is written, and remembered when it is finished.

    Raises:
      BuildError: the documents read are not those that were planned.
    """
    recipe, config = order.recipe, order.config
    record = files.join(work.shards.ready(), f"{plan.file}.json")
    identity = keys.digest(work.build, str(plan), order.selections.identity)
    if (finished := _finished(record, identity, work)) is not None:
        return finished
    statistics = ShardStatistics.zero(recipe.vocabulary)
    table = naming.provenance(plan.split, plan.index, plan.count) if config.shards.provenance else None
    table_path = None if table is None else work.unplaced(table, identity)
    with _provenance(order, table_path) as segments, files.write_atomic(work.unplaced(plan.file, identity)) as file:
        writer = ShardWriter(file, recipe.fixed_format, config.shards.format)
        for chunk in examples.assemble(order, plan):
            found = shard_statistics.describe(chunk, plan, recipe)
            ids = np.arange(chunk.base, chunk.base + found.examples)
            arrays = recipe.objective.apply(chunk.arrays, ids, seed=config.seed, variant=chunk.variant)
            found.objective = recipe.objective.statistics(chunk.arrays, arrays)
            told = labels.lay_out(order, chunk)
            found.labels = labels.count(told, recipe.labels)
            writer.write({**arrays, **told}, chunk.first)
            statistics += found
            chunk.arrays.clear()  # provenance needs the layout alone, and the tokens are most of the memory
            if segments is not None:
                segments.add(chunk)
    if writer.records != plan.examples:
        raise BuildError(f"{plan.file}: {writer.records:,} examples were made of {plan.examples:,} planned")
    shard = ShardInfo(file=plan.file, records=writer.records, bytes=writer.bytes, crc32c=writer.crc32c)
    counted = statistics.store(work.shards.ready())
    listed = file_info(work.output, table, table_path) if table else None
    built = BuiltShard(split=plan.split, index=plan.index, identity=identity, shard=shard, provenance=listed, statistics=counted)
    sealed.write(record, {"identity": identity, **_plain(built)})
    return built


@contextlib.contextmanager
def _provenance(order: DocumentOrder, path: str | None) -> Iterator[ProvenanceWriter | None]:
    """Opens a file of provenance; it appears when all is written. Without a path there is none."""
    if path is None:
        yield None
        return
    with files.write_atomic(path) as file:
        writer = ProvenanceWriter(file, order.files, order.config)
        try:
            yield writer
        except BaseException:
            with contextlib.suppress(Exception):  # else it is closed when it is forgotten, and complains that the file is closed already
                writer.close()
            raise
        writer.close()


def placings(built: Iterable[tuple[str, str, ShardInfo, FileInfo | None]], work: Workspace) -> Iterator[Placing]:
    """Says where the files of shards go, of those that `infos` yields."""
    for _, identity, shard, table in built:
        for info in (shard, table):
            if info is not None:
                yield Placing(work.unplaced(info.file, identity), info.file, info.bytes, info.crc32c)


def _plain(built: BuiltShard) -> dict[str, Any]:
    table = built.provenance
    return {
        "split": built.split,
        "index": built.index,
        "shard": dataclasses.asdict(built.shard),
        "provenance": dataclasses.asdict(table) if table else None,
        "statistics": dataclasses.asdict(built.statistics),
    }


def _finished(record: str, identity: str, work: Workspace) -> BuiltShard | None:
    """Reads what is remembered of a shard; None unless it was made by this very plan and its files are still what they were."""
    plain = sealed.read(record)
    if plain is None or plain.get("identity") != identity:
        return None
    shard = ShardInfo(**plain["shard"])
    table = FileInfo(**plain["provenance"]) if plain["provenance"] else None
    for info in (shard, table):
        # Not in its place yet, or moved there when the build was interrupted.
        if info is not None and not any(
            shard_writer.matches(path, info) for path in (work.unplaced(info.file, identity), files.join(work.output, info.file))
        ):
            return None
    counts = ColumnFile(**plain["statistics"]["token_counts"])
    counts = dataclasses.replace(counts, path=files.join(work.shards.path, os.path.basename(counts.path)))  # the output may have been moved
    try:
        column_file.load(counts)
    except BuildError:
        return None
    statistics = StoredStatistics(plain=plain["statistics"]["plain"], token_counts=counts)
    return BuiltShard(split=plain["split"], index=plain["index"], identity=identity, shard=shard, provenance=table, statistics=statistics)
