"""Names of examples, from which their random numbers are made.

A key is a tuple of integers: what the source is, which of its examples, and then which part of it, for each step that makes several of one.
It travels beside the example, so that a draw belongs to the example and not to the place where it stands: filters, shards, resumed runs and
other hosts change nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tokenreel import keys

Key = tuple[int, ...]


def number(key: Key) -> int:
    """Gives a key as one integer of 63 bits; that of a key of one number is the number.

    >>> number((7,))
    7
    >>> number((7, 0)) == number((number((7, 0)),))
    True
    """
    return key[0] if len(key) == 1 else keys.key("tasks/example", *key) >> 1


def source_key(*names: str | int) -> int:
    """Gives the number with which the keys of a source begin.

    >>> source_key("tasks/lines", "a.txt") < 2**63
    True
    """
    return keys.key("tasks/source", *names) >> 1


def seeds(seed: int, step: str, key: Key, epoch: int, count: int = 1) -> npt.NDArray[np.int32]:
    """Draws the seeds of a step for an example: what `tf.random.stateless_*` take.

    Args:
      seed: of the run.
      step: its name; one name for one decision.
      key: of the example.
      epoch: of the pass over the data, from 0.
      count: how many the step asks for.

    Returns:
      int32 [count, 2], not negative.
    """
    words = keys.bits(seed, f"tasks/{step}", [keys.key(number(key), epoch)], count)[0]
    return np.stack([words >> np.uint64(33), words & np.uint64(2**31 - 1)], axis=1).astype(np.int32)
