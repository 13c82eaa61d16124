"""Compares every byte of the cached order of a mixture with its manifest, and its rows with the caches that they name.

Tested in tests/pipelines/test_cache_mixtures.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tokenreel.format import cache_manifest, naming
from tokenreel.format.mixture_manifest import EPOCH, NUMBER, TASK, MixtureManifest, SplitOfMixture, made_by, task_directory
from tokenreel.inspection.cache_check import file_differences
from tokenreel.storage import column_file, files


def differences(directory: str, manifest: MixtureManifest, *, quick: bool = False) -> Iterator[str]:
    """Yields a line for each thing that is not as the manifest says.

    Args:
      directory: of the mixture; the caches of its tasks lie beside it.
      manifest: of it.
      quick: compares names and sizes alone.
    """
    sound = set[str]()
    yield from file_differences(directory, manifest.checksums(), naming.is_order, sound, quick=quick)
    counts: dict[str, dict[str, int]] = {}
    for name, expected in manifest.identity["tasks"].items():
        found = cache_manifest.find(task_directory(directory, manifest.mixture, name))
        if found is None:
            yield f"the cache of task {name}: missing beside the mixture"
        elif made_by(found.identity) != expected:
            yield f"the cache of task {name}: is not the one that the order was drawn over"
        else:
            counts[name] = {split: each.examples for split, each in found.splits.items()}
    if quick or len(counts) < len(manifest.identity["tasks"]):
        return
    for split, part in manifest.splits.items():
        if all(info.file in sound for info in part.rows):
            yield from _row_differences(directory, split, part, [counts[name].get(split, 0) for name in part.tasks])


def _row_differences(directory: str, split: str, part: SplitOfMixture, counts: list[int]) -> Iterator[str]:
    """Compares rows with how many examples each task's cache has, and with what the manifest counts."""
    examples = np.zeros(len(counts), dtype=np.int64)
    for info in part.rows:
        columns = column_file.of_bytes(column_file.map_bytes(files.join(directory, info.file))).arrays
        if any(len(columns[name]) != info.records for name in (TASK, NUMBER, EPOCH)):
            yield f"{info.file}: {len(columns[TASK]):,} rows, the manifest says {info.records:,}"
        known = columns[TASK] < len(counts)
        limits = np.array(counts)[np.where(known, columns[TASK], 0)]
        wrong = np.flatnonzero(~known | (columns[NUMBER] < 0) | (columns[NUMBER] >= limits) | (columns[EPOCH] >= part.epochs))
        if len(wrong):
            yield f"{info.file}: row {wrong[0]:,} names an example that no cache has"
        examples += np.bincount(columns[TASK][known], minlength=len(counts))
    counted = {"examples": int(examples.sum())}
    counted |= {f"{name}_examples": count for name, count in zip(part.tasks, examples.tolist(), strict=True)}
    yield from (
        f"{split}: {name} is {count:,}, the manifest says {part.statistics.get(name)}"
        for name, count in counted.items()
        if part.statistics.get(name) != count
    )
