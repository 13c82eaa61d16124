"""The end of a build: adding up, checking that nothing was lost, and writing the manifest.

Tested in tests/pipelines/test_interruption.py and tests/pipelines/test_faults.py.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tokenreel.assembly import output, remembered_inputs, shard_building
from tokenreel.assembly.conservation import conservation
from tokenreel.assembly.dataset_statistics import statistics
from tokenreel.assembly.shard_statistics import ShardStatistics, StoredStatistics
from tokenreel.config.workspace import Workspace
from tokenreel.format import manifest as manifests
from tokenreel.format import naming, seqio_view, shard_table
from tokenreel.format.manifest import FileInfo, Manifest, ShardInfo, SplitInfo, file_info, pack_facts, to_json
from tokenreel.format.schema import Feature
from tokenreel.format.tfrecord import crc32c
from tokenreel.planning.identity import algorithms
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.shard_plan import SplitPlan
from tokenreel.planning.stage_table import StageTable
from tokenreel.staging import contents
from tokenreel.storage import placing
from tokenreel.storage.column_file import Columns
from tokenreel.storage.placing import Placing
from tokenreel.version import __version__
from tokenreel.vocabularies.base import Vocabulary


def finish(
    recipe: Recipe,
    work: Workspace,
    vocabulary: Vocabulary,
    selections: StageTable,
    plans: Iterable[SplitPlan],
    built: Columns,
    counted: Mapping[str, StoredStatistics],
    inputs: Mapping[str, Any],
) -> Manifest:
    """Adds everything up, checks that nothing was lost, and moves everything to its place, last the manifest.

    Args:
      recipe: what was built.
      work: where it lies.
      vocabulary: its copy is written beside the shards, and what it tells objectives into the manifest.
      selections: what is taken of each stage file, sorted as the text lies.
      plans: one for each split.
      built: all shards, as `shard_building.to_row` says, sorted by their index.
      counted: what was counted in the shards of each split that has any.
      inputs: what the listing found, for the manifest.

    Raises:
      BuildError: documents or tokens do not add up, or the output is another job's by now.
    """
    config, info = recipe.config, recipe.vocabulary
    by_split = {plan.split: plan for plan in plans}
    finished: dict[str, list[ShardInfo]] = {split: [] for split in by_split}
    for split, _, shard, _ in (shards := list(shard_building.infos(built))):
        finished[split].append(shard)
    sums = {split: counted[split].load(info) if split in counted else ShardStatistics.zero(info) for split in by_split}
    tables = [table for *_, table in shards if table is not None]
    if selections.numbers("dead_letters").any():  # they are in their place already
        tables.append(file_info(config.output, naming.DEAD_LETTERS))
    record = contents.record_path(work.tables.path, selections.identity)
    recorded = remembered_inputs.add_contents(config, inputs, contents.recorded(record, (each.info for each in selections)))
    totals = {**conservation(config, selections, by_split, sums), "inputs": recorded}
    texts = {naming.STATISTICS: to_json(statistics(recipe, selections, by_split, sums)), info.file: vocabulary.data}
    if config.seqio_view:
        texts |= view_of(recipe.features, finished)
    beside = [*texts.items(), *vocabulary.beside.items()]
    written = [work.write(name, data, selections.identity) for name, data in beside if name is not None and data is not None]
    manifest = Manifest(
        seq_len=config.packing.seq_len,
        overlap=config.packing.overlap,
        pad_id=recipe.pad_id,
        record_format=config.shards.format,
        features=recipe.features,
        splits={split: SplitInfo(shards=tuple(found)) for split, found in sorted(finished.items())},
        vocabulary=info,
        config=config.semantics(),
        seed=config.seed,
        algorithms=algorithms(recipe),
        totals=totals,
        files=listed([*tables, *map(file_info_of, written)], view=config.seqio_view),
        tokenreel_version=__version__,
        objective_facts=_facts(recipe, vocabulary),
    )
    return place(work, manifest, [*shard_building.placings(shards, work), *written], selections.identity)


def view_of(features: Sequence[Feature], shards: Mapping[str, Sequence[ShardInfo]]) -> dict[str | None, bytes | None]:
    """Makes what SeqIO looks for beside the shards of each split: names and contents."""
    texts: dict[str | None, bytes | None] = {}
    for split, infos in shards.items():
        if infos:
            texts[naming.seqio_info(split)] = seqio_view.info(seqio_view.of_records(features), len(infos))
            texts[naming.seqio_statistics(split)] = seqio_view.statistics({"examples": sum(each.records for each in infos)})
    return texts


def listed(infos: Sequence[FileInfo], *, view: bool) -> tuple[FileInfo, ...]:
    """Gives the files beside the shards as the manifest lists them; with SeqIO's view `COMPLETED` too, which is empty and comes last."""
    last = [FileInfo(file=naming.COMPLETED, bytes=0, crc32c=crc32c(b""))] if view else []
    return tuple(sorted([*infos, *last], key=lambda item: item.file))


def place(work: Workspace, manifest: Manifest, placings: Sequence[Placing], *content: str) -> Manifest:
    """Moves everything to its place. The manifest comes last: a directory with one is whole, at whatever moment a build is killed.

    Args:
      work: where everything lies.
      manifest: of the dataset.
      placings: of all its other files.
      content: as in `Workspace.unplaced`.

    Returns:
      the manifest; of many shards one whose table stands beside it.
    """
    if sum(len(split.shards) for split in manifest.splits.values()) > manifests.LISTED_SHARDS:  # they stand in a table beside the manifest
        table = work.write(naming.SHARD_TABLE, shard_table.to_bytes(manifest.shard_table), *content)
        named = tuple(sorted((*manifest.files, file_info_of(table)), key=lambda item: item.file))
        manifest, placings = dataclasses.replace(manifest, files=named, format_version=manifests.TABLE_VERSION), [*placings, table]
    placing.place(work.dataset, placings, functools.partial(_is_stale, {each.file for each in manifest.files}))
    placing.place(work.dataset, [work.write(naming.MANIFEST, manifest.to_text().encode(), *content)])
    if manifest.config.get("seqio_view"):
        placing.place(work.dataset, [work.write(naming.COMPLETED, b"", *content)])
    return manifest


def _is_stale(known: Collection[str], name: str) -> bool:
    """Says whether another job left a file: over other text of the same names and sizes, or one that lost the output."""
    return name == naming.MANIFEST or (output.is_part(name) and name not in known)


def file_info_of(written: Placing) -> FileInfo:
    """Gives what the manifest says of a file that was written."""
    return FileInfo(file=written.name, bytes=written.bytes, crc32c=written.crc32c)


def _facts(recipe: Recipe, vocabulary: Vocabulary) -> dict[str, Any]:
    """What the vocabulary tells objectives, as the manifest keeps it."""
    special = {"special_ids": recipe.special_ids, "special_names": vocabulary.names_of(recipe.special_ids)}
    return pack_facts(vocabulary.objective_facts() | special)
