from __future__ import annotations

import numpy as np

from tests.documents import documents, texts_of
from tokenreel.curation import cleaned
from tokenreel.curation.cleaned import CODES, Cleaned


def test_documents_as_they_were_read_lose_nothing() -> None:
    found = Cleaned.of(documents("a", "", "b"))
    assert found.left_out() == {} and not found.modified.any()
    assert (found.lines, found.characters) == ({}, 0)


def test_documents_are_counted_by_the_reason_they_are_left_out_for() -> None:
    found = Cleaned.of(documents("a", "", "b", "c"))
    found.reasons = np.array([0, CODES["empty"], CODES["bad_word"], CODES["bad_word"]])
    assert found.left_out() == {"empty": 1, "bad_word": 2}


def test_other_texts_leave_everything_else_as_it_was() -> None:
    before = documents("one", "two", "three")
    after = cleaned.replace_text(before, [b"", "é".encode(), b"three"])
    assert texts_of(after) == ["", "é", "three"] and texts_of(before) == ["one", "two", "three"]
    assert after.offsets.dtype == np.int64 and after.text.dtype == np.uint8
    assert after.key is before.key and after.position is before.position


def test_counts_of_parts_add_up_in_the_order_of_their_names() -> None:
    assert list(cleaned.summed([{"b": 1}, {}, {"a": 2, "b": 3}]).items()) == [("a", 2), ("b", 4)]
