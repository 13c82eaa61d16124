"""Compares the manifest's totals and settings with the statistics, with the records' features and with each other.

Tested in tests/tokenreel/inspection/test_verification.py and tests/test_reseal.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenreel.format import manifest as manifests
from tokenreel.format import naming, schema
from tokenreel.format.manifest import Manifest


def check_settings(manifest: Manifest) -> Iterator[str]:
    """Compares the settings that say how large examples are, and what fills them up, with the features and the vocabulary."""
    packing, vocabulary = manifest.config.get("packing", {}), manifest.vocabulary
    for name, value in (("seq_len", manifest.seq_len), ("overlap", manifest.overlap)):
        if packing.get(name, value) != value:
            yield f"{naming.MANIFEST}: config.packing.{name} is {packing[name]!r}, record.{name} {value!r}"
    widths = {feature.name: feature.shape[-1] for feature in manifest.features if feature.shape}
    wide = schema.TOKENS if schema.TOKENS in widths else "inputs"
    expected = manifest.seq_len + (manifest.overlap if wide == schema.TOKENS else 0)
    if wide in widths and widths[wide] != expected and not manifests.holds_task_rows(manifest):
        yield f"{naming.MANIFEST}: examples of {manifest.seq_len:,} positions, overlap {manifest.overlap:,}, have {widths[wide]:,} {wide}"
    # Examples are filled up with what the objective names, or the vocabulary's pad id, or its eos, or 0: nothing else is padding for those
    # who read them. What a name means only the vocabulary can tell (`check_vocabulary`).
    given = manifest.config.get("objective", {}).get("pad_id")
    known: tuple[int | None, ...] = (vocabulary.pad_id,) if vocabulary.pad_id is not None else (vocabulary.eos_id, 0)
    if isinstance(given, int):
        if manifest.pad_id != given:
            yield f"{naming.MANIFEST}: record.pad_id is {manifest.pad_id}, objective.pad_id {given}"
    elif given is None and manifest.pad_id not in known:
        yield f"{naming.MANIFEST}: record.pad_id is {manifest.pad_id}, the vocabulary's is {known[0]}"
    examples = manifest.config.get("shards", {}).get("examples")
    for split, info in manifest.splits.items():
        if examples is not None and len(info.shards) > 1 and info.shards[0].records != examples:
            yield f"{naming.MANIFEST}: config.shards.examples is {examples:,}, the shards of split {split} have {info.shards[0].records:,}"


def check_task_rows(manifest: Manifest, splits: Mapping[str, Any], records: Mapping[str, int]) -> Iterator[str]:
    """Compares the statistics of a dataset of a task's rows with its records, and its totals with the statistics.

    Args:
      manifest: of the dataset.
      splits: what `statistics.json` says of each split.
      records: that were counted, of the splits in which all are sound.
    """
    for split, count in records.items():
        if splits[split]["examples"] != count:
            yield f"{naming.STATISTICS}: split {split} has {splits[split]['examples']:,} examples, its shards {count:,}"
    for name, total in manifest.totals.items():
        found = sum(each[name] for each in splits.values())
        if found != total:
            yield f"{naming.STATISTICS}: its splits make {name} {found:,}, the manifest says {total:,}"


def check_totals(totals: Mapping[str, Any], statistics: Mapping[str, Any]) -> Iterator[str]:
    """Checks that the manifest's totals add up, and are the sums of the splits and sources of `statistics.json`."""
    yield from _check_sums(totals)
    splits, sources = statistics["splits"].values(), statistics.get("sources", {}).values()
    for total, fields in _TOTALS.items():
        found = sum(split[fields[0]] - sum(split[field] for field in fields[1:]) for split in splits)
        if found != totals[total]:
            yield f"{naming.STATISTICS}: its splits make {total} {found:,}, the manifest says {totals[total]:,}"
    for total, field in _SOURCE_TOTALS.items():
        found = sum(source[field] for source in sources)
        if sources and found != totals.get(total, 0):
            yield f"{naming.STATISTICS}: its sources make {total} {found:,}, the manifest says {totals.get(total, 0):,}"


def _check_sums(totals: Mapping[str, Any]) -> Iterator[str]:
    """Checks that every document read has one fate, and every token one of two."""
    name = naming.MANIFEST
    parts = {key: int(totals[key]) for key in ("documents_written", "documents_dropped", "documents_dead_lettered")}
    parts["documents_filtered"] = sum(totals["documents_filtered"].values())
    parts |= {key: int(totals.get(key, 0)) for key in ("documents_duplicate", "documents_not_sampled")}
    if below := [key for key, value in parts.items() if value < 0]:
        yield f"{name}: {', '.join(below)} below 0"
    parts["documents_repeated"] = -int(totals.get("documents_repeated", 0))  # further copies of documents, all of them written
    if totals["documents_read"] != sum(parts.values()):
        yield f"{name}: {totals['documents_read']:,} documents were read, but {parts} add up to {sum(parts.values()):,}"
    if totals["tokens"] != totals["tokens_written"] + totals["tokens_dropped"]:
        yield f"{name}: {totals['tokens']:,} tokens are not {totals['tokens_written']:,} written + {totals['tokens_dropped']:,} dropped"
    if not 0 <= totals["tokens_written"] <= totals["tokens"]:
        yield f"{name}: {totals['tokens_written']:,} tokens written, which is outside 0 to {totals['tokens']:,}"


# Dead letters are not among them: those of each source, and their total, are compared with the lines of their file.
_SOURCE_TOTALS = {
    "documents_duplicate": "duplicates",
    "documents_not_sampled": "not_sampled",
    "documents_repeated": "repeated",
}

# Each total of the manifest is the sum over all splits of a field of their statistics, less the fields behind it.
_TOTALS = {
    "documents_written": ("documents", "dropped_documents"),
    "documents_dropped": ("dropped_documents",),
    "tokens": ("tokens",),
    "tokens_written": ("tokens", "dropped_tokens"),
    "tokens_dropped": ("dropped_tokens",),
}
