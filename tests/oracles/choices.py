"""Random words that make given choices, so that our code can be led the way another program went."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def below(value: int, bound: int) -> int:
    """A word that `keys.below` maps to a value below a bound.

    >>> from tokenreel import keys
    >>> int(keys.below(np.array([below(5, 7)], np.uint64), 7)[0])
    5
    """
    assert 0 <= value < bound
    return -(-(value << 32) // bound) << 32


def in_order(length: int, first: Sequence[int]) -> npt.NDArray[np.uint64]:
    """Words [length] by which `keys.shuffled` sorts these positions first, in this order, then the others."""
    order = [*first, *sorted(set(range(length)) - set(first))]
    words = np.zeros(length, np.uint64)
    words[order] = np.arange(length, dtype=np.uint64) << np.uint64(32)
    return words


def look_alike(counts: Sequence[int], others: Sequence[int]) -> bool:
    """Whether two histograms may be of one distribution: chi-square of two samples, with four deviations of room."""
    a, b = (np.asarray(some, np.float64) for some in (counts, others))
    used = a + b > 0
    a, b = a[used], b[used]
    ratio = np.sqrt(b.sum() / a.sum())
    statistic = ((a * ratio - b / ratio) ** 2 / (a + b)).sum()
    freedom = len(a) - 1
    return bool(statistic < freedom + 4 * np.sqrt(2 * freedom))
