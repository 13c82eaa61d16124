from __future__ import annotations

import numpy as np
import pytest

from tokenreel.errors import ConfigError
from tokenreel.objectives.special_ids import find_id, find_ids, named_ids

IDS = {"[CLS]": 2, "[MASK]": 4}


def test_names_become_ids_wherever_ids_stand():
    settings = {
        "name": "ul2",
        "mask_id": "[MASK]",
        "eos_id": None,
        "special_ids": ["[CLS]", 7],
        "denoisers": [{"density": 0.1, "mean_span": 3, "mode_id": "[CLS]"}, {"density": 0.5, "mean_span": 3}],
        "word_starts": [True, False],
    }
    found = find_ids("objective", settings, IDS.get, 9)
    assert found == {
        **settings,
        "mask_id": 4,
        "special_ids": [2, 7],
        "denoisers": [{"density": 0.1, "mean_span": 3, "mode_id": 2}, {"density": 0.5, "mean_span": 3}],
    }
    assert named_ids(found) == {2, 4, 7} and settings["mask_id"] == "[MASK]"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_id": "x"}, "objective.mask_id: the vocabulary has no piece 'x'. Name one that it has, or give an id."),
        ({"special_ids": [3, "x"]}, "objective.special_ids: the vocabulary has no piece 'x'"),
        ({"denoisers": [{"mode_id": "x"}]}, "objective.denoisers.mode_id: the vocabulary has no piece 'x'"),
        ({"mask_id": 9}, "objective.mask_id must lie between 0 and 8, got 9"),
        ({"mask_id": -1}, "objective.mask_id must lie between 0 and 8, got -1"),
        ({"mask_id": True}, "objective.mask_id must lie between 0 and 8, got True"),
        ({"mask_id": 1.5}, "objective.mask_id must lie between 0 and 8, got 1.5"),
    ],
)
def test_what_is_no_token(settings, message):
    with pytest.raises(ConfigError) as raised:
        find_ids("objective", settings, IDS.get, 9)
    assert message in str(raised.value)


def test_ids_may_be_of_numpy():
    assert find_id("objective.mask_id", np.int64(5), IDS.get, 9) == 5
