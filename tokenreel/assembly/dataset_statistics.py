"""Sums what blocks and shards counted into `statistics.json`.

Tested in tests/pipelines/test_build.py and tests/pipelines/test_selection.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel.assembly.conservation import count_repeats
from tokenreel.assembly.shard_statistics import ShardStatistics
from tokenreel.curation import cleaned
from tokenreel.planning.recipe import Recipe
from tokenreel.planning.selection import Counts, StageSelection
from tokenreel.planning.shard_plan import SplitPlan

_TOP_TOKENS = 50


def statistics(
    recipe: Recipe, selections: Sequence[StageSelection], plans: Mapping[str, SplitPlan], sums: Mapping[str, ShardStatistics]
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
        "sources": {
            source.name: _source_statistics([selection for selection in selections if selection.info.source == index], plans)
            for index, source in enumerate(recipe.config.sources)
        },
    }


def _source_statistics(selections: Sequence[StageSelection], splits: Iterable[str]) -> dict[str, Any]:
    filtered = cleaned.summed([selection.info.filtered for selection in selections])
    return {
        "dead_letters": sum(selection.info.dead_letters for selection in selections),
        "filtered": sum(filtered.values()),
        "filtered_by_reason": filtered,
        "duplicates": sum(selection.duplicates for selection in selections),
        "not_sampled": sum(selection.not_sampled for selection in selections),
        "repeated": sum(count_repeats(selection) for selection in selections),
        "lines_removed_by_reason": cleaned.summed([selection.info.lines_removed for selection in selections]),
        "modified": sum(selection.info.modified for selection in selections),
        "characters_removed": sum(selection.info.characters_removed for selection in selections),
        **_text_totals([selection.counts(split) for selection in selections for split in splits]),
    }


def _text_totals(rows: Sequence[Counts]) -> dict[str, int]:
    names = ("documents", "tokens", "characters", "bytes")
    return dict(zip(names, (sum(column) for column in zip(*rows, strict=True)), strict=True)) if rows else dict.fromkeys(names, 0)


def _split_statistics(recipe: Recipe, selections: Sequence[StageSelection], plan: SplitPlan, found: ShardStatistics) -> dict[str, Any]:
    vocabulary = recipe.vocabulary
    positions = found.examples * (recipe.packing.seq_len + recipe.packing.overlap)
    counts = found.token_counts
    top = np.argsort(-counts, kind="stable")[:_TOP_TOKENS]
    unknown = int(counts[vocabulary.unk_id]) if vocabulary.unk_id is not None else 0
    text = _text_totals([selection.counts(plan.split) for selection in selections])
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
    }


def _histogram(bins: Sequence[int]) -> dict[str, int]:
    """Counts by the largest length of a bin: "7" holds 4 to 7 tokens."""
    return {str((1 << digits) - 1): count for digits, count in enumerate(bins) if count}
