"""What a manifest says of the objective, as far as its counts can be taken again: written apart from `objectives/`, whose work it checks.

Tested in tests/tokenreel/inspection/test_objective_counts.py.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from tokenreel.format import schema
from tokenreel.format.manifest import Manifest
from tokenreel.vocabularies.base import Vocabulary

PLAIN, MASKED, CHARACTERS, SPANS, MIXTURE, PREFIX, PREFIX_TEXT, NEXT, TYPOS = range(9)
"""What an objective does: nothing to the tokens; masks some; hides characters; puts sentinels for spans, or for those of one of several
denoisers; marks a prefix, or cuts the text behind it; lists the next tokens; makes typing errors."""

_KINDS = {
    "causal_lm": PLAIN,
    "fill_in_the_middle": PLAIN,
    **dict.fromkeys(("masked_lm", "bert", "roberta", "whole_word_lm", "ngram_lm", "spanbert", "electra"), MASKED),
    **dict.fromkeys(("span_corruption", "t5"), SPANS),
    "ul2": MIXTURE,
    "prefix_lm": PREFIX,
    "next_tokens": NEXT,
    "character_denoising": CHARACTERS,
    "typo_noise": TYPOS,
    "spelled_tokens": PLAIN,
}
_UL2 = ((0.15, 3.0), (0.15, 8.0), (0.25, None), (0.5, 3.0), (0.5, 8.0), (0.15, 64.0), (0.5, 64.0))
_ONE_SPAN = float(1 << 23)  # a mean length that no noise reaches


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveSettings:
    """An objective, resolved against the vocabulary.

    Attributes:
      kind: see above.
      mask_id: of masking; None where it is not known.
      low, high: first and last of the sentinels' ids.
      first, step: the sentinel of the first span, and from one to the next.
      eos: ids that end inputs, and targets: 0 or 1.
      lead: ids that begin inputs: 0 or 1.
      width: tokens that an example is laid out for, overlap not counted.
      denoisers: of a mixture.
    """

    kind: int
    mask_id: int | None = None
    low: int = 0
    high: int = -1
    first: int = 0
    step: int = -1
    eos: int = 0
    lead: int = 0
    width: int = 0
    denoisers: int = 0


def read_settings(manifest: Manifest, vocabulary: Vocabulary | None) -> ObjectiveSettings | None:
    """Resolves the objective of a dataset.

    Args:
      manifest: describes it.
      vocabulary: of the dataset; None where it cannot be opened.

    Returns:
      None for an objective that is not known here, or that cannot be resolved.
    """
    given = manifest.config.get("objective", {})
    kind = _KINDS.get(given.get("name", ""))
    if kind is None:
        return None
    facts: Mapping[str, Any] = manifest.objective_facts or {}
    if manifest.objective_facts is None and vocabulary is not None:
        facts = vocabulary.objective_facts(older=True)
    seq_len = manifest.seq_len

    def find(name: str, default: int | None) -> int | None:
        value = given.get(name, default)
        return vocabulary.find(value) if isinstance(value, str) and vocabulary is not None else value if isinstance(value, int) else None

    if kind == MASKED:
        return ObjectiveSettings(kind=kind, mask_id=find("mask_id", facts.get("mask_id")), width=seq_len)
    if kind == PREFIX and given.get("form") == "encoder_decoder":
        eos = int(find("eos_id", manifest.vocabulary.eos_id) is not None)
        return ObjectiveSettings(kind=PREFIX_TEXT, eos=eos, width=seq_len - eos)
    if kind not in (SPANS, MIXTURE):
        return ObjectiveSettings(kind=kind, width=seq_len)
    first = find("first_sentinel_id", facts.get("first_sentinel_id"))
    if first is None:
        return None
    step, count = int(given.get("sentinel_step", -1)), int(given.get("num_sentinels", facts.get("num_sentinels", 100)))
    low, high = sorted((first, first + step * (count - 1)))
    found = ObjectiveSettings(
        kind=kind, low=low, high=high, first=first, step=step, eos=int(find("eos_id", manifest.vocabulary.eos_id) is not None)
    )
    return _with_spans(found, manifest, given) if kind == SPANS else _with_mixture(found, manifest, given)


def _with_spans(found: ObjectiveSettings, manifest: Manifest, given: Mapping[str, Any]) -> ObjectiveSettings:
    extra = found.eos + int(bool(given.get("roll", False)))
    density, mean = float(given.get("density", 0.15)), float(given.get("mean_span", 3.0))
    return dataclasses.replace(found, width=_longest(manifest.seq_len, given.get("targets_length"), density, mean, extra))


def _with_mixture(found: ObjectiveSettings, manifest: Manifest, given: Mapping[str, Any]) -> ObjectiveSettings:
    listed = given.get("denoisers")
    denoisers: Sequence[tuple[float, float | None]] = _UL2
    if listed is None:
        lead = int(given.get("r_id") is not None)
    else:
        denoisers = [(each["density"], each["mean_span"]) for each in listed]
        lead = int(listed[0].get("mode_id") is not None)
    targets = given.get("targets_length") or manifest.seq_len
    widths = [_longest(manifest.seq_len - lead, targets, density, mean or _ONE_SPAN, found.eos) for density, mean in denoisers]
    # A stream is cut by what each example takes; in other layouts all examples have the length that every denoiser takes.
    stream = manifest.config.get("packing", {}).get("mode") == "wrap"
    old = manifest.algorithms.get("packing") == "packing-1"  # made for the longest then, and cropped
    return dataclasses.replace(found, lead=lead, width=max(widths) if stream or old else min(widths), denoisers=len(denoisers))


def _longest(inputs: int, targets: int | None, density: float, mean_span: float, extra: int) -> int:
    """Finds the most tokens whose inputs and targets fit, by T5's formula and the project's rounding: exact products, ties to even."""
    length = 2
    while True:
        noise = min(max(round(length * Fraction(repr(float(density)))), 1), length - 1)
        spans = min(max(round(noise / Fraction(repr(float(mean_span)))), 1), noise, length - noise)
        fits = length - noise + spans + extra <= inputs and (targets is None or noise + spans + extra <= targets)
        if not fits or length > 1 << 26:
            return length - 1
        length += 1


def laid_out_width(manifest: Manifest, settings: ObjectiveSettings | None) -> int | None:
    """Gives the positions of an example before the objective, overlap included; None where that is not known."""
    for feature in manifest.features:
        if feature.name == schema.TOKENS:
            return feature.size
    return None if settings is None else settings.width + manifest.overlap
