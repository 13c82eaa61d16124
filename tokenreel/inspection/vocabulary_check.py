"""Compares the vocabulary's copy with the manifest: its identity, its special ids, and what objectives were told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tokenreel.format import manifest as manifests
from tokenreel.format.manifest import Manifest
from tokenreel.inspection.statistics_checks import brief
from tokenreel.vocabularies.base import Vocabulary

_SENTINELS = {"first_sentinel_id", "num_sentinels", "sentinel_step"}


def check_vocabulary(manifest: Manifest, vocabulary: Vocabulary, name: str) -> Iterator[str]:
    """Yields what differs between a dataset's vocabulary, named so, and its manifest, one sentence each."""
    info = manifest.vocabulary
    told = manifest.objective_facts
    older = told is None or "special_names" not in told
    for field in ("fingerprint", "vocab_size", "pad_id", "bos_id", "eos_id", "unk_id"):
        found, wanted = getattr(vocabulary, field), getattr(info, field)
        # Older builds took ordinary pieces with the usual names for these.
        if found != wanted and not (older and field.endswith("_id") and found is None and vocabulary.piece(wanted) is not None):
            yield f"{name}: its {field} is {found!r}, the manifest says {wanted!r}"
    padding = manifest.config.get("objective", {}).get("pad_id")
    if isinstance(padding, str) and (found := vocabulary.find(padding)) != manifest.pad_id:
        yield f"{name}: its {padding}, the objective's padding, is {found!r}, the manifest's record.pad_id {manifest.pad_id}"
    if "vocabulary" in manifest.algorithms:
        for option in sorted({*vocabulary.resolved, *info.options}):
            found, wanted = vocabulary.resolved.get(option), info.options.get(option)
            if (found, type(found)) != (wanted, type(wanted)):
                yield f"{name}: its {option} is {brief(found)}, the manifest's vocabulary.options say {brief(wanted)}"
    if told is not None:
        facts = vocabulary.objective_facts(older=older)
        if not older:
            special = {*facts["special_ids"], *_special_of(manifest, vocabulary, facts)}
            facts |= {"special_ids": sorted(special), "special_names": vocabulary.names_of(special)}
        packed = manifests.pack_facts(facts)
        for fact in sorted({*packed, *told}):
            if packed.get(fact) != told.get(fact):
                yield f"{name}: its {fact} is {brief(packed.get(fact))}, the manifest says {brief(told.get(fact))}"


def _special_of(manifest: Manifest, vocabulary: Vocabulary, facts: Mapping[str, Any]) -> set[int]:
    """Finds the special ids that the settings of the build name, beside those of the vocabulary."""
    packing, objective = (manifest.config.get(part, {}) for part in ("packing", "objective"))
    settings = [packing, packing.get("options", {}), objective, *(objective.get("denoisers") or ())]
    named = [value for part in settings for name, value in part.items() if name.endswith("_id")]
    named += objective.get("special_ids") or ()
    found = {vocabulary.find(value) if isinstance(value, str) else value for value in named}
    if objective.get("name") in ("t5", "span_corruption", "ul2"):
        sentinels = {fact: facts[fact] for fact in _SENTINELS & facts.keys()} | {n: objective[n] for n in _SENTINELS & objective.keys()}
        first = sentinels.get("first_sentinel_id")
        first = vocabulary.find(first) if isinstance(first, str) else first
        if first is not None:
            found |= {first + sentinels.get("sentinel_step", -1) * i for i in range(sentinels.get("num_sentinels", 100))}
    if (packing.get("align") or 1) > 1:  # what fills up stands inside examples
        found.add(manifest.pad_id)
    return {int(i) for i in found if i is not None}
