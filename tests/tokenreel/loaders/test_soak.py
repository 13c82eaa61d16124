"""Trainings that are disturbed in every way we know; `python -m tests.loader_soak` runs hundreds."""

import pytest

from tests import loader_soak


@pytest.mark.parametrize("count", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_disturbed_trainings_end_with_the_right_rows_or_the_reason(count):
    found = loader_soak.soak(count, seed=count)
    assert found.faults == [] and sum(found.outcomes.values()) == count
    endings = {outcome for _, outcome in found.outcomes}
    assert endings == {"every row right", "error that names its cause"}
