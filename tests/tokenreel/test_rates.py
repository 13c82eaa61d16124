import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel import keys, rates
from tokenreel.errors import ConfigError

LENGTHS = np.arange(1, 5000)


@pytest.mark.parametrize("rate", [0.15, 0.25, 0.3, 0.4, 0.5])
def test_bert_rounds_the_same(rate):
    assert rates.share(LENGTHS, rate).tolist() == [round(int(n) * rate) for n in LENGTHS]


@pytest.mark.parametrize(("rate", "count", "first"), [(0.15, 39, [190, 350, 390, 670]), (0.3, 81, [95, 175, 195, 335]), (0.5, 0, [])])
def test_where_t5_rounds_otherwise(rate, count, first):
    """T5 multiplies in float32: at these lengths the exact product is a tie that float32 misses."""
    t5 = np.round(LENGTHS.astype(np.float32) * np.float32(rate)).astype(int)
    differ = LENGTHS[t5 != rates.share(LENGTHS, rate)]
    assert len(differ) == count and differ[:4].tolist() == first


def test_bert_counts():
    lengths, counts = zip(
        *[(1, 0), (4, 1), (10, 2), (16, 2), (20, 3), (30, 4), (50, 8), (64, 10), (70, 10), (90, 14), (110, 16), (127, 19)], strict=True
    )
    assert rates.share(lengths, 0.15).tolist() == list(counts)
    assert rates.share([256, 384, 512], 0.15).tolist() == [38, 58, 77]


@given(st.integers(0, 2**31), st.integers(0, 10**9))
def test_share_is_the_exact_product_rounded(length, billionths):
    rate = float(f"{billionths}e-9")
    exact = length * billionths
    count = int(rates.share(length, rate))
    assert abs(2 * (count * rates.PARTS - exact)) <= rates.PARTS
    if abs(2 * (count * rates.PARTS - exact)) == rates.PARTS:
        assert count % 2 == 0
    assert int(rates.ceiling(length, rate)) == -(-exact // rates.PARTS)


def test_chance_rounding():
    """512 * 0.15 = 76.8: 77 with probability 0.8, at five sigma."""
    words = keys.bits(0, "chance", np.arange(20_000), 1)[:, 0]
    counts = rates.share_by_chance(np.full(20_000, 512), 0.15, words)
    assert set(counts.tolist()) == {76, 77} and abs((counts == 77).mean() - 0.8) < 5 * np.sqrt(0.16 / 20_000)
    assert set(rates.share_by_chance(np.full(20_000, 20), 0.15, words).tolist()) == {3}


def test_happens():
    words = keys.bits(0, "happens", np.arange(50_000), 1)[:, 0]
    assert abs(rates.happens(words, 0.1, 0.2).mean() - 0.3) < 5 * np.sqrt(0.21 / 50_000)
    assert rates.happens(words, 0.8, 0.2).all() and not rates.happens(words, 0.0).any()


def test_rates_are_checked():
    for wrong in (-0.1, 1.1, "0.1", [0.1], None):
        with pytest.raises(ConfigError, match=re.escape(f"objective.rate must lie between 0 and 1, got {wrong!r}")):
            rates.check_rate("objective.rate", wrong, zero=True)
    with pytest.raises(ConfigError, match="and not be 0, got 0"):
        rates.check_rate("objective.rate", 0)
