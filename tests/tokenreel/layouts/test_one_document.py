import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import LENGTHS
from tests.tokenreel.layouts.laws import check_conservation, check_fill, rows
from tokenreel.errors import ConfigError
from tokenreel.layouts import one_document


class TestPadAndBuckets:
    @given(LENGTHS, st.integers(1, 12), st.sampled_from(["truncate", "split", "drop"]))
    def test_pad(self, lengths, seq_len, long_documents):
        layout = one_document.pad(lengths, seq_len, long_documents=long_documents)
        check_conservation(lengths, layout, seq_len, in_order=True)
        check_fill(lengths, layout, seq_len)
        assert (layout.num_segments() == 1).all()

    @pytest.mark.parametrize(
        ("length", "pieces", "dropped"),
        [
            (257, [257], 0),
            (258, [257], 1),
            (1000, [513, 257], 230),
            (1024, [513, 257], 254),
            (3000, [2049, 513, 257], 181),
            (10000, [8193, 1025, 513, 257], 12),
        ],
    )
    def test_dataset_decomposition(self, length, pieces, dropped):
        layouts = one_document.buckets([length], 8, 13)
        assert sorted((int(n) for layout in layouts.values() for n in layout.length), reverse=True) == pieces
        assert sum(sum(layout.dropped.values()) for layout in layouts.values()) == dropped

    @pytest.mark.parametrize(("minimum", "pieces", "dropped"), [(8, [512, 256], 232), (0, [512, 256, 128, 64, 32, 8], 0)])
    def test_olmo_variable_lengths(self, minimum, pieces, dropped):
        layouts = one_document.buckets([1000], minimum, 13, extra=0)
        assert sorted((int(n) for layout in layouts.values() for n in layout.length), reverse=True) == pieces
        assert sum(sum(layout.dropped.values()) for layout in layouts.values()) == dropped

    @given(LENGTHS, st.integers(0, 1))
    def test_one_bucket(self, lengths, overlap):
        layouts = one_document.buckets(lengths, 2, 4, overlap)
        for exponent in (2, 3, 4):
            layout = one_document.bucket(lengths, 2**exponent, overlap, min_exponent=2, max_exponent=4)
            assert rows(layout) == rows(layouts[2**exponent + overlap])
            check_conservation(lengths, layout, 2**exponent + overlap, in_order=True)
        with pytest.raises(ConfigError, match=r"packing.seq_len must be one of 4, 8, 16 for .* got 5"):
            one_document.bucket(lengths, 5, overlap, min_exponent=2, max_exponent=4)

    @given(LENGTHS, st.integers(0, 2), st.integers(0, 2), st.integers(0, 1))
    def test_bucket_laws(self, lengths, minimum, more, extra):
        layouts = one_document.buckets(lengths, minimum, minimum + more, extra)
        seen = [np.zeros(n, int) for n in lengths]
        for length, layout in layouts.items():
            assert (layout.length == length).all() and (layout.num_segments() == 1).all()
            for d, s, n in zip(layout.document, layout.start, layout.length, strict=True):
                seen[d][s : s + n] += 1
        times = np.concatenate([*seen, np.zeros(0, int)])
        assert times.max(initial=0) <= 1 and (times == 0).sum() == sum(layouts[2**minimum + extra].dropped.values())
        for d, n in enumerate(lengths):  # what is dropped is the end, and could not fill a piece
            assert (np.diff(seen[d]) <= 0).all() and n - seen[d].sum() < 2**minimum + extra


def test_buckets_settings():
    with pytest.raises(ConfigError, match="0 <= min <= max"):
        one_document.buckets([3], 5, 4)
    with pytest.raises(ConfigError, match="extra must be 0 or 1"):
        one_document.buckets([3], 5, 6, 2)
