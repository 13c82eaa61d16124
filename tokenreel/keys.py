"""Every random bit and every content hash of the project.

A choice is a pure function of names (seed, purpose) and of the identity of what it is made for (a document, an example). Nothing here holds
state, so any worker computes the same bits in any order. Shuffles, masks and shards of published datasets rely on these functions: their
values are frozen by `tests/golden/keys.json`, and a change needs a new `VERSION`.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

VERSION = "keys-1"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 by the golden ratio: the step of SplitMix64
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # of its finaliser
_ALL = np.uint64(2**64 - 1)


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


def _mix_in_place(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """`mix` for an array that nobody else holds: a third of the memory traffic."""
    scratch = np.empty_like(z)
    for shift, factor in ((30, _MIX_1), (27, _MIX_2), (31, None)):
        np.right_shift(z, np.uint64(shift), out=scratch)
        np.bitwise_xor(z, scratch, out=z)
        if factor is not None:
            np.multiply(z, factor, out=z)
    return z


def streams(seed: int, purpose: str, ids: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Gives the state from which `words_at` and `bits` make each id's words.

    Args:
      seed: any integer.
      purpose: what the bits decide, for example "mask/positions": one name for one decision.
      ids: [...] integers that identify the documents or examples.

    Returns:
      [...] uint64.
    """
    with np.errstate(over="ignore"):
        return mix(mix(np.asarray(ids).astype(np.uint64) + _GOLDEN) ^ np.uint64(key(seed, purpose)))


def words_at(states: npt.NDArray[np.uint64], indices: npt.ArrayLike) -> npt.NDArray[np.uint64]:
    """Makes words from anywhere in streams, broadcasting states against indices: word j of `bits` is the one at index j.

    >>> int(words_at(streams(1, "a", 7), 3)) == int(bits(1, "a", [7], 4)[0, 3])
    True
    """
    with np.errstate(over="ignore"):  # NumPy warns about scalars, never about arrays
        steps = (np.asarray(indices).astype(np.uint64) + np.uint64(1)) * _GOLDEN
        return _mix_in_place(np.asarray(states + steps))


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
    return words_at(streams(seed, purpose, ids)[:, None], np.arange(count)[None, :])


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


def pick(words: npt.NDArray[np.uint64], weights: Sequence[float | Fraction]) -> npt.NDArray[np.int64]:
    """Picks an index of `weights` with a probability proportional to its weight, to 2**-64.

    A float counts as the decimal number it is written as, and the bounds are worked out in fractions: no platform rounds them otherwise.
    """
    return np.searchsorted(_pick_bounds(tuple(weights)), words, side="right")


@functools.lru_cache(maxsize=64)
def _pick_bounds(weights: tuple[float | Fraction, ...]) -> npt.NDArray[np.uint64]:
    exact = [weight if isinstance(weight, Fraction) else Fraction(repr(float(weight))) for weight in weights]
    total = sum(exact, Fraction(0))
    if total <= 0 or min(exact) < 0:
        raise ValueError(f"weights are not negative and not all 0, got {list(weights)}")
    bounds = [int(sum(exact[: i + 1], Fraction(0)) / total * 2**64) for i in range(len(exact) - 1)]
    return np.array([min(bound, 2**64 - 1) for bound in bounds], np.uint64)


def shuffled(words: npt.NDArray[np.uint64], eligible: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int32]:
    """Shuffles the positions of each row: sorts them by (upper bits of the word, position).

    Args:
      words: uint64 [n, L], L at most 2**24.
      eligible: bool [n, L] positions to shuffle; None takes all.

    Returns:
      int32 [n, L] eligible positions in random order, then L in place of the others.
    """
    marked, low = _marked(words, eligible)
    marked.sort(axis=1)
    return np.minimum(_positions(marked, low), words.shape[1], dtype=np.int32)


def choose(words: npt.NDArray[np.uint64], counts: npt.ArrayLike, eligible: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int32]:
    """Chooses positions of each row without replacement: the first ones of `shuffled`, in ascending order.

    Args:
      words: uint64 [n, L].
      counts: int [n] how many; at most the eligible ones of the row.
      eligible: bool [n, L]; None takes all.

    Returns:
      int32 [n, max(counts)], filled up with L.
    """
    n, length = words.shape
    counts = np.broadcast_to(np.asarray(counts), (n,))
    most = int(counts.max(initial=0))
    if not most:
        return np.zeros((n, 0), np.int32)
    marked, low = _marked(words, eligible)
    if most < length:
        marked = np.partition(marked, most - 1, axis=1)[:, :most]
    if int(counts.min()) < most:
        marked = np.sort(marked, axis=1)
        chosen = _positions(marked, low)
        chosen[np.arange(most) >= counts[:, None]] = length
    else:
        chosen = _positions(marked, low)
    np.minimum(chosen, length, out=chosen)
    chosen.sort(axis=1)
    return chosen


def _marked(words: npt.NDArray[np.uint64], eligible: npt.NDArray[np.bool_] | None) -> tuple[npt.NDArray[np.uint64], np.uint64]:
    """Puts each word's position into its low bits; those of ineligible positions become the largest word. Also gives the bits' mask."""
    length = words.shape[1]
    low = np.uint64((1 << max(1, length.bit_length())) - 1)
    marked = words & ~low
    marked |= np.arange(length, dtype=np.uint64)
    if eligible is not None:
        marked[~eligible] = _ALL
    return marked, low


def _positions(marked: npt.NDArray[np.uint64], low: np.uint64) -> npt.NDArray[np.int32]:
    """Gives the positions back that `_marked` put into words."""
    return (marked & low).astype(np.int32)
