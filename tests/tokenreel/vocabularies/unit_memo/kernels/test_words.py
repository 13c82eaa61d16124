"""What reads bytes many at a time gives what Python reads one by one."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit, types

from tokenreel.vocabularies.unit_memo.kernels import words
from tokenreel.vocabularies.unit_memo.kernels.compiling import U8


@pytest.fixture(scope="module")
def read():
    @njit(types.Tuple((types.uint64, types.uint32, types.uint32))(U8, types.uint64, types.uint8))
    def read(text, at, byte):
        words.fetch_early(text, at)
        equal = words.equal_to(text, at, byte)
        return words.word_at(text, at), equal, words.lowest_bit(equal) if equal else np.uint32(words.WIDTH)

    return read


@pytest.mark.parametrize("letters", [2, 256])
def test_words_and_bytes_from_any_place(read, letters):
    data = np.random.default_rng(letters).integers(0, letters, 200).astype(np.uint8)
    for at in range(len(data) - words.WIDTH):
        word, equal, first = read(data, at, 1)
        assert word == int.from_bytes(data[at : at + 8].tobytes(), "little")
        expected = [i for i in range(words.WIDTH) if data[at + i] == 1]
        assert equal == sum(1 << i for i in expected)
        assert first == (expected[0] if expected else words.WIDTH)
