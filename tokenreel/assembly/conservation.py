"""Checks that nothing was lost: documents and tokens in equal those out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tokenreel.assembly.shard_statistics import ShardStatistics
from tokenreel.config.build import JobConfig
from tokenreel.curation import cleaned
from tokenreel.errors import BuildError
from tokenreel.planning.selection import StageSelection
from tokenreel.planning.shard_plan import SplitPlan


def conservation(
    config: JobConfig, selections: Sequence[StageSelection], plans: Mapping[str, SplitPlan], sums: Mapping[str, ShardStatistics]
) -> dict[str, Any]:
    """Checks documents in = written + left out + dropped + dead-lettered, and tokens likewise, split by split.

    What was written is counted from the examples themselves, what was read from the stage files, what was dropped from the plan: three
    separate measurements.

    Args:
      config: the settings of the build.
      selections: what is taken of each stage file.
      plans: the plan of each split.
      sums: what the shards of each split hold.

    Returns:
      the totals of the manifest, but for its input files.

    Raises:
      BuildError: an identity does not hold; names it and both sides.
    """
    filtered = cleaned.summed([selection.info.filtered for selection in selections])
    kept = sum(selection.info.documents for selection in selections)
    dead = sum(selection.info.dead_letters for selection in selections)
    read = kept + sum(filtered.values()) + dead
    duplicates, not_sampled = (sum(getattr(selection, name) for selection in selections) for name in ("duplicates", "not_sampled"))
    repeated = sum(count_repeats(selection) for selection in selections)
    taken = sum(plan.documents for plan in plans.values())
    _require_equal("documents in stage files, and repeats of them", kept + repeated, "taken + left out", taken + duplicates + not_sampled)
    # For each source, too: what one lacks and another has too often would cancel out in the sum.
    for index, source in enumerate(config.sources):
        own = [selection for selection in selections if selection.info.source == index]
        held = sum(selection.info.documents + count_repeats(selection) for selection in own)
        used = sum(each.duplicates + each.not_sampled + sum(each.counts(split)[0] for split in plans) for each in own)
        _require_equal(f"{source.name}: documents and repeats", held, "taken + left out", used)
    for split, plan in plans.items():
        found = sums[split]
        # An overlap stores tokens twice; each counts where it stands first.
        documents, tokens = found.documents, found.tokens - found.overlapping_tokens
        dropped = sum(plan.dropped_tokens.values())
        variants = config.variants
        _require_equal(f"{split}: documents", plan.documents * variants, "written + dropped", documents + plan.dropped_documents * variants)
        _require_equal(f"{split}: tokens", plan.tokens * variants, "written + dropped", tokens + dropped * variants)
        if not 0 <= dropped <= plan.tokens:
            raise BuildError(_lost(f"{split}: of {plan.tokens:,} tokens {dropped:,} are dropped"))
        # What an objective has no room for would be missing from the examples, which count it as written.
        _require_equal(f"{split}: tokens cropped", int(found.objective.get("cropped_tokens", 0)), "tokens that may be", 0)
        _require_equal(f"{split}: examples planned", sum(s.examples for s in plan.shards), "examples written", found.examples)
    return {
        "documents_read": read,
        "documents_written": sum(plan.documents - plan.dropped_documents for plan in plans.values()),
        "documents_filtered": filtered,
        "documents_duplicate": duplicates,
        "documents_not_sampled": not_sampled,
        "documents_repeated": repeated,
        "documents_dropped": sum(plan.dropped_documents for plan in plans.values()),
        "documents_dead_lettered": dead,
        "tokens": sum(plan.tokens for plan in plans.values()),
        "tokens_written": sum(plan.tokens - sum(plan.dropped_tokens.values()) for plan in plans.values()),
        "tokens_dropped": sum(sum(plan.dropped_tokens.values()) for plan in plans.values()),
    }


def count_repeats(selection: StageSelection) -> int:
    """Counts the repeats behind the first of the documents of a stage file."""
    return sum(counts[0] for by_repeat in selection.splits.values() for counts in by_repeat[1:])


def _require_equal(left: str, left_count: int, right: str, right_count: int) -> None:
    if left_count != right_count:
        raise BuildError(_lost(f"{left} {left_count:,}, {right} {right_count:,}"))


def _lost(what: str) -> str:
    return f"the build lost or doubled something: {what}. No manifest was written. Please report this with the config."
