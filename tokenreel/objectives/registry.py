"""Every training objective by name.

>>> objective = make_objective("t5", seq_len=512, vocabulary={"vocab_size": 32128, "eos_id": 1})
>>> objective.raw_length(), objective.output_shapes()["targets"]
(568, ('uint16', (114,)))
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError
from tokenreel.objectives.base import Objective
from tokenreel.objectives.causal import CausalLM, NextTokens
from tokenreel.objectives.character_denoising import TYPING, CharacterDenoising
from tokenreel.objectives.fill_in_the_middle import FillInTheMiddle
from tokenreel.objectives.masked_lm import MaskedLM, ReplacedTokenCandidates
from tokenreel.objectives.noise import Denoising
from tokenreel.objectives.prefix_lm import PrefixLM
from tokenreel.objectives.span_corruption import SpanCorruption
from tokenreel.objectives.spelled_tokens import SpelledTokens
from tokenreel.objectives.typos import TypoNoise
from tokenreel.objectives.ul2 import MixtureOfDenoisers
from tokenreel.plain_values import to_plain
from tokenreel.wording import did_you_mean

OBJECTIVES: Mapping[str, tuple[type[Objective], Mapping[str, Any]]] = {
    "causal_lm": (CausalLM, {}),
    "next_tokens": (NextTokens, {}),
    "prefix_lm": (PrefixLM, {}),
    "masked_lm": (MaskedLM, {}),
    "bert": (MaskedLM, {}),
    "roberta": (MaskedLM, {"rounding": "chance"}),
    "whole_word_lm": (MaskedLM, {"unit": "word"}),
    "ngram_lm": (MaskedLM, {"unit": "ngram", "max_unit": 3}),
    "spanbert": (MaskedLM, {"unit": "span", "max_unit": 10, "span_p": 0.2, "rounding": "up", "action_unit": "span", "boundaries": True}),
    "electra": (ReplacedTokenCandidates, {}),
    "span_corruption": (SpanCorruption, {}),
    "t5": (SpanCorruption, {}),
    "ul2": (MixtureOfDenoisers, {}),
    "fill_in_the_middle": (FillInTheMiddle, {}),
    "character_denoising": (CharacterDenoising, {}),
    "typo_noise": (TypoNoise, {}),
    "spelled_tokens": (SpelledTokens, {}),
}
"""Name: class, and the settings that differ from its defaults. Names of models are settings of general objectives."""

_OLDER: Mapping[str, Mapping[str, Any]] = {"bert": {"random_ids": "all"}, "prefix_lm": {"loss_on_targets_only": False}}
"""What names stood for when objectives were of version 1, where it is not what they stand for now."""

_FACTS = ("eos_id", "mask_id", "special_ids", "word_starts", "characters", "pieces", "first_sentinel_id", "num_sentinels")


def make_objective(name: str, *, seq_len: int, vocabulary: Mapping[str, Any], older: bool = False, **settings: Any) -> Objective:
    """Makes an objective from the settings of a config.

    Args:
      name: one of `OBJECTIVES`.
      seq_len: positions that the model reads.
      vocabulary: what is known of it: `vocab_size`, and where there are such `pad_id`, `eos_id`, `mask_id`, `special_ids`, `word_starts`
        (bool [vocab_size], pieces that begin a word), `characters` (what each id stands for), `pieces` (how each is written),
        `first_sentinel_id`, `num_sentinels`, `pads_with_text`. An objective takes what it has a use for.
      older: makes what the name stood for in version 1, for a dataset of that time.
      **settings: of the objective; they go before what the vocabulary says, but for `special_ids`, which are added to it.

    Raises:
      ConfigError: the name or a setting is unknown, of the wrong type, or impossible, or something that the objective needs is missing.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"objective.name must be one of {', '.join(OBJECTIVES)}, got {name!r}")
    kind, preset = OBJECTIVES[name]
    settings = {setting: value if isinstance(value, np.ndarray) else to_plain(value) for setting, value in settings.items()}
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    if older:
        preset = {**preset, **_OLDER.get(name, {})}
    elif settings.get("random_ids") == "all":
        raise ConfigError("objective.random_ids: all would draw special tokens too, which no objective does any more. Leave it out.")
    own = [field for field in fields if field not in ("seq_len", "vocab_size")]
    hints = typing.get_type_hints(kind)
    for setting, value in settings.items():
        if setting not in own:
            hint = did_you_mean(setting, own, f"it has {', '.join(sorted(own))}.")
            raise ConfigError(f"unknown setting 'objective.{setting}' of {name}: {hint}")
        if not _fits(value, hints[setting]):
            raise ConfigError(f"objective.{setting} must be {_plain(hints[setting])}, got {value!r}")
    values: dict[str, Any] = {fact: vocabulary.get(fact) for fact in ("pad_id", *_FACTS) if fact in fields}
    values = {fact: value for fact, value in values.items() if value is not None}
    if not older:
        special = {*vocabulary.get("special_ids", ()), *settings.get("special_ids", ())}
        if "special_ids" in fields:
            settings = {**settings, "special_ids": sorted(special)}
        for fact in {"characters", "pieces"}.intersection(values):  # a character that separates documents is no character of theirs
            values[fact] = [None if i in special else text for i, text in enumerate(values[fact])]
    values |= {**preset, **settings}
    if "special_ids" in fields:
        values["pads_with_text"] = bool(vocabulary.get("pads_with_text"))
    for setting, field in fields.items():
        missing = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if missing and setting not in values and setting not in ("seq_len", "vocab_size"):
            raise ConfigError(f"objective {name} needs objective.{setting}: the vocabulary does not tell it")
    try:
        made = kind(seq_len=seq_len, vocab_size=int(vocabulary["vocab_size"]), **values)
    except ConfigError as error:  # raised before the objective knows what the config calls it
        raise ConfigError(str(error).replace(f"objective {kind.name} ", f"objective {name} ")) from error
    vars(made)["_called"] = name
    return made


