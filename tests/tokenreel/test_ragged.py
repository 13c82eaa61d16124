import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tokenreel import ragged

SEQUENCES = st.lists(st.lists(st.integers(0, 60_000), max_size=5), max_size=8)


def flat(sequences, dtype=np.uint16):
    values = np.array([value for sequence in sequences for value in sequence], dtype=dtype)
    return values, ragged.offsets_of(np.array([len(sequence) for sequence in sequences], dtype=np.int64))


def sequences_of(values, offsets):
    return [values[a:b].tolist() for a, b in itertools.pairwise(offsets.tolist())]


@given(SEQUENCES, st.data())
def test_any_sequences_are_taken_in_any_order(sequences, data):
    places = st.integers(0, len(sequences) - 1)
    indices = data.draw(st.lists(places, max_size=10)) if sequences else []
    for dtype in (np.uint16, np.int32, np.int64):
        values, offsets = ragged.take(*flat(sequences, dtype), np.array(indices, dtype=np.int64))
        assert sequences_of(values, offsets) == [sequences[i] for i in indices]
        assert values.dtype == dtype and offsets.dtype == np.int64


@given(SEQUENCES, st.none() | st.just(1), st.none() | st.just(2))
def test_a_value_is_put_before_and_after_each(sequences, first, last):
    values, offsets = ragged.surround(*flat(sequences), first, last)
    around = [[first] * (first is not None), [last] * (last is not None)]
    assert sequences_of(values, offsets) == [around[0] + sequence + around[1] for sequence in sequences]
    assert values.dtype == np.uint16


@given(st.lists(st.integers(0, 4), max_size=8))
def test_ranks_count_from_zero_in_each(counts):
    assert ragged.ranks(np.array(counts, dtype=np.int64)).tolist() == [rank for count in counts for rank in range(count)]


@given(st.lists(st.integers(0, 2), max_size=12))
def test_run_lengths_are_those_of_groupby(values):
    found, lengths = ragged.run_lengths(np.array(values, dtype=np.int64))
    assert list(zip(found.tolist(), lengths.tolist(), strict=True)) == [(value, len(list(run))) for value, run in itertools.groupby(values)]
