"""The end of a build: adding up, checking that nothing was lost, and writing the manifest.

Tested in tests/pipelines/test_interruption.py and tests/pipelines/test_faults.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from tokenreel.assembly import output, remembered_inputs, shard_building
from tokenreel.assembly.conservation import conservation
from tokenreel.assembly.dataset_statistics import statistics
from tokenreel.assembly.shard_statistics import ShardStatistics, StoredStatistics
from tokenreel.format import manifest as manifests
from tokenreel.format import naming, shard_table
from tokenreel.format.manifest import FileInfo, Manifest, ShardInfo, SplitInfo, file_info, pack_facts, write_json
from tokenreel.planning.identity import algorithms
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.shard_plan import SplitPlan
from tokenreel.planning.stage_table import StageTable
from tokenreel.staging import contents
from tokenreel.storage import files, pooled
from tokenreel.storage.column_file import Columns
from tokenreel.version import __version__
from tokenreel.vocabularies.base import Vocabulary


def finish(
    recipe: Recipe,
    vocabulary: Vocabulary,
    selections: StageTable,
    plans: Iterable[SplitPlan],
    built: Columns,
    counted: Mapping[str, StoredStatistics],
    inputs: Mapping[str, Any],
) -> Manifest:
    """Adds everything up, checks that nothing was lost, and writes statistics, vocabulary and, last, the manifest.

    Args:
      recipe: what was built.
      vocabulary: its copy is written beside the shards, and what it tells objectives into the manifest.
      selections: what is taken of each stage file, sorted as the text lies.
      plans: one for each split.
      built: all shards, as `shard_building.to_row` says, sorted by their index.
      counted: what was counted in the shards of each split that has any.
      inputs: what the listing found, for the manifest.

    Raises:
      BuildError: documents or tokens do not add up.
    """
    config, info = recipe.config, recipe.vocabulary
    by_split = {plan.split: plan for plan in plans}
    finished: dict[str, list[ShardInfo]] = {split: [] for split in by_split}
    tables: list[FileInfo] = []
    for split, shard, table in shard_building.infos(built):
        finished[split].append(shard)
        tables += [table] if table is not None else []
    sums = {split: counted[split].load(info) if split in counted else ShardStatistics.zero(info) for split in by_split}
    written = [file_info(config.output, naming.DEAD_LETTERS)] if selections.numbers("dead_letters").any() else []
    recorded = remembered_inputs.add_contents(config, inputs, contents.read_contents(each.info for each in selections))
    totals = {**conservation(config, selections, by_split, sums), "inputs": recorded}
    written.append(write_json(config.output, naming.STATISTICS, statistics(recipe, selections, by_split, sums)))
    if info.file is not None and vocabulary.data is not None:
        files.write_bytes(files.join(config.output, info.file), vocabulary.data)
        written.append(file_info(config.output, info.file))
    written += tables
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
        files=tuple(sorted((item for item in written if item is not None), key=lambda item: item.file)),
        tokenreel_version=__version__,
        objective_facts=_facts(recipe, vocabulary),
    )
    manifest = _with_table(config.output, manifest)
    # The manifest comes last: a directory with one is a complete dataset, at whatever moment a build is killed.
    _remove_older(config.output, manifest)
    files.write_bytes(files.join(config.output, naming.MANIFEST), manifest.to_text().encode())
    return manifest


def _with_table(directory: str, manifest: Manifest) -> Manifest:
    """Writes the table of shards where there are so many that the manifest has one beside it."""
    if sum(len(split.shards) for split in manifest.splits.values()) <= manifests.LISTED_SHARDS:
        return manifest
    files.write_bytes(files.join(directory, naming.SHARD_TABLE), shard_table.to_bytes(manifest.shard_table))
    listed = (*manifest.files, file_info(directory, naming.SHARD_TABLE))
    return dataclasses.replace(manifest, files=tuple(sorted(listed, key=lambda item: item.file)), format_version=manifests.TABLE_VERSION)


def _facts(recipe: Recipe, vocabulary: Vocabulary) -> dict[str, Any]:
    """What the vocabulary tells objectives, as the manifest keeps it."""
    special = {"special_ids": recipe.special_ids, "special_names": vocabulary.names_of(recipe.special_ids)}
    return pack_facts(vocabulary.objective_facts() | special)


def _remove_older(directory: str, manifest: Manifest) -> None:
    """Removes what a build over other text of the same names and sizes left before it was killed, or one whose state was damaged."""
    known = {shard.file for split in manifest.splits.values() for shard in split.shards} | {info.file for info in manifest.files}
    pooled.remove(files.join(directory, name) for name in files.list_files(directory) if name not in known and output.is_part(name))
