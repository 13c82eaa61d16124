from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import LENGTHS
from tokenreel.assembly import filling
from tokenreel.config.build import PackingConfig
from tokenreel.format import token_spans
from tokenreel.layouts.bin_packing import best_fit
from tokenreel.layouts.wrapping import wrap, wrap_within_document


@given(LENGTHS, st.sampled_from([1, 4]))
def test_spans_go_where_their_tokens_go(lengths: list[int], align: int) -> None:
    packing = PackingConfig(seq_len=16, mode="best_fit", align=align)
    tokens = np.arange(1, sum(lengths) + 1, dtype=np.int32)
    spans = token_spans.pack(tokens, tokens + 1)
    table = best_fit(lengths, 16, align=align)
    arrays = filling.fill(tokens, np.array(lengths, dtype=np.int64), table, packing, pad_id=0, pads=True, spans=spans)
    real = filling.is_real(arrays, packing)
    assert real is not None
    np.testing.assert_array_equal(real, arrays["tokens"] > 0)
    np.testing.assert_array_equal(arrays["token_begins"][real], arrays["tokens"][real])
    np.testing.assert_array_equal(arrays["token_ends"][real], arrays["tokens"][real] + 1)
    assert (arrays["token_begins"][~real] == -1).all() and (arrays["token_ends"][~real] == -1).all()


def test_examples_without_padding_need_no_marks() -> None:
    packing = PackingConfig(seq_len=4)
    arrays = filling.fill(np.arange(1, 9), np.array([8]), wrap([8], 4), packing, pad_id=0, pads=False)
    assert set(arrays) == {"tokens", "document_starts"} and filling.is_real(arrays, packing) is None
    counted = {"tokens": np.array([[1, 2, 0], [1, 0, 0]]), "num_tokens": np.array([2, 1])}
    np.testing.assert_array_equal(filling.is_real(counted, packing), counted["tokens"] > 0)


@pytest.mark.parametrize("mode", ["wrap", "wrap_within_document"])
@given(lengths=LENGTHS)
def test_the_token_that_an_overlap_stores_twice_counts_once(mode: str, lengths: list[int]) -> None:
    packing = PackingConfig(seq_len=8, overlap=1, mode=mode)
    table = {"wrap": wrap, "wrap_within_document": wrap_within_document}[mode](lengths, 8, 1)
    marked = filling.opens_in_overlap(table, packing, np.arange(table.num_examples) == 0)
    assert marked.sum() == table.repeated
    stored = {(d, s + i) for d, s, n in zip(table.document, table.start, table.length, strict=True) for i in range(n)}
    assert len(stored) == table.length.sum() - marked.sum()


def test_without_an_overlap_nothing_is_stored_twice() -> None:
    table = wrap([20], 8)
    assert not filling.opens_in_overlap(table, PackingConfig(seq_len=8), np.array([True, False])).any()
