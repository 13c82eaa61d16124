import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import LENGTHS
from tests.tokenreel.layouts.laws import check_conservation, check_fill, rows
from tokenreel.errors import BuildError, ConfigError
from tokenreel.layouts import filling, wrapping


class TestWrap:
    def test_keras_hub_701(self):
        text = "With a running start the quick fox jumps over the lazy dog . </s> The lazy dog slept on and on and on . </s>"
        stream = text.split()
        ids = np.arange(25, dtype=np.uint16) + 1
        layout = wrapping.wrap([14, 11], 8)
        filled, starts, num_tokens = filling.fill(ids, [0, 14], layout, 8, pad_id=0)
        assert [[stream[i - 1] for i in row] for row in filled] == [stream[:8], stream[8:16], stream[16:24]]
        assert " ".join(stream[8:16]) == "over the lazy dog . </s> The lazy"
        assert np.argwhere(starts).tolist() == [[0, 0], [1, 6]]
        assert num_tokens.tolist() == [8, 8, 8] and layout.dropped == {"last_example": 1}

        kept = wrapping.wrap([14, 11], 8, last_example="pad")
        filled, _, num_tokens = filling.fill(ids, [0, 14], kept, 8, pad_id=0)
        assert filled[3].tolist() == [25] + [0] * 7 and num_tokens[3] == 1 and kept.dropped == {}

    def test_overlap_makes_every_token_a_target_once(self):
        layout = wrapping.wrap([14, 11], 8, overlap=1)
        filled, _, _ = filling.fill(np.arange(25), [0, 14], layout, 9, pad_id=-1)
        assert sorted(filled[:, 1:].ravel().tolist()) == list(range(1, 25))

    def test_megatron_worked_index(self):
        def first_tokens(lengths, extra=1):
            layout = wrapping.wrap(lengths, 6, extra)
            heads = layout.place == 0
            return list(zip(layout.document[heads].tolist(), layout.start[heads].tolist(), strict=True))

        assert first_tokens([5, 3, 8, 4]) == [(0, 0), (1, 1), (2, 4)]  # (3, 2) is where Megatron's last row ends
        assert first_tokens([8, 5, 4, 3]) == [(0, 0), (0, 6), (1, 4)]  # order 2, 0, 3, 1
        assert first_tokens([7, 6, 6]) == [(0, 0), (0, 6), (1, 5)]
        assert first_tokens([6, 6, 6], extra=0) == [(0, 0), (1, 0), (2, 0)]
        assert wrapping.wrap([5, 3, 8, 4], 6, 1, last_example="pad").num_examples == 4

    @given(LENGTHS, st.integers(1, 12), st.data(), st.sampled_from(["drop", "pad"]))
    def test_laws(self, lengths, seq_len, data, last_example):
        overlap = data.draw(st.integers(0, seq_len - 1))
        layout = wrapping.wrap(lengths, seq_len, overlap, last_example=last_example)
        total = sum(lengths)
        full = max(total - overlap, 0) // seq_len
        assert layout.num_examples - full in ((0,) if last_example == "drop" else (0, 1))
        check_conservation(lengths, layout, seq_len + overlap, in_order=overlap == 0)
        check_fill(lengths, layout, seq_len + overlap)

    @given(LENGTHS, st.integers(1, 12), st.integers(0, 3), st.data())
    def test_a_range_equals_that_part_of_the_whole(self, lengths, seq_len, overlap, data):
        overlap = min(overlap, seq_len - 1)
        whole = wrapping.wrap(lengths, seq_len, overlap, last_example="pad")
        a = data.draw(st.integers(0, whole.num_examples))
        b = data.draw(st.integers(a, whole.num_examples))
        part = whole.select(range(a, b))
        lo, hi = (part.document.min(), part.document.max() + 1) if len(part) else (0, 0)
        got = wrapping.wrap_range(lengths[lo:hi], sum(lengths[:lo]), seq_len, overlap, a, b - a)
        assert [[(d + lo, s, n) for d, s, n in row] for row in rows(got)] == rows(part)

    def test_a_range_refuses_documents_that_do_not_reach(self):
        with pytest.raises(BuildError, match="the documents hold 100 to 120"):
            wrapping.wrap_range([20], 100, 10, 0, 10, 3)
        with pytest.raises(BuildError, match="the documents hold 101 to 121"):
            wrapping.wrap_range([20], 101, 10, 0, 10, 1)


class TestWithinDocuments:
    @given(LENGTHS, st.integers(1, 12), st.data(), st.sampled_from(["drop", "pad"]), st.integers(1, 5))
    def test_laws(self, lengths, seq_len, data, last_example, min_tokens):
        overlap = data.draw(st.integers(0, seq_len - 1))
        layout = wrapping.wrap_within_document(lengths, seq_len, overlap, last_example=last_example, min_tokens=min_tokens)
        check_conservation(lengths, layout, seq_len + overlap, in_order=True)
        check_fill(lengths, layout, seq_len + overlap)
        alone = [wrapping.wrap([n], seq_len, overlap, last_example=last_example) for n in lengths]
        expected = [(d, s, n) for d, own in enumerate(alone) for ((_, s, n),) in rows(own) if n >= min_tokens]
        assert [row[0] for row in rows(layout)] == expected and (layout.num_segments() == 1).all()

    def test_t5_split_tokens(self):
        for seq_len, expected in [(25, [25] * 4), (30, [30, 30, 30, 10]), (1000, [100])]:
            assert wrapping.wrap_within_document([100], seq_len).length.tolist() == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wrapping.wrap([3], 0), "seq_len must be at least 1, got 0"),
        (lambda: wrapping.wrap([3], 4, 4), "overlap must be between 0 and seq_len - 1 = 3, got 4"),
        (lambda: wrapping.wrap([3], 4, last_example="keep"), "'drop' or 'pad', got 'keep'"),
    ],
)
def test_impossible_settings(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
