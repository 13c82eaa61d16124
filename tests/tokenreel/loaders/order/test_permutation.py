import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenreel import keys
from tokenreel.loaders.order.permutation import Permutation, permute, unpermute


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 16, 255, 256, 257, 258, 289, 1000, 4097, 65_537])
def test_permutation_is_a_bijection_with_its_inverse(n):
    for key in (0, 1, keys.key("another")):
        permutation = Permutation(n, key)
        values = permutation(np.arange(n))
        assert np.array_equal(np.sort(values), np.arange(n))
        assert np.array_equal(permutation.inverse(values), np.arange(n))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 1 << 62), st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**62), min_size=1, max_size=50))
def test_permutation_of_any_size_inverts(n, key, positions):
    positions = np.array(positions, dtype=np.int64) % n
    values = Permutation(n, key)(positions)
    assert values.min() >= 0 and values.max() < n
    assert np.array_equal(Permutation(n, key).inverse(values), positions)
    assert len(np.unique(values)) == len(np.unique(positions))


def test_keys_of_their_own_agree_with_one_key():
    own = keys.mix(np.arange(2000, dtype=np.uint64))
    values = permute(np.arange(2000) % 700, 700, own)
    expected = [Permutation(700, int(key))(np.array([i % 700]))[0] for i, key in enumerate(own)]
    assert values.tolist() == expected
    assert np.array_equal(unpermute(values, 700, own), np.arange(2000) % 700)


def test_permutation_refuses_what_is_outside():
    with pytest.raises(ValueError, match="got 0"):
        Permutation(0, 1)
    for n in (5, 5000):
        for wrong in (-1, n):
            with pytest.raises(IndexError, match="below"):
                Permutation(n, 1)([wrong])
            with pytest.raises(IndexError, match="below"):
                Permutation(n, 1).inverse([wrong])


def test_small_permutations_are_uniform():
    for n, count in ((3, 6), (4, 24)):
        seen = np.array([Permutation(n, key)(np.arange(n)) @ (n ** np.arange(n)) for key in range(count * 200)])
        _, counts = np.unique(seen, return_counts=True)
        chi2 = ((counts - 200) ** 2 / 200).sum()
        assert len(counts) == count and chi2 < count - 1 + 4 * np.sqrt(2 * (count - 1))


@pytest.mark.parametrize("n", [40_000, 262_144, 1_000_003])
def test_permutation_mixes_like_a_random_one(n):
    values = Permutation(n, keys.key("quality", n))(np.arange(n))
    batches = values[: n // 64 * 64].reshape(-1, 64)
    for modulus in (2, 3, 16):  # sources interleaved in the file: their share of a batch spreads as the binomial says
        share = 1 / modulus
        ratio = (batches % modulus == 0).mean(axis=1).std() / np.sqrt(share * (1 - share) / 64)
        assert 0.9 < ratio < 1.1
    serial = np.corrcoef(values[:-1], values[1:])[0, 1] * np.sqrt(n)
    assert abs(serial) < 4
    counts = np.bincount(np.diff(values) % 16, minlength=16)
    z = (((counts - (n - 1) / 16) ** 2) / ((n - 1) / 16)).sum()
    assert abs(z - 15) / np.sqrt(30) < 4
