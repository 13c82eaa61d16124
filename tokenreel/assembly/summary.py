"""Says in a few lines what a build made."""

from __future__ import annotations

from tokenreel.format import naming
from tokenreel.format.manifest import Manifest
from tokenreel.wording import plural


def summarize(found: Manifest) -> str:
    """Says what a build made: the lines that the command prints at its end."""
    totals = found.totals
    lines = [
        f"{name}: {plural(split.examples, 'example')} of {found.seq_len:,} tokens in {plural(len(split.shards), 'shard')}, "
        f"{sum(shard.bytes for shard in split.shards) / 1e6:,.1f} MB"
        if split.examples
        else found.describe_empty(name)
        for name, split in found.splits.items()
    ]
    left_out = sum(totals["documents_filtered"].values())
    optional = {"documents_duplicate": " + {:,} duplicates", "documents_not_sampled": " + {:,} not sampled"}
    optional["documents_repeated"] = " - {:,} repeats"
    lines.append(
        f"documents: {totals['documents_read']:,} read = {totals['documents_written']:,} written + {left_out:,} filtered + "
        f"{totals['documents_dropped']:,} dropped + {totals['documents_dead_lettered']:,} dead letters"
        + "".join(text.format(totals[name]) for name, text in optional.items() if totals.get(name))
    )
    lines.append(f"tokens: {totals['tokens']:,} = {totals['tokens_written']:,} written + {totals['tokens_dropped']:,} dropped")
    if totals["documents_dead_lettered"]:
        lines.append(f"dead letters: {naming.DEAD_LETTERS} says which and why")
    return "\n".join([*lines, f"fingerprint: {found.fingerprint}"])
