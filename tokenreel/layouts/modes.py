"""Every way to lay documents out as examples, by name.

>>> lay_out([14, 11], mode="wrap", seq_len=8).num_examples
3
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy.typing as npt

from tokenreel.errors import ConfigError
from tokenreel.layouts import segment_pairs
from tokenreel.layouts.bin_packing import best_fit, first_fit, next_fit
from tokenreel.layouts.one_document import bucket, pad
from tokenreel.layouts.table import Layout
from tokenreel.layouts.whole_sentences import full_sentences
from tokenreel.layouts.wrapping import wrap, wrap_within_document

VERSION = "packing-1"
"""Part of a dataset's identity: layouts of one version are the same for ever."""

EVEN_VERSION = "packing-2"
"""Of layouts, other than `wrap`, for an objective that draws how many tokens an example takes: made for as many as it always takes.

Before, they were made for the most that it may take, and what it then had no room for was lost.
"""

MODES: Mapping[str, Callable[..., Layout]] = {
    "wrap": wrap,
    "wrap_within_document": wrap_within_document,
    "full_sentences": full_sentences,
    "best_fit": best_fit,
    "first_fit": first_fit,
    "next_fit": next_fit,
    "pad": pad,
    "buckets": bucket,
}
"""Modes that make a layout. Of `buckets` it is one length's; `segment_pairs.plan` makes pairs."""

PAIRS = "segment_pairs"
_PAIR_SETTINGS = ("first_id", "task", "short_rate")


def lay_out(lengths: npt.ArrayLike, *, mode: str, seq_len: int, sentences: npt.ArrayLike | None = None, **settings: Any) -> Layout:
    """Lays documents out by the mode's name.

    Args:
      lengths: int [num_documents].
      mode: one of `MODES`.
      seq_len: positions in an example, without overlap.
      sentences: int [num_sentences] lengths of all sentences, for `full_sentences`; `lengths` then counts the sentences of each document.
      **settings: of the mode; None stands for its default.

    Raises:
      ConfigError: the mode is unknown, does not have a setting, or refuses its value.
      BuildError: a length is negative or no integer.
    """
    function = _function(mode, settings)
    given = {name: value for name, value in settings.items() if value is not None}
    if mode == "full_sentences":
        if sentences is None:
            raise ConfigError(
                "packing.mode full_sentences needs the lengths of the sentences: choose how to split them in packing.sentences"
            )
        return full_sentences(sentences, lengths, seq_len, **given)
    return function(lengths, seq_len, **given)


def check(*, mode: str, seq_len: int, **settings: Any) -> None:
    """Refuses settings that a mode does not have, or that are impossible, before there are documents.

    Args:
      mode: one of `MODES`, or `PAIRS`.
      seq_len: positions in an example, without overlap.
      **settings: of the mode; None stands for its default. Of pairs also `separator_id` and `first_id`, which they need.

    Raises:
      ConfigError: names the setting and what would work.
    """
    if mode != PAIRS:
        # Laying out no documents checks everything that the mode itself would refuse, in the mode's own words.
        lay_out([], mode=mode, seq_len=seq_len, sentences=[], **settings)
        return
    for name, value in settings.items():
        if name not in (*_PAIR_SETTINGS, "separator_id") and value is not None:
            raise ConfigError(f"{setting_name(name)} is not a setting of mode {mode}, which has {', '.join(_PAIR_SETTINGS)}")
    if settings.get("separator_id") is None or "first_id" not in settings:
        raise ConfigError("packing.mode segment_pairs needs packing.separator_id ([SEP]) and packing.options.first_id ([CLS])")
    segment_pairs.plan([], [], [], seq_len, seed=0, **pair_settings(settings))


def pair_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Picks the settings that `segment_pairs.plan` takes; the ids that stand around segments are for `segment_pairs.fill`."""
    return {name: settings[name] for name in ("task", "short_rate") if name in settings}


def _function(mode: str, settings: Mapping[str, Any]) -> Callable[..., Layout]:
    """Finds a mode's function, after a check that it has all settings that are given. Its signature tells which ones it has."""
    if mode not in MODES:
        raise ConfigError(f"packing.mode must be one of {', '.join([*MODES, PAIRS])}, got {mode!r}")
    known = list(inspect.signature(MODES[mode]).parameters)
    known = known[known.index("seq_len") + 1 :]
    for name, value in settings.items():
        if name not in known and value is not None:
            raise ConfigError(f"{setting_name(name)} is not a setting of mode {mode}, which has {', '.join(known)}")
    return MODES[mode]


def setting_name(name: str) -> str:
    """Says where a config holds a setting of a mode: those of several modes under `packing`, those of one under `packing.options`.

    >>> setting_name("align"), setting_name("open_examples")
    ('packing.align', 'packing.options.open_examples')
    """
    shared = ("align", "last_example", "long_documents", "max_segments", "overlap")
    return f"packing.{name}" if name in shared else f"packing.options.{name}"
