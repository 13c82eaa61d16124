from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.tokenreel.config.jobs import job
from tokenreel import keys
from tokenreel.planning import selection

NAMES = keys.mix(np.arange(20_000))


@pytest.mark.parametrize("epochs", [0.1, 1.0, 2.5, 3.0])
def test_copies_have_the_right_mean(epochs: float) -> None:
    count = selection.draw_repeats(NAMES, epochs)
    assert set(count) == {int(epochs), -int(-epochs // 1)}
    assert abs(count.mean() - epochs) < 0.02


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    shares = [selection.draw_repeats(NAMES, epochs) for epochs in (0.01, 0.1, 0.5, 0.9, 1, 1.2, 2)]
    assert all((less <= more).all() for less, more in itertools.pairwise(shares))


def test_which_are_drawn_has_nothing_to_do_with_their_split() -> None:
    drawn = selection.draw_repeats(NAMES, 0.5)
    assert abs(drawn[NAMES < (1 << 60)].mean() - 0.5) < 0.06


def test_only_train_repeats() -> None:
    settings = job({"epochs": 2.5}, {"epochs": "10%"}, splits={"validation": 0.1})
    assert [selection.passes(settings, "train", source) for source in (0, 1, None)] == [3, 1, 3]
    assert selection.passes(settings, "validation", 0) == 1
