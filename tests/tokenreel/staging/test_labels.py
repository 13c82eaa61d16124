"""Entities and tokens: each token gets the label that a comparison of every pair gives it."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tokenreel.staging import labels


@st.composite
def cases(draw):
    """Entities that do not overlap, and tokens of increasing spans, some of them empty or without text."""
    bounds = draw(st.lists(st.integers(0, 40), max_size=12, unique=True).map(sorted))
    entities = [[a, b, draw(st.integers(0, 2))] for a, b in zip(bounds[::2], bounds[1::2], strict=False)]
    begins, ends, at = [], [], 0
    for step, size in draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=20)):
        at += step
        begins.append(at)
        ends.append(at + size)
        at += size
    around = draw(st.booleans())
    return np.array(entities, dtype=np.int64).reshape(-1, 3), *(
        np.array([-1, *v, -1] if around else v, dtype=np.int32) for v in (begins, ends)
    )


@given(cases())
def test_tags_are_those_of_every_pair(case):
    entities, begins, ends = case
    wanted, opened = [], set()
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        held = [i for i, (a, b, _) in enumerate(entities.tolist()) if begin >= 0 and a < max(end, begin + 1) and b > begin]
        if begin < 0 or not held:
            wanted.append(-1 if begin < 0 else 0)
            continue
        wanted.append(2 * int(entities[held[0], 2]) + (2 if held[0] in opened else 1))
        opened.add(held[0])
    assert labels.tags_of(entities, begins, ends).tolist() == wanted


def test_no_entities_and_no_field_differ():
    assert labels.entities_of([], ["a"], 5).shape == (0, 3)
    assert labels.entities_of(None, ["a"], 5) is None and labels.entities_of(" ", ["a"], 5) is None
    assert labels.tags_of(np.zeros((0, 3), np.int64), np.array([-1, 0]), np.array([-1, 1])).tolist() == [-1, 0]


@pytest.mark.parametrize("value", [[[0, 1.0, "a"]], [[True, 2, "a"]], [[2, 2, "a"]], [[-1, 2, "a"]], [["a", 0, 1]], [{}], "[", 5, [None]])
def test_what_is_no_entity_is_refused(value):
    with pytest.raises(ValueError, match=r"entit|Expecting"):
        labels.entities_of(value, ["a"], 5)
