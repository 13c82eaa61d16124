"""What is left to the library without a look: more and more where looking does not pay, nothing where it does."""

from __future__ import annotations

from tokenreel.vocabularies.unit_memo.trials import Trials


def run(trials, size, is_left):
    """Gives the bytes that were looked at, of so many, and the largest slice, where all of a slice is left or none."""
    looked = largest = at = 0
    while at < size:
        looks, most = trials.begin()
        part = min(most, size - at)
        trials.end(looks, part, part if not looks or is_left else 0)
        at += part
        looked += part * looks
        largest = max(largest, part * looks)
    return looked, largest


def test_what_pays_is_looked_at_as_a_whole():
    assert run(Trials(), 1 << 22, False) == (1 << 22, 1 << 18)


def test_little_is_looked_at_where_that_never_pays():
    for size in (150_000, 1 << 20, 1 << 25):
        assert run(Trials(), size, True)[0] < size / 7


def test_what_pays_again_is_looked_at_after_a_rest():
    trials = Trials()
    run(trials, 1 << 27, True)
    assert run(trials, 1 << 27, False)[0] > (1 << 27) - (1 << 23) - (1 << 18)
    assert trials.take_rested() > 0
    assert trials.take_rested() == 0
    assert trials.begin() == (True, 1 << 18)


def test_half_a_slice_is_enough():
    trials = Trials()
    _, size = trials.begin()
    trials.end(True, size, size // 2)
    assert trials.begin() == (True, 2 * size)
    trials.end(True, 2 * size, size + 1)
    assert trials.begin()[0] is False
