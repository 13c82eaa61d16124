"""Units of normalised texts."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.tokenreel.vocabularies.blocks import joined
from tokenreel.vocabularies.sentencepiece.units import cut_units


@given(st.lists(st.binary(max_size=8).map(lambda data: bytes(byte % 3 for byte in data)), max_size=6), st.sets(st.integers(0, 8)))
def test_units_are_what_lies_between_cuts(texts, cuts):
    cut = np.zeros((256, 256), dtype=bool)
    for pair in cuts:
        cut[pair // 3, pair % 3] = True
    text, offsets = joined(texts)
    units = cut_units(text, offsets, cut)
    expected = []
    for number, data in enumerate(texts):
        inside = [i for i in range(1, len(data)) if cut[data[i - 1], data[i]]]
        expected += [(number, data[a:b]) for a, b in itertools.pairwise([0, *inside, len(data)]) if data]
    found = [text[a:b].tobytes() for a, b in itertools.pairwise(units.bounds.tolist())]
    assert list(zip(units.document.tolist(), found, strict=True)) == expected
    assert units.document_start.tolist() == offsets[units.document].tolist()
    if expected:
        distinct, which = units.distinct()
        assert [distinct[i] for i in which.tolist()] == found and len(set(distinct)) == len(distinct)
