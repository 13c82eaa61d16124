"""TensorFlow's stateless random numbers in NumPy: the same values for the same seed, with nothing to import.

T5's steps draw with `tf.random.stateless_uniform`. What is drawn here from a pair of integers is what TensorFlow draws from it on a CPU:
the counter-based generator Philox 4x32 with ten rounds (Salmon et al. 2011, doi:10.1145/2063384.2063405), whose key is made of the pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Seed = npt.NDArray[np.integer[Any]] | Sequence[int]
_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_STEPS = (0x9E3779B9, 0xBB67AE85)  # from the key of a round to that of the next
_FIRST_KEY = (0x3EC8F720, 0x02461E29)  # with which TensorFlow scrambles a pair


def split(seed: Seed, num: int = 2) -> npt.NDArray[np.integer[Any]]:
    """Makes `num` pairs of one, as `tf.random.experimental.stateless_split`: [num, 2], of the pair's type.

    >>> split((1, 2)).tolist()
    [[1105988140, 1738052849], [-335576002, 370444179]]
    """
    words = _words(seed, 4 * num if _is_wide(seed) else 2 * num)
    if not _is_wide(seed):
        return words.astype(np.uint32).view(np.int32).reshape(num, 2)
    return (words[0::2] | words[1::2] << np.uint64(32)).view(np.int64).reshape(num, 2)


def uniform(seed: Seed, count: int, low: float = 0.0, high: float = 1.0) -> npt.NDArray[np.float32]:
    """Draws from [low, high): float32 [count].

    >>> uniform((1, 2), 2).tolist()
    [0.8440604209899902, 0.19204533100128174]
    """
    words = _words(seed, count).astype(np.uint32)
    ones = (words & np.uint32(0x7FFFFF) | np.uint32(127 << 23)).view(np.float32) - np.float32(1)  # 23 bits behind the point of 1.0
    return ones * (np.float32(high) - np.float32(low)) + np.float32(low)


def integers(seed: Seed, low: int, high: int, count: int = 1) -> npt.NDArray[np.int32]:
    """Draws from low to high - 1: int32 [count].

    Raises:
      ValueError: there is nothing between them.

    >>> integers((1, 2), 3, 10, 3).tolist()
    [8, 4, 8]
    """
    if low >= high:
        raise ValueError(f"a number is drawn from at least one, got low {low} and high {high}")
    return (low + (_words(seed, count) % np.uint64(high - low)).astype(np.int64)).astype(np.int32)


def shuffle(values: npt.NDArray[Any], seed: Seed) -> npt.NDArray[Any]:
    """Shuffles [n] values, as `seqio.stateless_shuffle`: by sorting random numbers."""
    return values[np.argsort(uniform(seed, len(values)), kind="stable")]


def _is_wide(seed: Seed) -> bool:
    """Says whether TensorFlow would hold the pair as int64."""
    if isinstance(seed, np.ndarray):
        return seed.dtype.itemsize == 8
    return any(isinstance(word, np.int64) or not -(2**31) <= word < 2**31 for word in seed)


def _words(seed: Seed, count: int) -> npt.NDArray[np.uint64]:
    """Draws 32-bit words: uint64 [count]."""
    first, second = (int(word) for word in seed)
    mixed = _philox((first & _MASK, first >> 32 & _MASK, second & _MASK, second >> 32 & _MASK), _FIRST_KEY)
    if count <= 16:  # Python's integers are quicker
        few = [word for group in range(-(-count // 4)) for word in _philox((group, 0, mixed[2], mixed[3]), mixed[:2])]
        return np.array(few[:count], dtype=np.uint64)
    groups = np.arange(-(-count // 4), dtype=np.uint64)
    drawn = _philox((groups, np.zeros_like(groups), np.full_like(groups, mixed[2]), np.full_like(groups, mixed[3])), mixed[:2])
    return np.stack(drawn, axis=1).reshape(-1)[:count]


def _philox(counter: Sequence[Any], key: Sequence[int]) -> tuple[Any, Any, Any, Any]:
    """Makes four 32-bit words of four, in Python's integers or in arrays of uint64."""
    a, b, c, d = counter
    first, second = key
    for _ in range(10):
        left, right = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, b, c, d = right >> 32 ^ b ^ first, right & _MASK, left >> 32 ^ d ^ second, left & _MASK
        first, second = first + _STEPS[0] & _MASK, second + _STEPS[1] & _MASK
    return a, b, c, d
