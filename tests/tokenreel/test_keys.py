"""The values are frozen: shuffles and masks of published datasets rely on them."""

import json
import pathlib
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenreel import keys

GOLDEN = json.loads((pathlib.Path(__file__).parents[1] / "golden/keys.json").read_text())


def test_splitmix64_vectors():
    """Published first outputs of SplitMix64 for the seeds 0, 1 and 2."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    first = [int(keys.mix(np.array([seed], np.uint64) + golden)[0]) for seed in (0, 1, 2)]
    assert [f"{value:x}" for value in first] == ["e220a8397b1dcdaf", "910a2dec89025cc1", "975835de1c9756ce"]


def test_golden_values():
    assert GOLDEN["version"] == keys.VERSION
    words = keys.bits(7, "mask/positions", [0, 1, 2**40], 4)
    found = {
        "digest": keys.digest("ab", 1, b"c"),
        "key": keys.key(0, "order/documents"),
        "bits": words.tolist(),
        "below": keys.below(words, 1000).tolist(),
        "threshold": keys.threshold(0.15),
        "pick": keys.pick(words, [1, Fraction(1, 2), 0.25]).tolist(),
        "order": keys.shuffled(keys.bits(7, "order", [3], 12)).tolist(),
        "choose": keys.choose(keys.bits(7, "order", [3, 4], 12), [4, 2]).tolist(),
    }
    assert found == {name: value for name, value in GOLDEN.items() if name != "version"}


def test_framing_of_names():
    assert (
        len({keys.digest("ab", "c"), keys.digest("a", "bc"), keys.digest("abc"), keys.digest(b"ab", "c"), keys.digest("a", "b", "c")}) == 5
    )
    assert keys.key(1) != keys.key("1")


@given(st.integers(0, 2**63 - 1), st.integers(1, 30), st.integers(0, 29))
def test_a_word_depends_on_its_id_and_index_alone(number, count, index):
    words = keys.bits(3, "x", [5, number, 9], max(count, index + 1))
    assert words[1, index] == keys.words_at(keys.streams(3, "x", number), index)
    np.testing.assert_array_equal(keys.bits(3, "x", [number], index + 1)[0], words[1, : index + 1])


def test_streams_of_different_purpose_differ():
    a, b = keys.bits(0, "a", np.arange(1000), 8), keys.bits(0, "b", np.arange(1000), 8)
    assert not (a == b).any() and len(np.unique(np.concatenate([a, b]))) == 16_000


def test_bits_are_balanced():
    """Each of 64 bits is one half of the time, at five sigma; the ids are neighbours, which a weak mixer would show."""
    words = keys.bits(0, "balance", np.arange(4096), 16).ravel()
    ones = np.unpackbits(words.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=0)
    assert (np.abs(ones - len(words) / 2) < 5 * np.sqrt(len(words) / 4)).all()


@given(st.integers(0, 1000), st.integers(1, 40), st.data())
def test_choose_is_the_beginning_of_order(number, length, data):
    words = keys.bits(1, "choose", np.arange(number, number + 3), length)
    eligible = np.array(data.draw(st.lists(st.lists(st.booleans(), min_size=length, max_size=length), min_size=3, max_size=3)))
    counts = [data.draw(st.integers(0, int(row.sum()))) for row in eligible]
    order = keys.shuffled(words, eligible)
    chosen = keys.choose(words, counts, eligible)
    for row in range(3):
        positions = np.flatnonzero(eligible[row])
        by_hand = sorted(positions, key=lambda p: (int(words[row, p]) >> max(1, length.bit_length()), p))
        assert order[row].tolist() == by_hand + [length] * (length - len(by_hand))
        assert chosen[row].tolist() == sorted(by_hand[: counts[row]]) + [length] * (max(counts) - counts[row])


def test_choose_breaks_ties_by_position():
    assert keys.choose(np.zeros((1, 6), np.uint64), [3]).tolist() == [[0, 1, 2]]


def test_pick_follows_the_weights():
    words = keys.bits(5, "pick", np.arange(100_000), 1).ravel()
    weights = [Fraction(1, n) for n in (1, 2, 3)]
    shares = np.array([float(w / sum(weights)) for w in weights])
    np.testing.assert_allclose(shares, [0.54545, 0.27273, 0.18182], atol=1e-5)
    counts = np.bincount(keys.pick(words, weights), minlength=3)
    assert (np.abs(counts - shares * 1e5) < 5 * np.sqrt(shares * (1 - shares) * 1e5)).all()
    assert set(keys.pick(words, [0, 1, 0]).tolist()) == {1}
    for wrong in ([0.0], [1, -1], []):
        with pytest.raises(ValueError, match="weights are not negative"):
            keys.pick(words, wrong)


def test_below_and_threshold():
    words = np.array([0, 2**63, 2**64 - 1], np.uint64)
    assert keys.below(words, 10).tolist() == [0, 5, 9]
    assert keys.threshold(0) == 0 and keys.threshold(0.5) == 2**63 and keys.threshold(1.0) == 2**64 - 1
    with pytest.raises(ValueError, match=r"got 1\.5"):
        keys.threshold(1.5)
