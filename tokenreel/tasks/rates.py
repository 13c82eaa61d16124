"""Functions from a task to its rate in a mixture, for `Mixture(..., default_rate=...)`."""

from __future__ import annotations

import logging
from typing import Any

from tokenreel.errors import ConfigError

_LOG = logging.getLogger(__name__)


def mixing_rate_num_examples(
    task: Any,
    maximum: int | None = None,
    scale: float = 1.0,
    temperature: float = 1.0,
    fallback_to_num_input_examples: bool = True,
    split: str = "train",
) -> float:
    """Gives min(examples * scale, maximum) ** (1 / temperature) as the rate of a task.

    Args:
      task: whose rate is wanted.
      maximum: of examples, after scaling; None for no limit.
      scale: a factor.
      temperature: 1 for proportions of size; the higher, the more even.
      fallback_to_num_input_examples: whether a task without a cache is counted by its source.
      split: that is counted.

    Raises:
      ConfigError: the number of examples is not known.
    """
    if task.cache_dir or not fallback_to_num_input_examples:
        count = task.get_cached_stats(split)["examples"]
    else:
        _LOG.warning("Task '%s' not cached so using number of input examples instead of preprocessed examples to compute rate.", task.name)
        count = task.num_input_examples(split)
    if count is None:
        raise ConfigError(
            f"how many examples task '{task.name}' has in split {split!r} is not known: give its source num_input_examples, cache it, or "
            "give the mixture a number as its rate"
        )
    return _tempered(min(count * scale, maximum) if maximum else count * scale, temperature)


def mixing_rate_num_characters(task: Any, temperature: float = 1.0, char_count_name: str = "text_chars") -> float:
    """Gives characters ** (1 / temperature) as the rate of a task, by the statistics of its cache.

    Args:
      task: whose rate is wanted.
      temperature: 1 for proportions of size; the higher, the more even.
      char_count_name: of the statistic, such as "inputs_chars".

    Raises:
      ValueError: the task has no cache, or its statistics do not count characters under this name.
    """
    if task.cache_dir is None:
        raise ValueError(
            "`mixing_rate_num_characters` requires that each task has is cached with the character count stats. "
            f"'{task.name}' is not: run `tokenreel cache-tasks --enable_char_counts`, and add_global_cache_dirs with its directory."
        )
    stats = task.get_cached_stats("train")
    if char_count_name not in stats:
        counted = ", ".join(sorted(name for name in stats if name.endswith("_chars"))) or "none"
        raise ConfigError(
            f"the cache of task '{task.name}' does not count {char_count_name!r}; it counts {counted}: give char_count_name, or make it "
            "with `tokenreel cache-tasks --enable_char_counts`"
        )
    return _tempered(stats[char_count_name], temperature)


def _tempered(rate: float, temperature: float) -> float:
    return rate if temperature == 1.0 else rate ** (1.0 / temperature)
