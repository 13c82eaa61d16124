import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel.errors import BuildError
from tokenreel.format import segments
from tokenreel.format.schema import BIT, Feature
from tokenreel.layouts import bin_packing, filling, wrapping

LENGTHS = st.lists(st.integers(1, 30), min_size=1, max_size=25)


def starts_from_lengths(lengths, seq_len, align):
    """The inverse of `segment_lengths`, except that every example is taken to begin a document."""
    starts = np.zeros((len(lengths), seq_len), bool)
    num_tokens = np.zeros(len(lengths), int)
    for row, sizes in enumerate(lengths):
        at = 0
        for size in sizes[sizes > 0]:
            if num_tokens[row] % align:
                starts[row, num_tokens[row]] = True  # the gap behind the segment before
            starts[row, at] = True
            num_tokens[row] = at + size
            at += -(-size // align) * align
    return starts, num_tokens


def read_by_position(starts, num_tokens, align, across_documents):
    """The rules, one position after the other: (segment id, position, weight) of each."""
    fields = []
    for row, bits in enumerate(starts):
        segments_seen = place = 0
        gap = False
        found = []
        for i, bit in enumerate(bits):
            if i == 0 or bit:
                gap = i % align != 0
                segments_seen += not gap
                place = 0
            padded = gap or (num_tokens is not None and i >= num_tokens[row])
            found.append((0, 0) if padded else (segments_seen, place))
            place += 1
        followed = [*found[1:], (0, 0)]
        fields.append(
            [
                (own, at, float(own > 0 and after > 0 and (across_documents or own == after)))
                for (own, at), (after, _) in zip(found, followed, strict=True)
            ]
        )
    return np.array(fields).reshape(*starts.shape, 3)


@given(st.integers(0, 2**32), st.integers(0, 5), st.integers(1, 40), st.floats(0, 1), st.booleans(), st.sampled_from([1, 2, 4]))
@settings(max_examples=200, deadline=None)
def test_a_segment_map_gives_what_the_rules_say_of_each_position(seed, rows, length, density, padded, align):
    rng = np.random.default_rng(seed)
    starts = rng.random((rows, length)) < density
    num_tokens = rng.integers(0, length + 1, rows) if padded else None
    if num_tokens is not None:
        starts &= np.arange(length) < num_tokens[:, None]
    found = segments.SegmentMap(starts, num_tokens, align)
    for across in (False, True):
        expected = read_by_position(starts, num_tokens, align, across)
        weights = found.next_token_weights(across_documents=across)
        np.testing.assert_array_equal(found.segment_ids(), expected[..., 0])
        np.testing.assert_array_equal(found.positions(), expected[..., 1])
        np.testing.assert_array_equal(weights, expected[..., 2])
        np.testing.assert_array_equal(segments.next_token_weights(found.segment_ids(), across_documents=across), weights)


@pytest.mark.parametrize("method", ["segment_ids", "positions", "next_token_weights"])
def test_dtypes_of_a_segment_map(method):
    values = getattr(segments.SegmentMap(np.ones((2, 3), bool)), method)()
    assert values.dtype == (np.float32 if method == "next_token_weights" else np.int32) and values.shape == (2, 3)


@given(LENGTHS, st.integers(1, 6), st.integers(1, 5))
def test_every_field_says_where_each_token_came_from(lengths, units, align):
    seq_len = units * align
    layout = bin_packing.best_fit(lengths, seq_len, align=align)
    tokens = np.arange(1, sum(lengths) + 1)
    _, starts, num_tokens = filling.fill(tokens, np.cumsum([0, *lengths])[:-1], layout, seq_len, 0)
    ids = np.zeros((layout.num_examples, seq_len), int)
    places = np.zeros_like(ids)
    counts = np.zeros((layout.num_examples, seq_len), int)
    seen = np.zeros(layout.num_examples, int)
    pieces = []
    for e, at, n in zip(layout.example, layout.place, layout.length, strict=True):
        ids[e, at : at + n] = seen[e] + 1
        places[e, at : at + n] = np.arange(n)
        counts[e, seen[e]] = n
        seen[e] += 1
        pieces.append((e * seq_len + at, n))
    np.testing.assert_array_equal(segments.segment_ids(starts, num_tokens, align), ids)
    np.testing.assert_array_equal(segments.positions(starts, num_tokens, align), places)
    np.testing.assert_array_equal(segments.segment_lengths(starts, num_tokens, align, max_segments=seq_len), counts)
    bits = Feature(name="document_starts", dtype=BIT, shape=(seq_len,))
    np.testing.assert_array_equal(bits.from_bytes(bits.to_bytes(starts)), starts)

    cumulative, longest = segments.cu_seqlens(starts, num_tokens, align)
    assert cumulative[0] == 0 and cumulative[-1] == ids.size and (np.diff(cumulative) > 0).all() and longest == np.diff(cumulative).max()
    ranges = set(zip(cumulative[:-1].tolist(), np.diff(cumulative).tolist(), strict=True))
    assert {(int(at), int(n)) for at, n in pieces} <= ranges
    assert all((ids.ravel()[at : at + n] == 0).all() for at, n in ranges - {(int(a), int(b)) for a, b in pieces})

    again, again_tokens = starts_from_lengths(counts, seq_len, align)
    np.testing.assert_array_equal(segments.segment_ids(again, again_tokens, align), ids)


@given(LENGTHS, st.integers(1, 12))
def test_full_examples_need_no_counts(lengths, seq_len):
    layout = wrapping.wrap(lengths, seq_len)
    _, starts, num_tokens = filling.fill(np.arange(sum(lengths)), np.cumsum([0, *lengths])[:-1], layout, seq_len, 0)
    for field in (segments.segment_ids, segments.positions):
        np.testing.assert_array_equal(field(starts), field(starts, num_tokens))
    assert (segments.segment_ids(starts) > 0).all()


def test_megatron_worked_example():
    """Tokens 5 6 0 7 8 9 0 4 with end of document 0: positions restart after it, and the predictions from it do not count."""
    starts = np.array([[1, 0, 0, 1, 0, 0, 0, 1]], bool)
    assert segments.positions(starts).tolist() == [[0, 1, 2, 0, 1, 2, 3, 0]]
    weights = segments.next_token_weights(segments.segment_ids(starts))
    assert np.flatnonzero(weights[0, :-1] == 0).tolist() == [2, 6]
    assert segments.next_token_weights(segments.segment_ids(starts), across_documents=True).tolist() == [[1.0] * 7 + [0.0]]


def test_seqio_pack_example():
    """SeqIO's own: [8, 9, 9, 3, 4] and [8, 3, 9], each with eos."""
    starts = np.zeros((1, 11), bool)
    starts[0, [0, 6]] = True
    assert segments.segment_ids(starts, [10]).tolist() == [[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 0]]
    assert segments.positions(starts, [10]).tolist() == [[0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 0]]


def test_weights_never_reach_into_padding():
    ids = np.array([[1, 2, 2, 0, 0], [0, 0, 0, 0, 0]])
    assert segments.next_token_weights(ids).tolist() == [[0, 1, 0, 0, 0], [0] * 5]
    assert segments.next_token_weights(ids, across_documents=True).tolist() == [[1, 1, 0, 0, 0], [0] * 5]


def test_t5_prefix_lm_worked_example():
    """Split 3 of 8: loss on the last five, the first three plus the position that predicts the fourth are read in both directions."""
    ids, places = np.ones((1, 8), int), np.arange(8)[None]
    assert segments.prefix_mask(ids, places, [3]).astype(int).tolist() == [[1, 1, 1, 0, 0, 0, 0, 0]]
    assert segments.prefix_mask(ids, places, [4]).astype(int).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]


