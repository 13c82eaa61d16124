import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel.format import segments
from tokenreel.loaders.segments import SegmentMap


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(1, 40), st.floats(0, 1), st.booleans(), st.sampled_from([1, 2, 4]))
def test_they_equal_the_rules_in_segments(seed, rows, length, density, padded, align):
    rng = np.random.default_rng(seed)
    starts = rng.random((rows, length)) < density
    numbers = rng.integers(0, length + 1, rows) if padded else None
    if numbers is not None:
        starts &= np.arange(length) < numbers[:, None]
    pieces = SegmentMap(starts, numbers, align)
    ids = segments.segment_ids(starts, numbers, align)
    assert np.array_equal(pieces.segment_ids(), ids)
    assert np.array_equal(pieces.positions(), segments.positions(starts, numbers, align))
    for across in (False, True):
        assert np.array_equal(pieces.next_token_weights(across_documents=across), segments.next_token_weights(ids, across_documents=across))


@pytest.mark.parametrize("method", ["segment_ids", "positions", "next_token_weights"])
def test_dtypes(method):
    values = getattr(SegmentMap(np.ones((2, 3), bool)), method)()
    assert values.dtype == (np.float32 if method == "next_token_weights" else np.int32) and values.shape == (2, 3)
