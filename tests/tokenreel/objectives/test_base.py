import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import SEEDS
from tokenreel.errors import ConfigError
from tokenreel.objectives import base


@given(SEEDS, st.integers(0, 5), st.integers(1, 8))
def test_kept_values_move_to_the_left_in_order(seed, rows, length):
    rng = np.random.default_rng(seed)
    values, keep = rng.integers(1, 100, (rows, length)), rng.random((rows, length)) < rng.choice([0.5, 1.0])
    width = int(keep.sum(axis=1).max(initial=0)) + int(rng.integers(0, 2))
    moved, counts = base.compact(values, keep, width, 0)
    assert moved.shape == (rows, width)
    for row in range(rows):
        kept = values[row, keep[row]].tolist()
        assert counts[row] == len(kept) and moved[row].tolist() == kept + [0] * (width - len(kept))


@given(st.integers(0, 50), st.integers(0, 9), st.integers(1, 40))
def test_chunks_hold_every_row_once_and_at_least_one_each(rows, width, tokens):
    parts = list(base.chunks(rows, width, tokens))
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    assert all(part.stop - part.start == 1 or (part.stop - part.start) * width <= tokens or width == 0 for part in parts)


def test_ids_outside_the_vocabulary_are_refused():
    assert base.id_table([3, 0], 5, "special_ids").tolist() == [True, False, False, True, False]
    assert not base.id_table([], 5, "special_ids").any()
    for ids in ([-1], [5]):
        with pytest.raises(ConfigError, match=r"objective\.special_ids holds ids of the vocabulary, 0 to 4, got"):
            base.id_table(ids, 5, "special_ids")
        with pytest.raises(ConfigError, match=r"objective\.mask_id must be an id of the vocabulary, 0 to 4, got"):
            base.check_id("mask_id", ids[0], 5)


def test_positions_take_the_narrowest_numbers_that_hold_them():
    for length in (1, 1 << 16, (1 << 16) + 1):
        dtype = np.dtype(base.position_dtype(length))
        assert np.iinfo(dtype).max >= length - 1
    assert base.position_dtype(1 << 16) == "uint16"


def test_examples_without_counts_are_full():
    arrays = {"tokens": np.zeros((2, 7), np.uint16)}
    assert base.token_counts(arrays).tolist() == [7, 7]
    assert base.token_counts({**arrays, "num_tokens": np.array([0, 3], np.int32)}).tolist() == [0, 3]
