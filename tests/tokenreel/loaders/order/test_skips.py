import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenreel.loaders.order.skips import SkippedRanges

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda pair: (pair[0], sum(pair))), max_size=6)


@given(RANGES)
def test_samples_are_the_positions_that_are_left(ranges):
    kept = np.setdiff1d(np.arange(120), [i for start, end in ranges for i in range(start, end)])
    skipped = SkippedRanges(ranges)
    assert skipped.stream_positions(np.arange(len(kept))).tolist() == kept.tolist()
    sample_of = {position: sample for sample, position in enumerate(kept.tolist())}
    for position in range(120):
        assert skipped.delivered_before(position) == np.searchsorted(kept, position)
        assert skipped.sample_at(position) == sample_of.get(position)


def test_ranges_are_sorted_and_united():
    assert SkippedRanges([(30, 40), (10, 20), (15, 25), (25, 26)]).ranges == ((10, 26), (30, 40))