def needed_facts(name: str, settings: Mapping[str, Any]) -> set[str]:
    """Names the facts of a vocabulary without which an objective cannot be made, or would take pieces of the text for sentinels.

    Gives `mask_id` for masking, `characters` for typing errors, `pieces` for spelling, `word_starts` for units other than tokens,
    `first_sentinel_id` for span corruption and UL2, unless a setting tells it. An unknown objective needs nothing; `make_objective` refuses
    it.

    >>> sorted(needed_facts("spanbert", {})), needed_facts("t5", {}), needed_facts("t5", {"first_sentinel_id": 32_099})
    (['mask_id', 'word_starts'], {'first_sentinel_id'}, set())
    """
    if name not in OBJECTIVES:
        return set()
    kind, preset = OBJECTIVES[name]
    fields = {field.name: field for field in dataclasses.fields(kind)}
    needed = {fact for fact in _FACTS if fact in fields and fields[fact].default is dataclasses.MISSING}
    if issubclass(kind, MaskedLM) and {"unit": "token", **preset, **settings}["unit"] != "token":
        needed.add("word_starts")
    if issubclass(kind, Denoising):
        needed.add("first_sentinel_id")
    if issubclass(kind, CharacterDenoising) and any(settings.get(rate) for rate in TYPING):
        needed.add("characters")
    return needed - settings.keys()


def check_sentinels(objective: Objective) -> None:
    """Refuses an objective whose sentinels neither the vocabulary nor a setting tells: the default would take pieces of the text's own.

    Raises:
      ConfigError: see above.
    """
    if isinstance(objective, Denoising) and objective.first_sentinel_id is None:
        raise ConfigError(
            f"objective {objective.called} puts sentinels where text is hidden, and the vocabulary has no <extra_id_0>. Set "
            "vocabulary.options.extra_ids: 100 to add them (sentencepiece and bytes), or objective.first_sentinel_id to the id of the first"
        )


def add_statistics(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Adds what `statistics` of the same objective, or the same layout, gave for two parts of a dataset.

    >>> add_statistics({"examples": 2, "dropped": {"too_long": 3}}, {"examples": 1, "dropped": {"truncated": 4}})
    {'examples': 3, 'dropped': {'too_long': 3, 'truncated': 4}}
    """
    total = dict(first)
    for name, value in second.items():
        if name not in total:
            total[name] = value
        elif isinstance(value, Mapping):
            total[name] = add_statistics(total[name], value)
        else:
            total[name] = total[name] + value
    return total


def _fits(value: Any, hint: Any) -> bool:
    """Says whether a value has the type of a setting, as its class annotates it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if origin is typing.Literal:
        return value in arguments and not isinstance(value, bool)
    if hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list | tuple | np.ndarray) and (
            isinstance(value, np.ndarray) or all(_fits(v, arguments[0]) for v in value)
        )
    if hint is str:
        return isinstance(value, str)
    return True  # arrays, and mappings that the objective checks itself


def _plain(hint: Any) -> str:
    """Says the type of a setting in words, for an error."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_plain(argument) for argument in arguments)
    if origin is typing.Literal:
        return "one of " + ", ".join(str(argument) for argument in arguments)
    if origin is not None and issubclass(origin, Sequence):
        return f"a list of {_plain(arguments[0])}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "nothing"}
    return names.get(hint, "another type")