def test_attention_mask():
    ids = np.array([[1, 1, 2, 2, 0]])
    assert segments.attention_mask(ids, causal=False)[0].astype(int).tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    assert segments.attention_mask(ids)[0].astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1],
    ]
    prefix = np.array([[True, True, False, False, False]])
    assert segments.attention_mask(ids, prefix=prefix)[0, :2, :2].all()


def test_cu_seqlens_of_a_fixed_size():
    starts = np.array([[1, 0, 1, 0]], bool)
    cumulative, longest = segments.cu_seqlens(starts, [3], size=6)
    assert cumulative.tolist() == [0, 2, 3, 4, 4, 4] and longest == 2 and cumulative.dtype == np.int32
    with pytest.raises(BuildError, match="give size 4"):
        segments.cu_seqlens(starts, [3], size=3)


def test_too_many_segments():
    with pytest.raises(BuildError, match="has 2 segments, room was made for 1"):
        segments.segment_lengths(np.array([[1, 1]], bool), max_segments=1)


IDS = np.array([[1, 1, 2, 2, 0, 0], [0] * 6, [1] * 6])
MASKS = [
    segments.attention_mask(IDS),
    segments.attention_mask(IDS, causal=False),
    segments.attention_mask(IDS, prefix=IDS == 1),
]


@pytest.mark.parametrize("mask", MASKS, ids=["causal", "both", "prefix"])
def test_no_position_is_without_something_to_read(mask):
    """A row of -inf alone is NaN after a softmax; a weight of 0 hides it in the loss, and not in the gradients."""
    import jax

    def attend(scores):
        return jax.nn.softmax(jax.numpy.where(mask, scores, -np.inf), axis=-1)

    scores = np.random.default_rng(0).normal(size=mask.shape).astype(np.float32)
    real = (IDS > 0)[:, :, None]
    assert np.isfinite(attend(scores)).all()
    assert np.isfinite(jax.grad(lambda x: (attend(x) ** 2 * real).sum())(scores)).all()
    exponentials = np.exp(np.where(mask, scores, -np.inf) - np.where(mask, scores, -np.inf).max(axis=-1, keepdims=True))
    assert np.allclose(exponentials / exponentials.sum(axis=-1, keepdims=True), attend(scores), atol=1e-6)


@pytest.mark.torch
@pytest.mark.parametrize("mask", MASKS, ids=["causal", "both", "prefix"])
def test_torch_has_gradients_under_every_mask(mask):
    import torch

    vectors = torch.randn(3, 1, 6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    out = torch.nn.functional.scaled_dot_product_attention(vectors, vectors, vectors, attn_mask=torch.from_numpy(mask)[:, None])
    (out**2 * torch.from_numpy(IDS > 0)[:, None, :, None]).sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(vectors.grad).all()


def test_the_boundaries_of_inputs_end_with_them():
    starts = np.array([[1, 0, 0, 1, 0], [0, 0, 1, 0, 1]], bool)  # of examples that overlap by a token
    cumulative, longest = segments.cu_seqlens(starts, seq_len=4)
    assert cumulative.tolist() == [0, 3, 4, 6, 8] and longest == 3 and cumulative.dtype == np.int32
    assert segments.cu_seqlens(starts)[0].tolist() == [0, 3, 5, 7, 9, 10]
    assert segments.cu_seqlens(starts, [5, 2], seq_len=4)[0].tolist() == [0, 3, 4, 6, 8]
