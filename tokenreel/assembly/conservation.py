"""Checks that nothing was lost: documents and tokens in equal those out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenreel.assembly.shard_statistics import ShardStatistics
from tokenreel.config.build import JobConfig
from tokenreel.errors import BuildError
from tokenreel.planning.shard_plan import SplitPlan
from tokenreel.planning.stage_table import SCORED, StageTable


def conservation(
    config: JobConfig, selections: StageTable, plans: Mapping[str, SplitPlan], sums: Mapping[str, ShardStatistics]
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
    filtered, scored, repeats = selections.summed("filtered"), selections.scored(), selections.repeated()
    names = ("documents", "dead_letters", "duplicates", "not_sampled")
    kept, dead, duplicates, not_sampled = (int(selections.numbers(name).sum()) for name in names)
    read = kept + sum(filtered.values()) + dead
    repeated = int(repeats.sum())
    used = sum(plan.documents for plan in plans.values()) + duplicates + not_sampled + sum(scored.values())
    _require_equal("documents in stage files, and repeats of them", kept + repeated, "taken + left out", used)
    # For each source, too: what one lacks and another has too often would cancel out in the sum.
    for index, source in enumerate(config.sources):
        own = selections.of_source(index)
        held = int((selections.numbers("documents") + repeats)[own].sum())
        unused = sum(int(selections.numbers(name)[own].sum()) for name in ("duplicates", "not_sampled", *SCORED))
        used = unused + sum(int(selections.counts(split)[own, 0].sum()) for split in plans)
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
        "documents_filtered": filtered | scored,
        "documents_duplicate": duplicates,
        "documents_not_sampled": not_sampled,
        "documents_repeated": repeated,
        "documents_dropped": sum(plan.dropped_documents for plan in plans.values()),
        "documents_dead_lettered": dead,
        "tokens": sum(plan.tokens for plan in plans.values()),
        "tokens_written": sum(plan.tokens - sum(plan.dropped_tokens.values()) for plan in plans.values()),
        "tokens_dropped": sum(sum(plan.dropped_tokens.values()) for plan in plans.values()),
    }


def _require_equal(left: str, left_count: int, right: str, right_count: int) -> None:
    if left_count != right_count:
        raise BuildError(_lost(f"{left} {left_count:,}, {right} {right_count:,}"))


def _lost(what: str) -> str:
    return f"the build lost or doubled something: {what}. No manifest was written. Please report this with the config."
