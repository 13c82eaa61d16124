"""A keyed permutation of the integers below n, computed for any of them by itself, in both directions (a Feistel network)."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from tokenreel import keys

Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]
MAX_EXAMPLES = 1 << 62  # the domain of the network is a little larger, and must fit int64
GOLDEN = 0x9E3779B97F4A7C15  # 2**64 by the golden ratio: the step of SplitMix64
_ROUNDS = 6
_TABLE = 256  # up to so many elements a permutation is a table
_MASK64 = (1 << 64) - 1
_U30, _U27, _U31, _U32 = (np.uint64(n) for n in (30, 27, 31, 32))
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)  # of SplitMix64's finaliser, as in `keys.mix`


class Permutation:
    """A keyed permutation of the integers below n, computed one element at a time, in both directions.

    A Feistel network over the pairs (l, r), l below a, r below b, with a about sqrt(n) and a * b just above n, and addition modulo a side
    instead of xor (Black & Rogaway, "Ciphers with arbitrary finite domains", 2002, method 3): six rounds, each hashed by SplitMix64, which
    no statistic we tried tells from a random permutation. The sides are chosen so that hardly a value walks the cycle back into range,
    where a power-of-four domain walks up to four times. Up to 256 elements, where six rounds do not reach every permutation evenly, they
    are sorted by random keys instead.

    Args:
      n: number of elements, from 1 to 2**62.
      key: an unsigned 64-bit integer; each gives a permutation of its own.

    Raises:
      ValueError: n is out of range.

    >>> Permutation(5, key=1)(np.arange(5)).tolist()
    [0, 4, 1, 3, 2]
    >>> Permutation(5, key=1).inverse([0, 4, 1, 3, 2]).tolist()
    [0, 1, 2, 3, 4]
    """

    def __init__(self, n: int, key: int) -> None:
        if not 1 <= n <= MAX_EXAMPLES:
            raise ValueError(f"a permutation needs 1 to 2**62 elements, got {n}")
        self.n = n
        self.key = key
        self._table = np.argsort(keys.bits(key, "order/table", np.arange(n), 1)[:, 0], kind="stable") if n <= _TABLE else None

    def __call__(self, positions: npt.ArrayLike) -> Int64Array:
        """Maps int [k] positions to int64 [k] values, both below n.

        Raises:
          IndexError: a position is negative or not below n.
        """
        if self._table is not None:
            return self._table[_checked(positions, self.n)]
        return _walk(_encrypt, positions, self.n, np.uint64(self.key))

    def inverse(self, values: npt.ArrayLike) -> Int64Array:
        """Maps int [k] values back to their int64 [k] positions.

        Raises:
          IndexError: a value is negative or not below n.
        """
        if self._table is not None:
            return np.argsort(self._table, kind="stable")[_checked(values, self.n)]
        return _walk(_decrypt, values, self.n, np.uint64(self.key))


class StoredOrder:
    """The stored order, with the two directions of `Permutation`."""

    def __call__(self, positions: npt.ArrayLike) -> Int64Array:
        """Gives the [k] positions back: int64 [k]."""
        return np.asarray(positions, dtype=np.int64)

    def inverse(self, values: npt.ArrayLike) -> Int64Array:
        """Gives the [k] values back: int64 [k]."""
        return np.asarray(values, dtype=np.int64)


def _checked(values: npt.ArrayLike, n: int) -> Int64Array:
    values = np.asarray(values, dtype=np.int64)
    if values.size and (values.min() < 0 or values.max() >= n):
        raise IndexError(f"the permutation is of integers below {n:,}, got {values.min()} to {values.max()}")
    return values


def permute(positions: npt.ArrayLike, n: int, key: UInt64Array) -> Int64Array:
    """Applies to each position the Feistel network of its own key, all of one size; also where `Permutation` would use a table.

    Args:
      positions: int [k], below n.
      n: number of elements.
      key: uint64 [k], one for each position.

    Returns:
      int64 [k] values below n.

    Raises:
      IndexError: a position is negative or not below n.
    """
    return _walk(_encrypt, positions, n, key)


def unpermute(values: npt.ArrayLike, n: int, key: UInt64Array) -> Int64Array:
    """Undoes `permute`: maps int [k] values back to int64 [k] positions.

    Raises:
      IndexError: a value is negative or not below n.
    """
    return _walk(_decrypt, values, n, key)


@functools.lru_cache(maxsize=1024)
def _sides(n: int) -> tuple[int, int]:
    """Finds the sides (a, b) of the smallest domain a * b >= n among 64 candidates from a = ceil(sqrt(n)) on; the first of equals."""
    root = math.isqrt(n - 1) + 1
    a = min(range(root, root + min(64, root // 4 + 1)), key=lambda a: -n % a)
    return a, -(-n // a)


def _walk(step: object, values: npt.ArrayLike, n: int, key: np.uint64 | UInt64Array) -> Int64Array:
    """Applies a bijection of a slightly larger domain until every value is below n again.

    Values that leave the range walk on along their cycle until they come back, so that the whole stays a bijection of the range.

    Args:
      step: `_encrypt` or `_decrypt`.
      values: int [...], below n.
      n: number of elements.
      key: one for all values, or uint64 [...].
    """
    signed = _checked(values, n)
    out: UInt64Array = step(signed.astype(np.uint64).reshape(-1), n, key)  # type: ignore[operator]
    far = np.flatnonzero(out >= n)
    while len(far):
        own = key if key.ndim == 0 else np.broadcast_to(key, signed.shape).reshape(-1)[far]
        out[far] = step(out[far], n, own)  # type: ignore[operator]
        far = far[out[far] >= n]
    return out.view(np.int64).reshape(signed.shape)


def _round(half: UInt64Array, key: np.uint64 | UInt64Array, number: int, side: int) -> UInt64Array:
    """Hashes one half to integers below `side`: the number-th output of the SplitMix64 generator seeded with half + hash of the key."""
    round_key = _round_key(key, number)
    z = half + round_key
    # `keys.mix` written out with one temporary array, because nearly all arithmetic of a permutation is here.
    t = z >> _U30
    z ^= t
    z *= _MIX_1
    np.right_shift(z, _U27, out=t)
    z ^= t
    z *= _MIX_2
    np.right_shift(z, _U31, out=t)
    z ^= t
    # The upper half of the word times the side, and of that the upper half again: an integer below the side, without a division.
    z >>= _U32
    z *= np.uint64(side)
    z >>= _U32
    return z


def _round_key(key: np.uint64 | UInt64Array, number: int) -> np.uint64 | UInt64Array:
    """Hashes the key for one round; a key that all values share is hashed as a Python integer, once for the process."""
    step = (number + 1) * GOLDEN & _MASK64
    if key.ndim == 0:
        return np.uint64(_mix_integer((int(key) + step) & _MASK64))
    return keys.mix(key + np.uint64(step))


@functools.lru_cache(maxsize=4096)
def _mix_integer(z: int) -> int:
    return int(keys.mix(np.array([z], dtype=np.uint64))[0])


def _encrypt(x: UInt64Array, n: int, key: np.uint64 | UInt64Array) -> UInt64Array:
    """Runs the rounds forwards: uint64 [k] below a * b to uint64 [k] below a * b."""
    a, b = _sides(n)
    left = x // np.uint64(b)
    right = x - left * np.uint64(b)
    for number in range(0, _ROUNDS, 2):
        left += _round(right, key, number, a)
        np.minimum(left, left - np.uint64(a), out=left)  # modulo a: the difference wraps to a huge number where it is negative
        right += _round(left, key, number + 1, b)
        np.minimum(right, right - np.uint64(b), out=right)
    left *= np.uint64(b)
    left += right
    return left


def _decrypt(x: UInt64Array, n: int, key: np.uint64 | UInt64Array) -> UInt64Array:
    """Runs the rounds backwards."""
    a, b = _sides(n)
    left = x // np.uint64(b)
    right = x - left * np.uint64(b)
    for number in range(_ROUNDS - 2, -1, -2):
        right -= _round(left, key, number + 1, b)
        np.minimum(right, right + np.uint64(b), out=right)  # modulo b: a difference below 0 has wrapped, and adding b brings it back
        left -= _round(right, key, number, a)
        np.minimum(left, left + np.uint64(a), out=left)
    left *= np.uint64(b)
    left += right
    return left
