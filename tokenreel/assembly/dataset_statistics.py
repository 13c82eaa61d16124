"""Sums what blocks and shards counted into `statistics.json`.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_selection.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tokenreel.assembly.shard_statistics import ShardStatistics
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.shard_plan import SplitPlan
from tokenreel.planning.stage_table import StageTable

_TOP_TOKENS = 50


def statistics(
    recipe: Recipe, selections: StageTable, plans: Mapping[str, SplitPlan], sums: Mapping[str, ShardStatistics]
) -> dict[str, Any]:
    """Makes the content of `statistics.json`: whole numbers and ratios, by split and by source.

    Args:
      recipe: what was built.
      selections: what is taken of each stage file.
      plans: the plan of each split.
      sums: what the shards of each split hold.
    """
    return {
        "splits": {split: _split_statistics(recipe, selections, plans[split], sums[split]) for split in sorted(plans)},
        "sources": {source.name: _source_statistics(selections, index, plans) for index, source in enumerate(recipe.config.sources)},
    }


def _source_statistics(selections: StageTable, source: int, splits: Iterable[str]) -> dict[str, Any]:
    own = selections.of_source(source)

    def total(name: str) -> int:
        return int(selections.numbers(name)[own].sum())

    filtered = selections.summed("filtered", own) | selections.scored(own)
    return {
        "dead_letters": total("dead_letters"),
        "filtered": sum(filtered.values()),
        "filtered_by_reason": filtered,
        "duplicates": total("duplicates"),
        "not_sampled": total("not_sampled"),
        "repeated": int(selections.repeated()[own].sum()),
        "lines_removed_by_reason": selections.summed("lines_removed", own),
        "modified": total("modified"),
        "characters_removed": total("characters_removed"),
        **_text_totals([selections.counts(split)[own] for split in splits]),
    }


def _text_totals(counts: Sequence[npt.NDArray[np.int64]]) -> dict[str, int]:
    """Adds [n, 4] counts of stage files for each of some splits."""
    return dict(zip(("documents", "tokens", "characters", "bytes"), np.concatenate(counts).sum(axis=0).tolist(), strict=True))


def _split_statistics(recipe: Recipe, selections: StageTable, plan: SplitPlan, found: ShardStatistics) -> dict[str, Any]:
    vocabulary = recipe.vocabulary
    positions = found.examples * (recipe.packing.seq_len + recipe.packing.overlap)
    counts = found.token_counts
    top = np.argsort(-counts, kind="stable")[:_TOP_TOKENS]
    unknown = int(counts[vocabulary.unk_id]) if vocabulary.unk_id is not None else 0
    text = _text_totals([selections.counts(plan.split)])
    return {
        "documents": text["documents"],
        "characters": text["characters"],
        "bytes": text["bytes"],
        "text_tokens": text["tokens"],
        "tokens": plan.tokens,
        "added_tokens": plan.added_tokens,
        "tokens_in_examples": found.tokens,
        "overlapping_tokens": found.overlapping_tokens,
        "dropped_documents": plan.dropped_documents,
        "dropped_document_tokens": plan.dropped_document_tokens,
        "dropped_tokens": sum(plan.dropped_tokens.values()),
        "dropped_tokens_by_reason": dict(sorted(plan.dropped_tokens.items())),
        "examples": found.examples,
        "density": found.tokens / positions if positions else 0.0,
        "document_starts": found.document_starts,
        "segments": found.segments,
        "cut_documents": found.cut_documents,
        "special_tokens": found.special_tokens,
        "unknown_rate": unknown / found.tokens if found.tokens else 0.0,
        "vocabulary_used": int(np.count_nonzero(counts)) / vocabulary.vocab_size,
        "frequent_tokens": [[int(i), int(counts[i])] for i in top if counts[i]],
        "document_lengths": _histogram(plan.document_lengths),
        "segment_lengths": _histogram(found.segment_lengths.tolist()),
        "objective": found.to_json()["objective"],
        **({"labels": found.labels} if found.labels else {}),
    }


def _histogram(bins: Sequence[int]) -> dict[str, int]:
    """Counts by the largest length of a bin: "7" holds 4 to 7 tokens."""
    return {str((1 << digits) - 1): count for digits, count in enumerate(bins) if count}
