import numpy as np
import pytest

from tests.tokenreel.layouts.laws import documents
from tokenreel.errors import BuildError
from tokenreel.layouts import bin_packing, filling, wrapping


class TestFill:
    def test_short_and_long_runs_give_the_same(self, monkeypatch):
        lengths = [3, 1, 7, 2, 30, 5, 11]
        layout = bin_packing.best_fit(lengths, 12)
        tokens, offsets = documents(lengths)
        monkeypatch.setattr(filling, "_SHORT_STRETCH", 0)
        by_slice = filling.fill(tokens, offsets, layout, 12, 0)
        monkeypatch.setattr(filling, "_SHORT_STRETCH", 10**9)
        for a, b in zip(by_slice, filling.fill(tokens, offsets, layout, 12, 0), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_writes_into_a_buffer(self):
        buffer = np.full((4, 5), 99, np.uint16)
        out, _, _ = filling.fill(np.arange(8, dtype=np.uint16), [0], wrapping.wrap([8], 5, last_example="pad"), 5, 7, out=buffer[1:3])
        assert np.shares_memory(out, buffer)
        assert buffer.tolist() == [[99] * 5, [0, 1, 2, 3, 4], [5, 6, 7, 7, 7], [99] * 5]

    def test_a_document_of_which_only_the_end_is_here(self):
        layout = wrapping.wrap_range([10, 6], 100, 4, 0, 27, 2)
        filled, starts, _ = filling.fill(np.arange(108, 116), [-8, 2], layout, 4, 0)
        assert filled.tolist() == [[108, 109, 110, 111], [112, 113, 114, 115]]
        assert np.argwhere(starts).tolist() == [[0, 2]]

    def test_refuses_a_layout_for_other_tokens(self):
        with pytest.raises(BuildError, match="there are 9"):
            filling.fill(np.arange(9), [0], wrapping.wrap([10], 5), 5, 0)
        with pytest.raises(BuildError, match="lay out for 4"):
            filling.fill(np.arange(10), [0], wrapping.wrap([10], 5), 4, 0)
        with pytest.raises(BuildError, match="int64"):
            filling.fill(np.arange(10), [0], wrapping.wrap([10], 5), 5, 0, out=np.empty((2, 5), np.int32))

    def test_no_documents(self):
        for layout in (wrapping.wrap([], 4), bin_packing.best_fit([], 4), wrapping.wrap([0, 0], 4, last_example="pad")):
            filled, starts, num_tokens = filling.fill(np.zeros(0, np.uint16), [], layout, 4, 0)
            assert filled.shape == starts.shape == (0, 4) and num_tokens.shape == (0,)


def test_frame():
    tokens, starts, num_tokens = filling.fill(np.arange(1, 8), [0, 3], bin_packing.best_fit([3, 4], 5), 5, 0)
    framed, framed_starts, framed_tokens = filling.frame(tokens, starts, num_tokens, first_id=90, last_id=91)
    assert framed.tolist() == [[90, 4, 5, 6, 7, 91, 0], [90, 1, 2, 3, 91, 0, 0]]
    assert np.argwhere(framed_starts).tolist() == [[0, 0], [1, 0]] and framed_tokens.tolist() == [6, 5]
    kept = filling.frame(tokens, starts, num_tokens, first_id=None, last_id=None)
    np.testing.assert_array_equal(kept[0], tokens)
    np.testing.assert_array_equal(kept[1], starts)
