from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.documents import documents, texts_of
from tokenreel.config.corpus import DuplicateConfig
from tokenreel.curation import duplicates, hash_tables
from tokenreel.curation.cleaned import REASONS


@pytest.mark.parametrize("unit", ["paragraphs", "lines"])
@settings(max_examples=80, deadline=None)
@given(texts=st.lists(st.text(alphabet="ab \n\ré", max_size=24), max_size=5), minimum=st.integers(1, 3))
def test_pruning_keeps_the_first_of_each(unit: str, texts: list[str], minimum: int) -> None:
    found = documents(*texts)
    entries, repeats = duplicates.tabulate_parts(found, DuplicateConfig(remove=unit, min_characters=minimum))
    cleaned = duplicates.prune(found, repeats, unit)
    separator = "\n" if unit == "lines" else r"\n[ \t\r\f\v]*\n\s*"
    bags = [[part.strip() for part in re.split(separator, text)] for text in texts]
    left = [[part.strip() for part in re.split(separator, text)] for text in texts_of(cleaned.documents)]
    long = [part for bag in bags for part in bag if len(part) >= minimum]
    assert len(long) == len(entries) + len(repeats)
    assert sorted(part for bag in left for part in bag if len(part) >= minimum) == sorted(set(long)), "each text exactly once"
    ranks = hash_tables.ranks(found.key)
    for part in set(long):
        holders = [i for i, bag in enumerate(bags) if part in bag]
        assert part in left[min(holders, key=lambda i: ranks[i])]
    assert cleaned.lines.total() == len(repeats)
    assert cleaned.characters == sum(map(len, texts)) - sum(map(len, texts_of(cleaned.documents)))
    assert cleaned.modified.tolist() == [text != rest for text, rest in zip(texts, texts_of(cleaned.documents), strict=True)]
    for text, rest, code in zip(texts, texts_of(cleaned.documents), cleaned.reasons, strict=True):
        assert (REASONS[code] == "duplicate_text") == (rest != text and not rest.strip())


def test_pruning_leaves_the_rest_as_it_was() -> None:
    found = documents("title\n\nfirst\nline\n \n\n second\n\nthird\n", "title")
    cleaned = duplicates.prune(found, np.array([0, 2]), "paragraphs")
    assert texts_of(cleaned.documents) == ["first\nline\n\nthird\n", "title"]
    cleaned = duplicates.prune(found, np.array([2, 10]), "lines")  # blank lines are counted
    assert texts_of(cleaned.documents) == ["title\n\nline\n \n\n second\n\nthird\n", ""]
    assert [REASONS[code] for code in cleaned.reasons] == ["", "duplicate_text"]
    assert (cleaned.lines, cleaned.characters) == ({"duplicate_line": 2}, len("first\n") + len("title"))
