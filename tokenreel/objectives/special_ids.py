"""Ids that settings name: names of tokens become ids, and what is named is special, as control symbols are.

Nothing special is ever hidden, predicted or drawn by an objective that hides tokens. What is special beside the vocabulary's own, only the
settings tell: separators, masks, sentinels, mode tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tokenreel.errors import ConfigError

Find = Callable[[str], int | None]


def find_id(setting: str, value: Any, find: Find, vocab_size: int) -> Any:
    """Finds the id of a token that a setting names; ids are checked and kept.

    Args:
      setting: where the value stands, for errors.
      value: a name, an id or None.
      find: gives the id of a name, None where there is no such token.
      vocab_size: ids are below this.

    Raises:
      ConfigError: the vocabulary has no such token or id.

    >>> find_id("objective.mask_id", "[MASK]", {"[MASK]": 4}.get, 9)
    4
    """
    if isinstance(value, str):
        found = find(value)
        if found is None:
            raise ConfigError(f"{setting}: the vocabulary has no piece {value!r}. Name one that it has, or give an id.")
        return found
    if value is not None and (not isinstance(value, int | np.integer) or isinstance(value, bool) or not 0 <= value < vocab_size):
        raise ConfigError(f"{setting} must lie between 0 and {vocab_size - 1}, got {value}")
    return value


def find_ids(where: str, settings: Mapping[str, Any], find: Find, vocab_size: int) -> dict[str, Any]:
    """Turns names of tokens into ids in all settings that take ids: `..._id`, lists `..._ids`, and those of mappings in a list.

    Args:
      where: the settings are in, such as "objective".
      settings: of a config.
      find: see `find_id`.
      vocab_size: ids are below this.

    Raises:
      ConfigError: as `find_id`.

    >>> find_ids("objective", {"special_ids": ["[CLS]", 5], "denoisers": [{"mode_id": "[CLS]"}]}, {"[CLS]": 2}.get, 9)
    {'special_ids': [2, 5], 'denoisers': [{'mode_id': 2}]}
    """
    found = dict(settings)
    for name, value in settings.items():
        place = f"{where}.{name}"
        if name.endswith("_id"):
            found[name] = find_id(place, value, find, vocab_size)
        elif name.endswith("_ids") and isinstance(value, list | tuple):
            # What is no id stays, for whoever checks the types of settings.
            found[name] = [find_id(place, one, find, vocab_size) if isinstance(one, str) else one for one in value]
        elif isinstance(value, list | tuple) and any(isinstance(one, Mapping) for one in value):
            found[name] = [find_ids(place, one, find, vocab_size) if isinstance(one, Mapping) else one for one in value]
    return found


def named_ids(settings: Mapping[str, Any]) -> set[int]:
    """Collects the ids in settings whose names `find_ids` has turned into ids.

    >>> sorted(named_ids({"mask_id": 4, "eos_id": None, "special_ids": [2], "denoisers": [{"mode_id": 7}], "rate": 0.15}))
    [2, 4, 7]
    """
    found: set[int] = set()
    for name, value in settings.items():
        if name.endswith("_id") and value is not None:
            found.add(int(value))
        elif name.endswith("_ids") and isinstance(value, list | tuple):
            found |= {one for one in value if isinstance(one, int)}
        elif isinstance(value, list | tuple):
            found |= set().union(*(named_ids(one) for one in value if isinstance(one, Mapping)))
    return found
