"""Every random bit and every content hash of the project.

A choice is a pure function of names (seed, purpose) and of the identity of what it is made for (a document, an example). Nothing here holds
state, so any worker computes the same bits in any order. Shuffles, masks and shards of published datasets rely on these functions: their
values are frozen by `tests/golden/keys.json`, and a change needs a new `VERSION`.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

VERSION = "keys-1"

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def digest(*parts: str | bytes | int) -> str:
    """Hashes a sequence of values to 32 hexadecimal digits (BLAKE2b-128).

    Each part is framed by its type and length, so that ("ab", "c") and ("a", "bc") differ.
    """
    return _blake(parts, 16).hexdigest()


def key(*parts: str | bytes | int) -> int:
    """Hashes a sequence of values, usually (seed, purpose, ...), to an unsigned 64-bit integer."""
    return int.from_bytes(_blake(parts, 8).digest(), "little")


def _blake(parts: tuple[str | bytes | int, ...], size: int) -> hashlib.blake2b:
    state = hashlib.blake2b(digest_size=size)
    for part in parts:
        kind = {str: b"s", bytes: b"b", int: b"i"}[type(part)]
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass")
        state.update(kind + len(data).to_bytes(8, "little") + data)
    return state


def mix(values: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Applies the SplitMix64 finaliser (Steele, Lea & Flood 2014, as in Java's SplittableRandom): a bijection of 64-bit integers.

    >>> [hex(v) for v in mix(np.arange(1, 3, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    z = np.array(values, dtype=np.uint64)
    z ^= z >> np.uint64(30)
    z *= _MIX_1
    z ^= z >> np.uint64(27)
    z *= _MIX_2
    z ^= z >> np.uint64(31)
    return z


def bits(seed: int, purpose: str, ids: npt.ArrayLike, count: int) -> npt.NDArray[np.uint64]:
    """Makes `count` random 64-bit words for each id; each id has a stream of its own, and each purpose an independent one.

    Word j of an id does not depend on `count` nor on the other ids.

    Args:
      seed: any integer.
      purpose: what the bits decide, for example "mask/positions": one name for one decision.
      ids: [n] integers that identify the documents or examples.
      count: words for each.

    Returns:
      [n, count] uint64.
    """
    ids = np.asarray(ids).astype(np.uint64)
    start = mix(mix(ids + _GOLDEN) ^ np.uint64(key(seed, purpose)))
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    return mix(start[:, None] + steps[None, :])


def below(words: npt.NDArray[np.uint64], bounds: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Maps random words to integers in [0, bound), by the high half of a product (Lemire 2019, without the rejection).

    Args:
      words: random 64-bit words.
      bounds: positive integers below 2**31, broadcast against `words`. A value's probability is off by less than 2**-32.
    """
    high = words >> np.uint64(32)
    return ((high * np.asarray(bounds).astype(np.uint64)) >> np.uint64(32)).astype(np.int64)


def threshold(probability: float) -> int:
    """Gives the integer t such that `word < t`, for a random 64-bit word, is true with the probability, to 2**-53.

    1.0 gives 2**64 - 1, the largest word: compare with `<=` where certainty matters.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"a probability lies between 0 and 1, got {probability}")
    return min(int(probability * 2**64), 2**64 - 1)
