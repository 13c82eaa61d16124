import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel.errors import ConfigError
from tokenreel.loaders.order.stages import MixtureStage, integer_weights


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=40), st.integers(0, 10**6))
def test_counts_are_less_than_one_from_the_ideal_at_block_edges(weights, block):
    stage = MixtureStage(weights=tuple(weights))
    counts, following = stage.counts_at_edge(block), stage.counts_at_edge(block + 1)
    assert sum(counts) == block * stage.block
    for count, after, weight in zip(counts, following, weights, strict=True):
        assert abs(count * sum(weights) - block * stage.block * weight) < sum(weights)
        assert after >= count


def test_integer_weights():
    assert integer_weights([0.7, 0.2, 0.1]) == (7, 2, 1)
    assert integer_weights([1, 2, 0]) == (1, 2, 0)
    assert integer_weights([1e-3, 1]) == (1, 1000)
    for wrong in ([], [0, 0], [-1, 2], [float("nan")], [float("inf"), 1]):
        with pytest.raises(ConfigError, match="rates"):
            integer_weights(wrong)
