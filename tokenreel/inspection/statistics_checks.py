"""Compares `statistics.json` with what the records and the provenance tables hold, and its numbers with each other.

A number is recounted where that is possible; what is left is compared with others that it has to agree with. `trust` lists what is neither.

Tested in tests/tokenreel/inspection/test_verification.py and tests/test_reseal.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tokenreel.format import naming, schema
from tokenreel.format.manifest import Manifest
from tokenreel.inspection.document_checks import PAIRS, DocumentCounts
from tokenreel.inspection.objective_settings import laid_out_width
from tokenreel.inspection.tally import Tally

NEW = "dropped_document_tokens"
"""Statistics have this since totals of pairs count each token once; older ones are compared with each other alone there."""

_MASKED = "masked"


def check_split(manifest: Manifest, split: str, said: Mapping[str, Any], tally: Tally) -> Iterator[str]:
    """Compares the statistics of a split.

    Args:
      manifest: describes the dataset.
      split: its name.
      said: its statistics.
      tally: what its records hold, all of them.
    """
    expected = _expected(manifest, tally)
    for field, found in expected.items():
        if said.get(field) != found:
            yield _differs(split, field, said.get(field), f"the records hold {brief(found)}")
    if tally.labels and said.get("labels") != tally.labels:
        yield _differs(split, "labels", said.get("labels"), f"the records hold {brief(tally.labels)}")
    yield from _check_objective(split, said, tally)
    documents = _documents(tally)
    if documents is not None:
        yield from _check_documents(split, said, documents, tally)
    yield from _check_sums(manifest, split, {**said, **expected}, tally)


def _documents(tally: Tally) -> DocumentCounts | None:
    return tally.variants[0] if tally.variants else None


def _differs(split: str, field: str, said: Any, why: str) -> str:
    return f"{naming.STATISTICS}: split {split}: {field} is {brief(said)}, {why}"


def _expected(manifest: Manifest, tally: Tally) -> dict[str, Any]:
    """Recounts the numbers of a split that follow from its records and tables alone."""
    expected: dict[str, Any] = {"examples": tally.examples}
    mode = manifest.config.get("packing", {}).get("mode")
    starts = any(feature.name == schema.DOCUMENT_STARTS for feature in manifest.features)
    tables = tally.segments is not None and any(info.file.startswith("provenance/") for info in manifest.files)
    if tally.restored:
        width = laid_out_width(manifest, tally.settings)
        positions = tally.examples * (width or 0)
        expected |= {"tokens_in_examples": tally.tokens, "density": tally.tokens / positions if positions else 0.0}
        expected |= _expected_counts(manifest, tally)
    if starts or mode == PAIRS:
        expected["document_starts"] = tally.document_starts
    elif tables:
        expected["document_starts"] = tally.table_starts
    if mode == PAIRS:
        if (pairs := _documents(tally)) is not None and tally.restored:
            expected["overlapping_tokens"] = tally.tokens - pairs.written
    elif mode == "wrap" or not manifest.overlap:  # one token of every example but the first of each variant
        variants = int(manifest.config.get("variants", 1))
        expected["overlapping_tokens"] = max(0, tally.examples - variants) * manifest.overlap
    elif mode == "buckets":
        expected["overlapping_tokens"] = 0
    if tables:
        expected["segments"] = tally.segments
        if manifest.overlap and mode == "wrap_within_document":
            expected["overlapping_tokens"] = tally.continued
        expected["segment_lengths"] = _histogram(tally.segment_lengths)
    return expected


def _expected_counts(manifest: Manifest, tally: Tally) -> dict[str, Any]:
    counts, unk = tally.counts, manifest.vocabulary.unk_id
    # The build lists the fifty most frequent, equal ones by their id: a stable sort does so.
    frequent = np.argsort(-counts, kind="stable")[:50]
    known = [name for name in ("bos", "eos", "unk", "pad") if getattr(manifest.vocabulary, f"{name}_id") is not None]
    unknown = int(counts[unk]) if unk is not None and unk < len(counts) else 0
    return {
        "special_tokens": {name: tally.specials.get(name, 0) for name in known},
        "unknown_rate": unknown / tally.tokens if tally.tokens else 0.0,
        "vocabulary_used": int(np.count_nonzero(counts)) / manifest.vocabulary.vocab_size,
        "frequent_tokens": [[int(i), int(counts[i])] for i in frequent if counts[i]],
    }


def _histogram(counts: Any) -> dict[str, int]:
    return {str((1 << digits) - 1): int(count) for digits, count in enumerate(counts) if count}


def _check_objective(split: str, said: Mapping[str, Any], tally: Tally) -> Iterator[str]:
    """Compares what the objective counted, where that could be counted again."""
    given = said.get("objective", {})
    if not tally.restored or not tally.objective:
        return
    for name, found in tally.objective.items():
        if given.get(name) != found:
            yield _differs(split, f"objective.{name}", given.get(name), f"the records hold {brief(found)}")
    if _MASKED in given and _MASKED not in tally.objective:  # which needs the mask's id
        total = given[_MASKED] + given.get("random", 0) + given.get("unchanged", 0)
        if total != tally.objective["selected"]:
            yield _differs(split, f"objective.{_MASKED}", given[_MASKED], f"with the others it makes {total:,} of the selected tokens")


def _check_documents(split: str, said: Mapping[str, Any], found: DocumentCounts, tally: Tally) -> Iterator[str]:
    """Compares documents with those of the provenance tables, of which one variant is like the others."""
    variants = tally.variants or []
    for field, counted in (
        ("documents", found.documents + said["dropped_documents"]),
        ("tokens", found.tokens + said[NEW]),
        ("cut_documents", sum(variant.cut for variant in variants)),
    ):
        if said[field] != counted:
            yield _differs(split, field, said[field], f"its documents and what was dropped make {counted:,}")
    dropped = said["tokens"] - found.written
    if said["dropped_tokens"] != dropped:
        yield _differs(split, "dropped_tokens", said["dropped_tokens"], f"the examples hold {found.written:,} of {said['tokens']:,} tokens")
    yield from _check_dropped_lengths(split, said, found)


def _check_dropped_lengths(split: str, said: Mapping[str, Any], found: DocumentCounts) -> Iterator[str]:
    """Checks that the documents which no table names have the number and the tokens that were dropped."""
    left = dict(said["document_lengths"])
    for length, count in _histogram(found.lengths).items():
        left[length] = left.get(length, 0) - count
    fewest = sum(count * (int(length) + 1 >> 1) for length, count in left.items())
    most = sum(count * int(length) for length, count in left.items())
    if min(left.values(), default=0) < 0 or sum(left.values()) != said["dropped_documents"] or not fewest <= said[NEW] <= most:
        kept = brief(_histogram(found.lengths))
        yield _differs(split, "document_lengths", said["document_lengths"], f"the documents that are in examples have {kept}")


def _check_sums(manifest: Manifest, split: str, told: Mapping[str, Any], tally: Tally) -> Iterator[str]:
    """Compares numbers that cannot be recounted with those that they have to agree with."""
    packing = manifest.config.get("packing", {})
    around = int(bool(packing.get("add_bos"))) + int(
        packing.get("mode") != PAIRS and (bool(packing.get("add_eos")) or packing.get("separator_id") is not None)
    )
    infilled = manifest.config.get("objective", {}).get("name") == "fill_in_the_middle"
    for field, counted, what in (
        ("tokens", told["text_tokens"] + told["added_tokens"] + around * told["documents"], "text, added tokens and what stands around"),
        ("dropped_tokens", sum(told["dropped_tokens_by_reason"].values()), "the reasons"),
        ("documents", sum(told["document_lengths"].values()), "the lengths of documents"),
        ("segments", sum(told["segment_lengths"].values()), "the lengths of segments"),
    ):
        if told[field] != counted:
            yield _differs(split, field, told[field], f"but {what} make {counted:,}")
    variants = int(manifest.config.get("variants", 1))
    written = told["tokens"] - told["dropped_tokens"]
    # Of old datasets of pairs these are two different counts.
    if (packing.get("mode") != PAIRS or NEW in told) and written * variants != told["tokens_in_examples"] - told["overlapping_tokens"]:
        yield _differs(
            split,
            "dropped_tokens",
            told["dropped_tokens"],
            f"so {written:,} are written, and examples hold {told['tokens_in_examples'] - told['overlapping_tokens']:,}",
        )
    if not 0 <= written <= told["tokens"]:
        yield _differs(split, "dropped_tokens", told["dropped_tokens"], f"outside 0 to {told['tokens']:,} tokens")
    bounds = told["dropped_documents"], told["dropped_tokens"] if told["dropped_documents"] else 0
    if not 0 <= told["dropped_documents"] <= told["documents"] or (NEW in told and not bounds[0] <= told[NEW] <= bounds[1]):
        yield _differs(split, "dropped_documents", told["dropped_documents"], f"with {told.get(NEW, 0):,} of the dropped tokens")
    if not 0 <= told["cut_documents"] <= variants * (told["documents"] - told["dropped_documents"]):
        yield _differs(split, "cut_documents", told["cut_documents"], f"of {told['documents']:,} documents")
    if told["added_tokens"] % 3 or not 0 <= told["added_tokens"] <= 3 * infilled * told["documents"]:
        yield _differs(split, "added_tokens", told["added_tokens"], "though only fill_in_the_middle adds tokens, three to a document")
    if not told["characters"] <= told["bytes"] <= 4 * told["characters"]:
        yield _differs(split, "bytes", told["bytes"], f"of {told['characters']:,} characters")


def check_sources(
    manifest: Manifest, statistics: Mapping[str, Any], tallies: Mapping[str, Tally], letters: Mapping[str, int] | None
) -> Iterator[str]:
    """Compares the sources with the splits, with the tables, with the dead letters, and with the manifest's totals.

    Args:
      manifest: describes the dataset.
      statistics: the content of `statistics.json`.
      tallies: of the splits whose records could all be read.
      letters: dead letters of each source; None where the file is damaged.
    """
    splits, sources = statistics["splits"], statistics.get("sources", {})
    if not sources:
        return
    for field, own in (("documents", "documents"), ("tokens", "text_tokens"), ("characters", "characters"), ("bytes", "bytes")):
        found, whole = sum(source[field] for source in sources.values()), sum(split[own] for split in splits.values())
        if found != whole:
            yield f"{naming.STATISTICS}: its sources have {found:,} {field}, its splits {whole:,}"
    for name, source in sources.items():
        where = f"{naming.STATISTICS}: source {name}"
        if source["filtered"] != sum(source["filtered_by_reason"].values()):
            yield f"{where}: filtered is {source['filtered']:,}, the reasons make {sum(source['filtered_by_reason'].values()):,}"
        if letters is not None and source["dead_letters"] != letters.get(name, 0):
            yield f"{where}: dead_letters is {source['dead_letters']:,}, {naming.DEAD_LETTERS} has {letters.get(name, 0):,} of it"
        negative = [field for field, value in source.items() if isinstance(value, int) and value < 0]
        if negative:
            yield f"{where}: {', '.join(negative)} below 0"
    reasons: dict[str, int] = {}
    for source in sources.values():
        for reason, count in source["filtered_by_reason"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    if reasons != dict(manifest.totals["documents_filtered"]):
        told = brief(manifest.totals["documents_filtered"])
        yield f"{naming.STATISTICS}: its sources filtered {brief(reasons)}, the manifest says {told}"
    if set(tallies) == set(splits):
        yield from _check_tables(manifest, statistics, tallies)


def _check_tables(manifest: Manifest, statistics: Mapping[str, Any], tallies: Mapping[str, Tally]) -> Iterator[str]:
    """Compares documents and repeats of each source with the tables; a document that was dropped may be from any source."""
    found = {split: _documents(tally) for split, tally in tallies.items()}
    if any(counts is None for counts in found.values()):
        return
    dropped = sum(split["dropped_documents"] for split in statistics["splits"].values())
    for name, source in statistics["sources"].items():
        held = sum(counts.of_source.get(name, 0) for counts in found.values() if counts is not None)
        if not held <= source["documents"] <= held + dropped:
            yield f"{naming.STATISTICS}: source {name}: documents is {source['documents']:,}, the tables have {held:,} of them"
        repeats = sum(sum(counts.of_copy.get(name, [])[1:]) for counts in found.values() if counts is not None)
        if not repeats <= source["repeated"] <= repeats + dropped:
            yield f"{naming.STATISTICS}: source {name}: repeated is {source['repeated']:,}, the tables have {repeats:,} repeats"
    yield from _check_copies(manifest, found, dropped)


def _check_copies(manifest: Manifest, found: Mapping[str, DocumentCounts | None], dropped: int) -> Iterator[str]:
    """Checks that each repeat of a source is of as many documents as the setting `epochs` takes so often, and of none more than that."""
    epochs = {source["name"]: float(source["epochs"]) for source in manifest.config.get("sources", ())}
    for split, counts in found.items():
        for name, of_copy in counts.of_copy.items() if counts is not None else ():
            whole = max(int(epochs.get(name, 1)), 1) if split == "train" else 1
            most = max(-int(-epochs.get(name, 1) // 1), 1) if split == "train" else 1
            each = [*of_copy, *[0] * (most - len(of_copy))]
            uneven = max(each[:whole]) - min(each[:whole]) > dropped
            if len(each) > most or uneven or (most > whole and each[whole] > each[0] + dropped):
                yield (
                    f"provenance: of split {split}, {brief(of_copy)} documents of source {name} are repeat 0, 1, ...; "
                    f"the source has {epochs.get(name, 1):g} epochs"
                )


def brief(value: Any) -> str:
    """Writes a value for a message."""
    text = f"{value:,}" if isinstance(value, int) else json.dumps(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
