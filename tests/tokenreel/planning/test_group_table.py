from __future__ import annotations

import random

import pytest

from tokenreel.planning import group_table
from tokenreel.planning.group_documents import DocumentGroup
from tokenreel.planning.group_table import GroupSize
from tokenreel.storage.column_file import Columns


def sizes(count: int) -> list[GroupSize]:
    """Groups of any size, some of which are empty."""
    chance = random.Random(count)
    return [
        GroupSize(
            group=DocumentGroup(split="train", index=i, low=i, high=1 << 64, source=None if i % 2 else i, repeat=0 if i % 3 else None),
            documents=chance.randrange(3),
            tokens=chance.choice([0, 0, 1, 7, 20]),
            added_tokens=1,
            examples=chance.choice([0, 0, 1, 5]),
            dropped_documents=2,
            dropped_document_tokens=3,
            dropped_tokens={"trimmed": i} if i % 2 else {},
            document_lengths=tuple(range(64)),
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("by_tokens", [False, True])
@pytest.mark.parametrize("count", [0, 1, 15])
def test_groups_lie_end_to_end_and_are_found_by_bisection(count: int, by_tokens: bool) -> None:
    every = sizes(count)
    placed = group_table.place(Columns.of_rows([group_table.to_row(size) for size in every]), by_tokens=by_tokens)
    groups = list(placed)
    assert [each.size for each in groups] == every
    begin = documents = 0
    for each in groups:
        assert (each.begin, each.documents) == (begin, documents)
        begin += each.size.tokens if by_tokens else each.size.examples
        documents += each.size.documents
        assert each.end == begin
    for low in range(begin + 2):
        for high in range(low, begin + 2):
            expected = [each for each in groups if each.begin < each.end and each.begin < high and each.end > low]
            assert list(placed.between(low, high)) == expected, (low, high)
    assert group_table.dropped(placed.columns) == ({"trimmed": sum(range(1, count, 2))} if count > 1 else {})
